"""The certificate of the LAN listener."""

from __future__ import annotations

import datetime as dt
import os
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from detect.errors import ConfigError
from detect.server.tls import (
    CERT_FILE,
    KEY_FILE,
    RENEW_DAYS,
    VALID_DAYS,
    alternative_names,
    given,
    self_signed,
)

NAMES = ("192.168.1.5", "2001:db8::5", "laptop", "laptop.local")
NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)


def parsed(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / CERT_FILE).read_bytes())


def test_it_names_every_address(tmp_path: Path) -> None:
    self_signed(tmp_path, NAMES)
    names = alternative_names(parsed(tmp_path))
    assert names == {*NAMES, "localhost", "127.0.0.1", "::1"}


def test_browsers_limits(tmp_path: Path) -> None:
    self_signed(tmp_path, NAMES)
    cert = parsed(tmp_path)
    life = cert.not_valid_after_utc - cert.not_valid_before_utc
    assert life <= dt.timedelta(days=398)
    key = cert.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    usage = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert x509.oid.ExtendedKeyUsageOID.SERVER_AUTH in usage


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_only_the_user_reads_the_key(tmp_path: Path) -> None:
    made = self_signed(tmp_path / "tls", NAMES)
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700


def test_it_is_kept(tmp_path: Path) -> None:
    first = self_signed(tmp_path, NAMES)
    fewer = self_signed(tmp_path, NAMES[:2])
    assert fewer.fingerprint == first.fingerprint
    assert len(first.fingerprint) == 32 * 3 - 1


def test_a_new_address_makes_a_new_one(tmp_path: Path) -> None:
    first = self_signed(tmp_path, NAMES)
    assert self_signed(tmp_path, (*NAMES, "10.0.0.9")).fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("days", "is_kept"),
    [(1, True), (VALID_DAYS - RENEW_DAYS - 1, True), (VALID_DAYS - RENEW_DAYS + 1, False)],
)
def test_it_is_renewed_in_time(tmp_path: Path, days: int, is_kept: bool) -> None:
    first = self_signed(tmp_path, NAMES, now=NOW)
    later = self_signed(tmp_path, NAMES, now=NOW + dt.timedelta(days=days))
    assert (later.fingerprint == first.fingerprint) is is_kept


@pytest.mark.parametrize("damaged", [CERT_FILE, KEY_FILE])
def test_a_damaged_file_is_replaced(tmp_path: Path, damaged: str) -> None:
    self_signed(tmp_path, NAMES)
    (tmp_path / damaged).write_text("rubbish")
    self_signed(tmp_path, NAMES).ssl_context()


def test_a_key_of_another_certificate_is_replaced(tmp_path: Path) -> None:
    self_signed(tmp_path / "a", NAMES)
    self_signed(tmp_path / "b", NAMES)
    (tmp_path / "a" / KEY_FILE).write_bytes((tmp_path / "b" / KEY_FILE).read_bytes())
    self_signed(tmp_path / "a", NAMES).ssl_context()


def test_the_context_serves_tls_12_and_newer(tmp_path: Path) -> None:
    context = self_signed(tmp_path, NAMES).ssl_context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_the_users_own_pair(tmp_path: Path) -> None:
    made = self_signed(tmp_path, NAMES)
    own = given(made.cert, made.key)
    assert not own.is_self_signed
    assert own.fingerprint == made.fingerprint


def test_errors_of_the_users_pair(tmp_path: Path) -> None:
    made = self_signed(tmp_path / "a", NAMES, now=NOW)
    other = self_signed(tmp_path / "b", NAMES, now=NOW)
    with pytest.raises(ConfigError, match="is not the key of"):
        given(made.cert, other.key, now=NOW)
    with pytest.raises(ConfigError, match="expired on"):
        given(made.cert, made.key, now=NOW + dt.timedelta(days=500))
    with pytest.raises(ConfigError, match="check this machine's clock"):
        given(made.cert, made.key, now=NOW - dt.timedelta(days=5))
    with pytest.raises(ConfigError, match="expected a PEM certificate"):
        given(tmp_path / "none.pem", made.key, now=NOW)
    with pytest.raises(ConfigError, match="expected an unencrypted PEM private key"):
        given(made.cert, made.cert, now=NOW)
