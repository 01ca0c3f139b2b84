"""Limits, number ranges, and the one place where messages become JSON and JSON becomes messages."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, to_json

from detect.errors import ProtocolError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PROTOCOL_VERSION = 1

MAX_MESSAGE_BYTES = 4096
"""Largest JSON text of the control channel or of a viewer."""
MAX_PATH_LENGTH = 4096
"""Characters of a path: ``PATH_MAX`` of Linux; other systems allow less."""
MAX_SETTINGS_BYTES = 32 * 1024
"""Largest settings change: a path whose every character is escaped (``\\u20ac``) fits."""
MAX_SDP_BYTES = 64 * 1024
"""Largest offer: a browser's complete video offer is 5 to 10 KiB."""
MAX_RESULTS_BYTES = 128 * 1024
"""Largest JSON text made by the server: 1000 boxes are about 50 KiB."""
MAX_PICTURE_BYTES = 8 * 1024 * 1024
"""Largest binary picture message: a 1280x720 JPEG is about 0.2 MiB."""
MAX_BOXES = 1000
"""Most boxes in one message."""
MAX_CLASSES = 10_000
"""Most class names of a model."""

Ms = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]
"""A time point or a duration in milliseconds: finite, and exact to 0.2 µs in a double near 2026."""
Counter = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""A number that only counts up: exact in JavaScript."""
RtpTimestamp = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""Raw 32-bit RTP timestamp."""
Pixels = Annotated[int, Field(ge=1, le=16_384)]
"""A side of a picture."""
SizeWh = tuple[Pixels, Pixels]
"""Width and height of a picture."""
Word = Annotated[str, Field(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A short text with no control characters: names, codes, identifiers."""
Path = Annotated[
    str, Field(min_length=1, max_length=MAX_PATH_LENGTH, pattern=r"^[^\x00-\x1f\x7f]*$")
]
"""A name in the registry or the path of a file: long, but with no control characters either."""
Sentence = Annotated[str, Field(max_length=1000)]
"""Words for the user."""
Token = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")]
"""A secret: never repeated in an error."""

T = TypeVar("T")

_SHOWN_TYPES = (bool, int, float, type(None))


class TooLargeError(ProtocolError):
    """A message is larger than its limit; it was not read."""


def encode(message: object) -> str:
    """JSON text of a message, compact.

    A number that is not finite becomes ``null``, which the reader refuses: better one refused
    message than text that is not JSON.
    """
    return to_json(message, inf_nan_mode="null").decode()


def to_payload(message: DataclassInstance) -> dict[str, Any]:
    """Payload of a message for Socket.IO or a JSON response; what is None is left out."""
    return asdict(message, dict_factory=_known)


def _known(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in items if value is not None}


def parse_text(adapter: TypeAdapter[T], data: object, what: str, max_bytes: int) -> T:
    """Message of the adapter's type in ``data``.

    Raises
    ------
    TooLargeError
        If it has more than ``max_bytes``.
    ProtocolError
        If it is not text, not JSON, or not such a message. The text of the error names the first
        field that is wrong, what was expected there and what came, and never repeats a text value.
    """
    raw = _as_bytes(data, what)
    if len(raw) > max_bytes:
        raise TooLargeError(f"{what}: expected at most {max_bytes} bytes, got {len(raw)}")
    try:
        return adapter.validate_json(raw, strict=True)
    except ValidationError as error:
        raise ProtocolError(_explain(what, error.errors(include_url=False)[0])) from None


def parse_payload(adapter: TypeAdapter[T], payload: object, what: str, max_bytes: int) -> T:
    """Message in a payload that a library (Socket.IO) has decoded already; raises as above."""
    try:
        text = json.dumps(payload, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ProtocolError(f"{what}: expected a JSON object, got {_describe(payload)}") from None
    return parse_text(adapter, text, what, max_bytes)


def _as_bytes(data: object, what: str) -> bytes:
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if not isinstance(data, str):
        raise ProtocolError(f"{what}: expected JSON text, got {_describe(data)}")
    try:
        return data.encode()
    except UnicodeEncodeError:
        raise ProtocolError(f"{what}: expected JSON text, got one that is not Unicode") from None


def _explain(what: str, error: ErrorDetails) -> str:
    """Say where, expected and got in our words."""
    place = ".".join(str(part) for part in error["loc"])
    expected = error["msg"].replace("Input should be", "expected")
    if error["type"] == "missing":
        expected = "expected this field, got none"
    elif error["type"].startswith("union_tag"):
        expected = "expected a known 'type'"
    elif error["type"] != "json_invalid":
        expected = f"{expected}, got {_describe(error['input'])}"
    return ": ".join(part for part in (what, place, expected) if part)


def _describe(value: object) -> str:
    """Kind of a value; the value itself only where it is a number, and never a text (secrets)."""
    if isinstance(value, _SHOWN_TYPES):
        # A huge integer has no decimal text (sys.set_int_max_str_digits).
        is_huge = isinstance(value, int) and abs(value) > 1 << 64
        return "a huge integer" if is_huge else repr(value)
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    return f"a {type(value).__name__}"
