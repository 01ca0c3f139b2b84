"""The certificate of the LAN listener.

A phone's browser gives a page the camera only over https. Without a domain name that means a
self-signed certificate: the phone warns once, and the user can compare the fingerprint. It names
every address of this machine, is kept with its key (mode 0600) in the user's data folder, so that
the phone's exception lasts, and is made anew only when it must be.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import logging
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from detect.errors import ConfigError
from detect.server.private_files import write_private

logger = logging.getLogger(__name__)

VALID_DAYS = 397
"""Apple's and Chrome's limit is 398 days; one is left for clocks that differ."""

RENEW_DAYS = 30
"""Remaining days below which a new certificate is made."""

ALWAYS_NAMED = ("localhost", "127.0.0.1", "::1")

CERT_FILE = "lan-cert.pem"
KEY_FILE = "lan-key.pem"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files of a certificate chain and its key, and what a person compares.

    Attributes
    ----------
    cert, key : Path
        PEM files.
    fingerprint : str
        SHA-256 of the certificate, as browsers show it: ``AB:CD:…``.
    is_self_signed : bool
        True when we made it: the phone will warn.
    """

    cert: Path
    key: Path
    fingerprint: str
    is_self_signed: bool

    def ssl_context(self) -> ssl.SSLContext:
        """Server context, TLS 1.2 or newer.

        Raises
        ------
        ConfigError
            If the files are no longer a matching pair.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.cert, self.key)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(
                f"cannot use {self.cert} with {self.key}: {error}; "
                f"give a PEM certificate chain and its unencrypted key"
            ) from error
        return context


def self_signed(
    folder: Path, names: Iterable[str], *, now: dt.datetime | None = None
) -> Certificate:
    """The kept certificate, or a new one when it does not fit any more.

    Parameters
    ----------
    folder : Path
        Where the two files are kept; made when missing.
    names : iterable of str
        Addresses and host names it must cover (those of :data:`ALWAYS_NAMED` are added).
    now : datetime, optional
        Present time, with its zone.
    """
    now = now or dt.datetime.now(dt.UTC)
    wanted = {name.lower() for name in (*names, *ALWAYS_NAMED)}
    cert_path, key_path = folder / CERT_FILE, folder / KEY_FILE
    kept = _load_kept(cert_path, key_path)
    if kept is None or not _fits(kept, wanted, now):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = _make(cert_path, key_path, wanted, now)
        logger.info("made a new certificate for %d names", len(wanted))
    return Certificate(cert_path, key_path, fingerprint(kept), is_self_signed=True)


def given(cert: Path, key: Path, *, now: dt.datetime | None = None) -> Certificate:
    """The user's own certificate, checked.

    Raises
    ------
    ConfigError
        If a file cannot be read, the key is not the certificate's, or it is not valid now.
    """
    now = now or dt.datetime.now(dt.UTC)
    parsed = _read_certificate(cert)
    if _public_bytes(parsed.public_key()) != _public_bytes(_read_key(key).public_key()):
        raise ConfigError(f"--key {key} is not the key of --cert {cert}: give the pair")
    if now >= parsed.not_valid_after_utc:
        raise ConfigError(
            f"--cert {cert} expired on {parsed.not_valid_after_utc:%Y-%m-%d}: renew it, or leave "
            f"--cert and --key out for a self-signed one"
        )
    if now < parsed.not_valid_before_utc:
        raise ConfigError(
            f"--cert {cert} is valid from {parsed.not_valid_before_utc:%Y-%m-%d} only: check this "
            f"machine's clock"
        )
    return Certificate(cert, key, fingerprint(parsed), is_self_signed=False)


def fingerprint(cert: x509.Certificate) -> str:
    """SHA-256 of a certificate, as browsers show it."""
    return cert.fingerprint(hashes.SHA256()).hex(":").upper()


def alternative_names(cert: x509.Certificate) -> set[str]:
    """Host names and addresses a certificate covers."""
    try:
        extension = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    dns = extension.value.get_values_for_type(x509.DNSName)
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return {name.lower() for name in dns} | {str(address) for address in addresses}


def _load_kept(cert_path: Path, key_path: Path) -> x509.Certificate | None:
    """The kept certificate; None when there is none, or it is damaged or not its key's."""
    if not (cert_path.exists() and key_path.exists()):
        return None
    try:
        cert = _read_certificate(cert_path)
        key = _read_key(key_path)
    except ConfigError as error:
        logger.warning("the kept certificate is damaged and will be replaced: %s", error)
        return None
    is_pair = _public_bytes(cert.public_key()) == _public_bytes(key.public_key())
    return cert if is_pair else None


def _fits(cert: x509.Certificate, wanted: set[str], now: dt.datetime) -> bool:
    is_fresh = (
        cert.not_valid_before_utc <= now < cert.not_valid_after_utc - dt.timedelta(days=RENEW_DAYS)
    )
    return is_fresh and wanted <= alternative_names(cert)


def _make(cert_path: Path, key_path: Path, names: set[str], now: dt.datetime) -> x509.Certificate:
    """Write a new pair (EC P-256) and return the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    cert = _sign(key, names, now)
    write_private(
        key_path,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    write_private(cert_path, cert.public_bytes(serialization.Encoding.PEM))
    return cert


def _sign(key: ec.EllipticCurvePrivateKey, names: set[str], now: dt.datetime) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "detect on this computer")])
    own_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # An hour back, for phones whose clock is behind.
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(list(map(_general_name, sorted(names)))), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        # iOS refuses server certificates without it.
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(own_id, critical=False)
        .sign(key, hashes.SHA256())
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _read_certificate(path: Path) -> x509.Certificate:
    """First certificate of a PEM file."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"expected a PEM certificate in {path}: {error}") from error


def _read_key(path: Path) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"expected an unencrypted PEM private key in {path}: {error}") from error


def _public_bytes(key: object) -> bytes:
    """Comparable form of a public key of any kind."""
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]  # every kind of key has it
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded
