"""One result as viewers get it: boxes as numbers, JPEG made at most once, whoever asks first."""

from __future__ import annotations

import threading

from detect.clock import duration_ms
from detect.protocol import Box, PictureHeader, build_picture, wire_boxes
from detect.server.jpeg import JpegEncoder
from detect.types import FrameResult, FrameTimes, stage_durations_ms

_local = threading.local()


class Picture:
    """A result on its way to the viewers of one stream.

    The engine worker encodes it when some viewer is ready for it. When none is, the picture waits
    un-encoded in the viewers' places, and is encoded by the first viewer that gets ready, if no
    newer one has replaced it by then.
    """

    def __init__(self, result: FrameResult) -> None:
        self.result = result
        self.boxes: tuple[Box, ...] = wire_boxes(result.detections)
        self._lock = threading.Lock()
        self._jpeg: bytes | None = None

    @property
    def is_encoded(self) -> bool:
        """Whether :meth:`jpeg` returns at once."""
        return self._jpeg is not None

    def jpeg(self) -> bytes:
        """The picture as JPEG; any thread. The first call takes a millisecond or two."""
        with self._lock:
            if self._jpeg is None:
                self._jpeg = _encoder().encode(self.result.frame.picture)
            return self._jpeg


def picture_message(
    picture: Picture, *, seq: int, times: FrameTimes, captured: tuple[float, float] | None
) -> bytes:
    """Binary message of one picture for one viewer.

    Parameters
    ----------
    picture : Picture
        Already encoded.
    seq : int
        Its number for this viewer.
    times : FrameTimes
        Known up to ``sent_ns``.
    captured : tuple of float or None
        Capture time in viewer time, and the bound of its error, in milliseconds.
    """
    frame = picture.result.frame
    captured_ms, error_ms = captured or (None, None)
    header = PictureHeader(
        seq=seq,
        stream_id=frame.stream_id,
        rtp=frame.rtp_timestamp,
        size_wh=frame.size_wh,
        boxes=picture.boxes,
        model=picture.result.model_name,
        captured_ms=captured_ms,
        error_ms=error_ms,
        processing_ms=duration_ms(frame.received_ns, times.sent_ns or frame.decoded_ns),
        stages=stage_durations_ms(times),
    )
    return build_picture(header, picture.jpeg())


def _encoder() -> JpegEncoder:
    """Encoder of this thread: libswscale's context must not be shared."""
    encoder: JpegEncoder | None = getattr(_local, "encoder", None)
    if encoder is None:
        encoder = _local.encoder = JpegEncoder()
    return encoder
