"""Phone and media server: signalling, ``control``, ``results`` (docs/protocol.md §1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field, TypeAdapter

from detect.config import IceServer
from detect.errors import ProtocolError
from detect.protocol.boxes import Box, Boxes
from detect.protocol.wire import (
    MAX_CLASSES,
    MAX_MESSAGE_BYTES,
    MAX_RESULTS_BYTES,
    MAX_SDP_BYTES,
    PROTOCOL_VERSION,
    Counter,
    Ms,
    Pixels,
    RtpTimestamp,
    Sentence,
    SizeWh,
    Token,
    TooLargeError,
    Word,
    encode,
    parse_payload,
    parse_text,
)

if TYPE_CHECKING:
    from detect.types import FrameResult

DeviceName = Annotated[Word, Field(min_length=1, max_length=64)]
FrameRate = Annotated[float, Field(gt=0, le=240)]


@dataclass(frozen=True, slots=True)
class PairAuth:
    """First connection of a phone: the one-time token of the QR code."""

    token: str = field(repr=False)
    name: str


@dataclass(frozen=True, slots=True)
class ResumeAuth:
    """The same phone comes back."""

    token: str = field(repr=False)
    name: str


@dataclass(frozen=True, slots=True)
class LocalAuth:
    """A source on the loopback listener, authorised by the access token."""

    name: str


PhoneAuth: TypeAlias = PairAuth | ResumeAuth | LocalAuth


@dataclass(frozen=True, slots=True)
class _AuthPayload:
    """What the Socket.IO connection carries as ``auth``."""

    protocol: int
    pair: Token | None = field(default=None, repr=False)
    resume: Token | None = field(default=None, repr=False)
    local: DeviceName | None = None
    name: DeviceName = "phone"


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """Camera picture the server asks for."""

    width: Pixels
    height: Pixels
    frame_rate: FrameRate


@dataclass(frozen=True, slots=True)
class Welcome:
    """Socket.IO event ``welcome``: the phone is known from here on."""

    stream_id: Word
    resume: Token = field(repr=False)
    ice_servers: Annotated[tuple[IceServer, ...], Field(max_length=16)]
    video: VideoRequest
    class_names: Annotated[tuple[Word, ...], Field(max_length=MAX_CLASSES)]


@dataclass(frozen=True, slots=True)
class Offer:
    """Socket.IO event ``offer``: a complete session description, no trickle."""

    sdp: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Answer:
    """Acknowledgement of ``offer``."""

    sdp: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was refused: a code for the program, words for the user."""

    code: Word
    message: Sentence


@dataclass(frozen=True, slots=True)
class AnswerError:
    """Acknowledgement of an ``offer`` that was refused."""

    error: Refusal


@dataclass(frozen=True, slots=True)
class Ping:
    """Clock exchange, server → phone or viewer."""

    id: Counter
    server_ms: Ms
    type: Literal["ping"] = "ping"


@dataclass(frozen=True, slots=True)
class Pong:
    """Clock exchange, phone → server; the last two times are the phone's."""

    id: Counter
    server_ms: Ms
    received_ms: Ms
    replied_ms: Ms
    type: Literal["pong"] = "pong"


@dataclass(frozen=True, slots=True)
class PhoneState:
    """State of the phone's camera and page, phone → server."""

    facing: Literal["environment", "user"] | None
    track: Literal["live", "muted", "ended"]
    visible: bool
    type: Literal["state"] = "state"


@dataclass(frozen=True, slots=True)
class Profile:
    """What the phone shall send from now on, server → phone."""

    width: Pixels
    height: Pixels
    frame_rate: FrameRate
    max_bitrate_bps: Annotated[int, Field(ge=10_000, le=1_000_000_000)]
    type: Literal["profile"] = "profile"


@dataclass(frozen=True, slots=True)
class Notice:
    """Words for the user, server → phone."""

    code: Word
    message: Sentence
    type: Literal["notice"] = "notice"


@dataclass(frozen=True, slots=True)
class Results:
    """Boxes of one frame, server → phone, on the ``results`` channel."""

    rtp: RtpTimestamp
    size_wh: SizeWh
    boxes: Boxes
    age_ms: Ms | None
    processing_ms: Ms
    model: Word


PhoneMessage: TypeAlias = Pong | PhoneState
ControlMessage: TypeAlias = Ping | Profile | Notice

