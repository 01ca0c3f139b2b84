from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from detect.config import DetectionSettings, IceServer, ServerConfig, cache_dir, data_dir
from detect.errors import ConfigError

TOKEN = "0123456789abcdef"


def test_defaults_are_valid() -> None:
    config = ServerConfig(access_token=TOKEN)

    assert config.detection == DetectionSettings()
    assert config.ice_servers == ()
    assert config.local_host == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("score_threshold", (0.01, 0.35, 1), (0, -1, 1.01, float("nan"))),
        ("iou_threshold", (0, 0.5, 1), (-0.01, 1.01, float("nan"))),
    ],
)
def test_ranges_of_detection_settings(
    name: str, good: tuple[Any, ...], bad: tuple[Any, ...]
) -> None:
    for value in good:
        changes: dict[str, Any] = {name: value}
        assert getattr(replace(DetectionSettings(), **changes), name) == value
    for value in bad:
        with pytest.raises(ConfigError, match=f"{name}: expected .* to 1, got {value}"):
            DetectionSettings(**{name: value})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"access_token": "short"}, "access_token: expected at least 16 characters, got 5"),
        ({"lan_port": -1}, "lan_port: expected 0 to 65535, got -1"),
        ({"local_port": 65536}, "local_port: expected 0 to 65535, got 65536"),
        ({"engine_threads": 0}, "engine_threads: "),
        ({"engine_delay_ms": -1}, "engine_delay_ms: "),
        ({"max_phones": 0}, "max_phones: "),
        ({"max_viewers": 0}, "max_viewers: "),
        ({"pairing_ttl_s": 0}, "pairing_ttl_s: "),
        ({"cert": Path("chain.pem")}, "--cert and --key belong together"),
        ({"key": Path("key.pem")}, "--cert and --key belong together"),
        ({"public_url": "http://example.org"}, "expected an https:// address"),
    ],
)
def test_a_bad_server_setting_is_refused_in_words(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        ServerConfig(**{"access_token": TOKEN, **changes})


def test_a_certificate_and_its_key_are_accepted_together() -> None:
    config = ServerConfig(access_token=TOKEN, cert=Path("chain.pem"), key=Path("key.pem"))

    assert config.cert == Path("chain.pem")


def test_secrets_do_not_show_in_representations() -> None:
    config = ServerConfig(
        access_token=TOKEN, ice_servers=(IceServer("turn:192.0.2.1", "user", "s3cret"),)
    )

    assert TOKEN not in repr(config)
    assert "s3cret" not in repr(config)


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        DetectionSettings().model = "other"  # type: ignore[misc]  # what the test is about


def test_one_variable_moves_every_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DETECT_HOME", str(tmp_path / "home"))

    assert data_dir() == tmp_path / "home" / "data"
    assert cache_dir() == tmp_path / "home" / "cache"
    assert data_dir().is_dir()
    assert cache_dir().is_dir()
