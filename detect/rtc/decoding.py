"""What stands at the two ends of aiortc's decoder thread: its input queue and its output."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Final, TypeAlias

import av
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

EncodedItem: TypeAlias = tuple[RTCRtpCodecParameters, JitterFrame]

DECODER_BACKLOG: Final = 30
"""Encoded frames the decoder may be behind: one second, more than a repaired hole releases."""


def starts_key_frame(codec_name: str, payload: bytes, data: bytes) -> bool:
    """Whether an RTP packet is the first of a picture that needs no other.

    Parameters
    ----------
    codec_name : str
        ``VP8`` or ``H264``.
    payload : bytes
        The RTP payload as it came.
    data : bytes
        What aiortc made of it: without VP8's payload descriptor.

    Notes
    -----
    VP8: the descriptor says start of partition 0 (RFC 7741 §4.2: S = 1, PID = 0), and the first bit
    of the frame tag is 0 for a key frame (RFC 6386 §9.1). H264: a sequence parameter set, alone or
    first in a STAP-A (RFC 6184 §5.7.1), which browsers send with every IDR picture.
    """
    if not payload or not data:
        return False
    if codec_name == "VP8":
        return payload[0] & 0x17 == 0x10 and not data[0] & 1
    nal_type = payload[0] & 0x1F
    if nal_type == 24 and len(payload) > 3:  # STAP-A: two bytes of size, then a NAL unit
        nal_type = payload[3] & 0x1F
    return nal_type == 7


class DecoderQueue:
    """Input queue of the decoder thread, with a bound and a fast end.

    ``put`` and ``get`` have the meaning aiortc gives them: an item is ``(codec, JitterFrame)``, and
    None ends the thread. The end overtakes waiting frames, so that joining the thread takes one
    frame at most.
    """

    def __init__(self, limit: int = DECODER_BACKLOG) -> None:
        self._items: queue.SimpleQueue[EncodedItem | None] = queue.SimpleQueue()
        self._limit = limit
        self._is_ended = False

    def __len__(self) -> int:
        """Frames waiting."""
        return self._items.qsize()

    @property
    def is_full(self) -> bool:
        """Another frame would exceed the bound."""
        return self._items.qsize() >= self._limit

    def put(self, item: EncodedItem | None) -> None:
        """Append a frame, or end the thread with None. Loop thread only."""
        if self._is_ended:
            return
        if item is None:
            self._is_ended = True
            self.clear()
        self._items.put(item)

    def get(self) -> EncodedItem | None:
        """Wait for the next item. Decoder thread only."""
        return self._items.get()

    def clear(self) -> int:
        """Drop the waiting frames; return how many. Loop thread only."""
        n_dropped = 0
        while True:
            try:
                self._items.get_nowait()
            except queue.Empty:
                return n_dropped
            n_dropped += 1


class ArrivalTimes:
    """When the last packet of each frame under way came, by unwrapped RTP timestamp; bounded."""

    def __init__(self, limit: int = 4 * DECODER_BACKLOG) -> None:
        self._lock = threading.Lock()
        self._times: dict[int, int] = {}
        self._limit = limit

    def put(self, pts: int, received_ns: int) -> None:
        """Remember one frame; the oldest is forgotten when there are too many."""
        with self._lock:
            self._times[pts] = received_ns
            while len(self._times) > self._limit:
                del self._times[next(iter(self._times))]

    def pop(self, pts: int, default: int) -> int:
        """Forget one frame and return its time."""
        with self._lock:
            return self._times.pop(pts, default)


class _DoneCoroutine(Coroutine[None, None, None]):
    """A coroutine with nothing left to do: awaiting it costs nothing, leaving it no warning."""

    def send(self, value: None, /) -> None:
        raise StopIteration

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> None:
        raise typ

    def close(self) -> None:
        return None

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


_DONE: Final = _DoneCoroutine()


class Output:
    """Stands in for the track's queue: works in the decoder thread, hands nothing to the loop."""

    def __init__(
        self, on_frame: Callable[[av.VideoFrame], None], on_end: Callable[[], None]
    ) -> None:
        self._on_frame = on_frame
        self._on_end = on_end

    def put(self, frame: av.VideoFrame | None) -> Coroutine[None, None, None]:
        """Take a decoded frame, or None at the end. Decoder thread only."""
        if frame is None:
            self._on_end()
        else:
            self._on_frame(frame)
        return _DONE
