"""Ask the media server: a small async client of its loopback API (docs/protocol.md §3).

The server may be restarted, on another port and with another token, while a page is open. So the
address is looked up again after every failed call instead of being kept for ever.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar

import httpx

from detect.config import SERVER_URL_ENV, TOKEN_ENV, data_dir
from detect.errors import ProtocolError, ServerError

RUNTIME_FILE = "server.json"
"""In :func:`detect.config.data_dir`, written by the running server: its ``local_url`` and
``access_token_file``."""

TIMEOUT_S = 3.0
"""On loopback an answer takes milliseconds; a server silent for so long is as good as gone."""

T = TypeVar("T")

Json: TypeAlias = Any
"""What ``json.loads`` returns: checked before it leaves this module."""

START_HINT = "Start it with `detect up` (or `detect serve`)."


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the media server's loopback listener is, and the secret that opens it."""

    url: str
    token: str = field(repr=False)


def find_server() -> Endpoint:
    """Look the server up: environment first, then the runtime file.

    Raises
    ------
    ServerError
        If neither names a server, or the file it names cannot be read.
    """
    url, token = os.environ.get(SERVER_URL_ENV), os.environ.get(TOKEN_ENV)
    if url and token:
        return Endpoint(url.rstrip("/"), token)
    return _read_runtime_file(data_dir() / RUNTIME_FILE)


