"""Settings of the media server: defaults, bounds, where files live.

A new setting is one field here and one control where the user meets it. Values are validated when
made, so the rest of the package trusts them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from detect.errors import ConfigError

DEFAULT_MODEL = "yolox-nano"
DEFAULT_LAN_PORT = 8765
DEFAULT_LOCAL_PORT = 8764
DEFAULT_JUPYTER_PORT = 8866

TOKEN_ENV = "DETECT_ACCESS_TOKEN"
"""Environment variable that carries the access token to child processes and kernels."""
SERVER_URL_ENV = "DETECT_SERVER_URL"
"""Environment variable that tells kernels where the loopback listener is, e.g. ``http://127.0.0.1:8764``."""


def data_dir() -> Path:
    """Folder of certificates and runtime files (``DETECT_HOME`` overrides; made on demand)."""
    return _own_dir("data", platformdirs.user_data_dir("detect", appauthor=False))


def cache_dir() -> Path:
    """Folder of downloaded models (``DETECT_HOME`` overrides; made on demand)."""
    return _own_dir("cache", platformdirs.user_cache_dir("detect", appauthor=False))


def _own_dir(name: str, default: str) -> Path:
    home = os.environ.get("DETECT_HOME")
    path = Path(home) / name if home else Path(default)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name}: expected {low} to {high}, got {value}")


@dataclass(frozen=True, slots=True)
class DetectionSettings:
    """What the dashboard can change while frames flow.

    Attributes
    ----------
    model : str
        Name in the registry, or path of an ONNX file.
    score_threshold : float
        Boxes below it are dropped, in [0.01, 1].
    iou_threshold : float
        Overlap above which the weaker of two boxes of a class is suppressed, in [0, 1].
    """

    model: str = DEFAULT_MODEL
    score_threshold: float = 0.35
    iou_threshold: float = 0.5

    def __post_init__(self) -> None:
        _check_range("score_threshold", self.score_threshold, 0.01, 1)
        _check_range("iou_threshold", self.iou_threshold, 0, 1)


@dataclass(frozen=True, slots=True)
class IceServer:
    """One STUN or TURN server, as in the browser's ``RTCIceServer``."""

    urls: str
    username: str | None = None
    credential: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Everything ``detect serve`` is started with.

    Attributes
    ----------
    access_token : str
        Secret for viewer, control and metrics routes (``Authorization: Bearer …``), at least 16
        characters.
    lan_host, lan_port : str, int
        Where phones connect (https): phone page and signalling only. Port 0 takes any free one.
    local_host, local_port : str, int
        Where viewers, control and metrics are served (http, loopback).
    public_url : str or None
        Address phones use instead of the LAN one, when a tunnel stands in front.
    cert, key : Path or None
        TLS certificate chain and key in PEM; None makes a self-signed pair.
    detection : DetectionSettings
        Initial model and thresholds.
    family : str or None
        Decoder family of a model file that does not tell its own.
    allow_download : bool
        Whether a model that is not here may be downloaded.
    engine_threads : int
        Threads of one inference.
    engine_delay_ms : float
        Extra time added to every inference: makes a slow detector for benchmarks and tests.
    ice_servers : tuple of IceServer
        STUN/TURN; empty on a LAN (a silent STUN server costs 5 s).
    max_phones, max_viewers : int
        Further ones are refused politely.
    pairing_ttl_s : float
        Life of a pairing token.
    """

    access_token: str = field(repr=False)
    lan_host: str = "0.0.0.0"  # phones must reach it; it serves the phone routes only
    lan_port: int = DEFAULT_LAN_PORT
    local_host: str = "127.0.0.1"
    local_port: int = DEFAULT_LOCAL_PORT
    public_url: str | None = None
    cert: Path | None = None
    key: Path | None = None
    detection: DetectionSettings = field(default_factory=DetectionSettings)
    family: str | None = None
    allow_download: bool = True
    engine_threads: int = 1
    engine_delay_ms: float = 0.0
    ice_servers: tuple[IceServer, ...] = ()
    max_phones: int = 10
    max_viewers: int = 32
    pairing_ttl_s: float = 600.0

    def __post_init__(self) -> None:
        if len(self.access_token) < 16:
            raise ConfigError(
                f"access_token: expected at least 16 characters, got {len(self.access_token)}"
            )
        _check_range("lan_port", self.lan_port, 0, 65535)
        _check_range("local_port", self.local_port, 0, 65535)
        _check_range("engine_threads", self.engine_threads, 1, 256)
        _check_range("engine_delay_ms", self.engine_delay_ms, 0, 10_000)
        _check_range("max_phones", self.max_phones, 1, 1000)
        _check_range("max_viewers", self.max_viewers, 1, 1000)
        _check_range("pairing_ttl_s", self.pairing_ttl_s, 1, 86_400)
        if (self.cert is None) != (self.key is None):
            raise ConfigError("--cert and --key belong together: give both or neither")
        if self.public_url is not None and not self.public_url.startswith("https://"):
            raise ConfigError(
                f"public_url: expected an https:// address (browsers refuse the camera on http), "
                f"got {self.public_url!r}"
            )
