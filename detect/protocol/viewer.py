"""Viewer and media server: WebSocket ``api/view`` and its pictures (docs/protocol.md §2, §3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field, TypeAdapter
from pydantic_core import to_json

from detect.errors import ProtocolError
from detect.protocol.boxes import Boxes
from detect.protocol.phone import Ping
from detect.protocol.wire import (
    MAX_CLASSES,
    MAX_MESSAGE_BYTES,
    MAX_PICTURE_BYTES,
    MAX_RESULTS_BYTES,
    MAX_SETTINGS_BYTES,
    Counter,
    Ms,
    Path,
    RtpTimestamp,
    Sentence,
    SizeWh,
    TooLargeError,
    Word,
    parse_text,
)

if TYPE_CHECKING:
    from detect.config import DetectionSettings

_HEADER_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Watch:
    """Which stream the viewer wants; None is the newest live one."""

    stream_id: Word | None = None
    type: Literal["watch"] = "watch"


@dataclass(frozen=True, slots=True)
class ViewerPong:
    """Clock exchange, viewer → server, in viewer time."""

    id: Counter
    received_ms: Ms
    replied_ms: Ms
    type: Literal["pong"] = "pong"


@dataclass(frozen=True, slots=True)
class Ack:
    """Picture ``seq`` is decoded: the next may be sent."""

    seq: Counter
    type: Literal["ack"] = "ack"


@dataclass(frozen=True, slots=True)
class Drawn:
    """When picture ``seq`` arrived and was drawn, in viewer time."""

    seq: Counter
    arrived_ms: Ms
    drawn_ms: Ms
    type: Literal["drawn"] = "drawn"


@dataclass(frozen=True, slots=True)
class Visible:
    """Whether the page is seen; a hidden one gets no pictures."""

    value: bool
    type: Literal["visible"] = "visible"


@dataclass(frozen=True, slots=True)
class Hello:
    """First message to a viewer, repeated when the model changes."""

    protocol: Annotated[int, Field(ge=1, le=1000)]
    class_names: Annotated[tuple[Word, ...], Field(max_length=MAX_CLASSES)]
    model: Word
    type: Literal["hello"] = "hello"


@dataclass(frozen=True, slots=True)
class StreamChanged:
    """The watched stream changed its state."""

    stream_id: Word | None
    state: Literal["waiting", "connecting", "live", "stalled", "ended"]
    name: Word
    message: Sentence
    type: Literal["stream"] = "stream"


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """What a picture shows and how old it is.

    Attributes
    ----------
    seq : int
        Number of the picture for this viewer.
    stream_id, rtp : str, int
        Identity of the frame.
    size_wh : tuple of int
        Size of the frame the boxes are in; the JPEG may be smaller.
    boxes : tuple of Box
        Pixels of ``size_wh``.
    model : str
        Which model looked; empty when none did.
    captured_ms : float or None
        When the camera took it, in **viewer** time; None while a clock is not synchronised.
    error_ms : float or None
        Bound on the error of ``captured_ms``, both hops included.
    processing_ms : float
        Received → sent.
    stages : dict of str to float
        Durations in milliseconds known at sending.
    """

    seq: Counter
    stream_id: Word
    rtp: RtpTimestamp
    size_wh: SizeWh
    boxes: Boxes
    model: Word
    captured_ms: Ms | None
    error_ms: Ms | None
    processing_ms: Ms
    stages: Annotated[dict[Word, Ms], Field(max_length=64)]


@dataclass(frozen=True, slots=True)
class SettingsPatch:
    """Body of ``PATCH api/settings``: what is None stays as it is."""

    model: Path | None = None
    score_threshold: Annotated[float, Field(ge=0.01, le=1)] | None = None
    iou_threshold: Annotated[float, Field(ge=0, le=1)] | None = None

    def apply(self, settings: DetectionSettings) -> DetectionSettings:
        """Settings with the changes."""
        names = ("model", "score_threshold", "iou_threshold")
        changes = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return replace(settings, **changes)


ViewerMessage: TypeAlias = Watch | ViewerPong | Ack | Drawn | Visible
ServerMessage: TypeAlias = Hello | Ping | StreamChanged

_VIEWER: TypeAdapter[ViewerMessage] = TypeAdapter(
    Annotated[ViewerMessage, Field(discriminator="type")]
)
_SERVER: TypeAdapter[ServerMessage] = TypeAdapter(
    Annotated[ServerMessage, Field(discriminator="type")]
)
_HEADER = TypeAdapter(PictureHeader)
_SETTINGS = TypeAdapter(SettingsPatch)


def parse_viewer_message(data: object) -> ViewerMessage:
    """Message of a viewer; raises ``ProtocolError``."""
    return parse_text(_VIEWER, data, "viewer message", MAX_MESSAGE_BYTES)


def parse_server_message(data: object) -> ServerMessage:
    """Text message of the server, for viewers written in Python; raises ``ProtocolError``."""
    return parse_text(_SERVER, data, "server message", MAX_RESULTS_BYTES)


def parse_settings_patch(data: object) -> SettingsPatch:
    """Body of ``PATCH api/settings``; raises ``ProtocolError``."""
    return parse_text(_SETTINGS, data, "settings", MAX_SETTINGS_BYTES)


def build_picture(header: PictureHeader, jpeg: bytes) -> bytes:
    """Binary message: length of the header, header, JPEG."""
    text = to_json(header, inf_nan_mode="null")
    return b"".join((_HEADER_LENGTH.pack(len(text)), text, jpeg))


def parse_picture(data: bytes | bytearray | memoryview) -> tuple[PictureHeader, memoryview]:
    """Header and JPEG of a binary message, for viewers written in Python.

    Returns
    -------
    header : PictureHeader
    jpeg : memoryview
        Into ``data``, not copied and not decoded.

    Raises
    ------
    ProtocolError
        If it is too large, shorter than it says, or its header breaks docs/protocol.md.
    """
    view = memoryview(data)
    if len(view) > MAX_PICTURE_BYTES:
        raise TooLargeError(f"picture: expected at most {MAX_PICTURE_BYTES} bytes, got {len(view)}")
    if len(view) < _HEADER_LENGTH.size:
        raise ProtocolError(f"picture: expected a 4-byte length, got {len(view)} bytes")
    (n_header,) = _HEADER_LENGTH.unpack_from(view)
    end = _HEADER_LENGTH.size + n_header
    if end > len(view):
        raise ProtocolError(
            f"picture: expected a header of {n_header} bytes, got {len(view) - 4} bytes in all"
        )
    header = parse_text(_HEADER, view[_HEADER_LENGTH.size : end], "picture", MAX_RESULTS_BYTES)
    return header, view[end:]