def _read_runtime_file(path: Path) -> Endpoint:
    try:
        runtime = json.loads(path.read_text("utf-8"))
        token = Path(runtime["access_token_file"]).read_text("utf-8").strip()
        return Endpoint(str(runtime["local_url"]).rstrip("/"), token)
    except FileNotFoundError as error:
        raise ServerError(f"No media server is running. {START_HINT}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServerError(f"{path} does not describe a media server. {START_HINT}") from error


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds; None where there are too few samples."""

    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """One phone or local camera, as the server sees it now."""

    stream_id: str
    name: str = ""
    kind: str = "phone"
    state: str = "waiting"
    message: str = ""
    size_wh: tuple[int, int] | None = None
    codec: str | None = None
    clock_error_ms: float | None = None
    camera_fps: float | None = None
    processed_fps: float | None = None
    shown_fps: float | None = None
    latency_ms: Percentiles | None = None
    processing_ms: Percentiles | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    since_s: float | None = None

    @property
    def is_live(self) -> bool:
        """Pictures arrive, or did a moment ago."""
        return self.state in ("live", "stalled")


@dataclass(frozen=True, slots=True)
class Model:
    """The loaded model."""

    name: str = ""
    state: str = "none"
    message: str = ""
    provider: str = ""
    threads: int | None = None
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mode:
    """Where inference runs, and why."""

    chosen: str = "server"
    score: float | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """What the controls change."""

    model: str
    score_threshold: float
    iou_threshold: float


@dataclass(frozen=True, slots=True)
class Status:
    """``GET api/status``."""

    version: str
    mode: Mode
    model: Model
    phone_url: str
    streams: tuple[Stream, ...]
    n_viewers: int
    settings: Settings
    uptime_s: float


@dataclass(frozen=True, slots=True)
class Pairing:
    """A one-time code: scan ``qr_svg`` or type ``url``."""

    url: str = field(repr=False)
    qr_svg: str = field(repr=False)
    expires_s: float


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """One entry of ``GET api/models``."""

    name: str
    family: str
    is_available: bool
    is_default: bool
    opt_in: bool
    licence: str
    ap50_95: float | None


@dataclass(frozen=True, slots=True)
class Samples:
    """Per-frame rows newer than the last ones asked for, column-wise."""

    next_seq: int
    rows: Mapping[str, list[Any]]


class ServerClient:
    """Talk to the media server; every call raises ``ServerError`` when it cannot.

    Parameters
    ----------
    find : callable
        Returns the endpoint; called again after a failure, since the server may have moved.
    transport : httpx.AsyncBaseTransport, optional
        Stands in for the network in tests.
    """

    def __init__(
        self,
        find: Callable[[], Endpoint] = find_server,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._find = find
        self._transport = transport
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Release the connection; the next call opens a fresh one."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def status(self) -> Status:
        """What the server does now."""
        return parse_status(await self._json("GET", "api/status"))

    async def pairing(self, *, renew: bool = False) -> Pairing:
        """Return the current code, or a new one that replaces the unused one."""
        raw = await self._json("POST" if renew else "GET", "api/pairing")
        return _checked("api/pairing", lambda: Pairing(**_known(Pairing, raw)))

    async def models(self) -> tuple[ModelChoice, ...]:
        """Every model of the zoo."""
        raw = await self._json("GET", "api/models")
        return _checked("api/models", lambda: tuple(_model_choice(entry) for entry in raw))

    async def change_settings(self, **changes: str | float) -> Settings:
        """Change ``model``, ``score_threshold``, ``iou_threshold`` or some of them, at once."""
        raw = await self._json("PATCH", "api/settings", json=changes)
        return _checked("api/settings", lambda: Settings(**_known(Settings, raw)))

    async def remove_stream(self, stream_id: str) -> None:
        """Disconnect a phone and forget its resume token."""
        await self._request("DELETE", f"api/streams/{stream_id}")

    async def samples(self, stream_id: str, since: int) -> Samples:
        """Rows newer than ``since``; 0 asks for all that are kept."""
        raw = await self._json("GET", f"api/streams/{stream_id}/samples", params={"since": since})
        return _checked("samples", lambda: Samples(int(raw["next"]), dict(raw["rows"])))

    async def metrics_json(self, stream_id: str) -> bytes:
        """The session so far, as the bytes of ``metrics.json``."""
        return (await self._request("GET", f"api/streams/{stream_id}/metrics.json")).content

    async def _json(self, method: str, path: str, **options: Json) -> Json:
        response = await self._request(method, path, **options)
        return _checked(path, response.json)

    async def _request(self, method: str, path: str, **options: Json) -> httpx.Response:
        http = self._connect()
        try:
            response = await http.request(method, f"/{path}", **options)
        except httpx.HTTPError as error:
            await self.close()
            raise ServerError(f"The media server does not answer. {START_HINT}") from error
        if response.status_code == httpx.codes.UNAUTHORIZED:
            await self.close()  # a restarted server has another token: look it up again
        if response.is_error:
            raise ServerError(_error_words(response))
        return response

    def _connect(self) -> httpx.AsyncClient:
        if self._http is None:
            endpoint = self._find()
            self._http = httpx.AsyncClient(
                base_url=endpoint.url,
                headers={"Authorization": f"Bearer {endpoint.token}"},
                timeout=TIMEOUT_S,
                transport=self._transport,
                trust_env=False,  # a proxy of the environment has no business with loopback
            )
        return self._http


def parse_status(raw: Json) -> Status:
    """Check and freeze the answer of ``GET api/status``.

    Raises
    ------
    ProtocolError
        If a field is missing or has another type.
    """
    return _checked("api/status", lambda: _status(raw))


def _status(raw: Json) -> Status:
    mode = _known(Mode, raw.get("mode") or {})
    model = _known(Model, raw.get("model") or {})
    return Status(
        version=str(raw["version"]),
        mode=Mode(**{**mode, "reasons": tuple(map(str, mode.get("reasons", ())))}),
        model=Model(**{**model, "class_names": tuple(map(str, model.get("class_names", ())))}),
        phone_url=str(raw.get("phone_url") or ""),
        streams=tuple(_stream(stream) for stream in raw["streams"]),
        n_viewers=int(raw.get("n_viewers", 0)),
        settings=Settings(**_known(Settings, raw["settings"])),
        uptime_s=float(raw.get("uptime_s", 0)),
    )


def _stream(raw: Json) -> Stream:
    known = _known(Stream, raw)
    for name in ("latency_ms", "processing_ms"):
        figures = known.get(name)
        if figures is not None:
            known[name] = Percentiles(*(figures.get(p) for p in ("p50", "p95", "p99")))
    if known.get("size_wh") is not None:
        width, height = known["size_wh"]
        known["size_wh"] = (int(width), int(height))
    return Stream(**known)


def _model_choice(raw: Json) -> ModelChoice:
    return ModelChoice(
        name=str(raw["name"]),
        family=str(raw.get("family") or ""),
        is_available=bool(raw.get("is_available")),
        is_default=bool(raw.get("is_default")),
        opt_in=bool(raw.get("opt_in")),
        licence=str(raw.get("licence") or ""),
        ap50_95=raw.get("ap50_95"),
    )


def _known(value: type, raw: Json) -> dict[str, Any]:
    """Fields of the dataclass ``value`` that ``raw`` has; a newer server may send more."""
    names: Mapping[str, object] = value.__dataclass_fields__  # type: ignore[attr-defined]  # a dataclass
    return {name: raw[name] for name in names if name in raw and raw[name] is not None}


def _checked(what: str, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(
            f"{what}: the answer of the media server does not follow docs/protocol.md ({error!r}); "
            "are dashboard and server of the same version?"
        ) from error


def _error_words(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The media server refused: {response.status_code} {response.reason_phrase}."