_AUTH = TypeAdapter(_AuthPayload)
_OFFER = TypeAdapter(Offer)
_WELCOME = TypeAdapter(Welcome)
_ANSWER: TypeAdapter[Answer | AnswerError] = TypeAdapter(Answer | AnswerError)
_PHONE: TypeAdapter[PhoneMessage] = TypeAdapter(
    Annotated[PhoneMessage, Field(discriminator="type")]
)
_CONTROL: TypeAdapter[ControlMessage] = TypeAdapter(
    Annotated[ControlMessage, Field(discriminator="type")]
)
_RESULTS = TypeAdapter(Results)

# JSON escapes the line ends of an SDP, so its text is longer than the SDP itself.
_MAX_OFFER_BYTES = 2 * MAX_SDP_BYTES


def parse_auth(payload: object) -> PhoneAuth:
    """Who connects, from the ``auth`` payload of Socket.IO; raises ``ProtocolError``."""
    auth = parse_payload(_AUTH, payload, "auth", MAX_MESSAGE_BYTES)
    if auth.protocol != PROTOCOL_VERSION:
        raise ProtocolError(
            f"auth: expected protocol {PROTOCOL_VERSION}, got {auth.protocol}; reload the page"
        )
    given = [name for name in ("pair", "resume", "local") if getattr(auth, name) is not None]
    if len(given) != 1:
        raise ProtocolError(
            f"auth: expected one of 'pair', 'resume' and 'local', got {len(given)} of them"
        )
    if auth.pair is not None:
        return PairAuth(auth.pair, auth.name)
    if auth.resume is not None:
        return ResumeAuth(auth.resume, auth.name)
    return LocalAuth(auth.local or auth.name)


def parse_offer(payload: object) -> Offer:
    """Session description of a phone.

    Raises
    ------
    TooLargeError
        If it has more than :data:`MAX_SDP_BYTES` (error code ``sdp_too_large``).
    ProtocolError
        If it is anything but an offer (error code ``sdp_invalid``).
    """
    offer = parse_payload(_OFFER, payload, "offer", _MAX_OFFER_BYTES)
    n_bytes = len(offer.sdp.encode())
    if n_bytes > MAX_SDP_BYTES:
        raise TooLargeError(f"offer: expected at most {MAX_SDP_BYTES} bytes, got {n_bytes}")
    return offer


def parse_welcome(payload: object) -> Welcome:
    """Event ``welcome``, for phones written in Python; raises ``ProtocolError``."""
    return parse_payload(_WELCOME, payload, "welcome", MAX_RESULTS_BYTES)


def parse_answer(payload: object) -> Answer | AnswerError:
    """Acknowledgement of ``offer``, for phones written in Python; raises ``ProtocolError``."""
    return parse_payload(_ANSWER, payload, "answer", _MAX_OFFER_BYTES)


def parse_phone_message(data: object) -> PhoneMessage:
    """Message of a phone on the ``control`` channel; raises ``ProtocolError``."""
    return parse_text(_PHONE, data, "phone message", MAX_MESSAGE_BYTES)


def parse_control_message(data: object) -> ControlMessage:
    """Message of the server on the ``control`` channel; raises ``ProtocolError``."""
    return parse_text(_CONTROL, data, "control message", MAX_MESSAGE_BYTES)


def parse_results(data: object) -> Results:
    """Boxes on the ``results`` channel; raises ``ProtocolError``."""
    return parse_text(_RESULTS, data, "results", MAX_RESULTS_BYTES)


def build_results(
    result: FrameResult, boxes: tuple[Box, ...], *, age_ms: float | None, processing_ms: float
) -> str:
    """Text for the ``results`` channel.

    Parameters
    ----------
    result : FrameResult
        Whose boxes they are.
    boxes : tuple of Box
        From :func:`detect.protocol.wire_boxes`: made once, for the phone and every viewer.
    age_ms : float or None
        Captured → sent; None without synchronised clocks.
    processing_ms : float
        Received → sent.
    """
    frame = result.frame
    return encode(
        Results(
            rtp=frame.rtp_timestamp,
            size_wh=frame.size_wh,
            boxes=boxes,
            age_ms=age_ms,
            processing_ms=processing_ms,
            model=result.model_name,
        )
    )
