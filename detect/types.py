"""The values that travel through the package: frames, detections, time points.

All are frozen and validated once, when made. Nothing here imports numpy's heavier friends, aiortc,
onnxruntime or Jupyter.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from detect.clock import duration_ms

if TYPE_CHECKING:
    import av
    from numpy.typing import NDArray

UNTRACKED = -1
"""``track_id`` of a detection no track has been given to."""


def check_array(
    name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: type[np.generic]
) -> None:
    """Raise ``ValueError`` unless ``array`` has exactly this shape and dtype."""
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    if array.dtype != dtype:
        raise ValueError(f"{name}: expected dtype {np.dtype(dtype)}, got {array.dtype}")


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Objects found in one frame, best score first.

    Attributes
    ----------
    xyxy_px : ndarray, shape (N, 4), float32
        Corners ``x1, y1, x2, y2`` in pixels of the source frame, origin top left.
    score : ndarray, shape (N,), float32
        Confidence in [0, 1].
    class_id : ndarray, shape (N,), int32
        Index into the model's class names.
    track_id : ndarray, shape (N,), int32
        Number of the track, :data:`UNTRACKED` where there is none.

    Raises
    ------
    ValueError
        If a shape does not match, or a dtype is not the one above.
    """

    xyxy_px: NDArray[np.float32]
    score: NDArray[np.float32]
    class_id: NDArray[np.int32]
    track_id: NDArray[np.int32]

    def __post_init__(self) -> None:
        n = len(self.xyxy_px)
        check_array("xyxy_px", self.xyxy_px, (n, 4), np.float32)
        check_array("score", self.score, (n,), np.float32)
        check_array("class_id", self.class_id, (n,), np.int32)
        check_array("track_id", self.track_id, (n,), np.int32)

    @classmethod
    def untracked(
        cls,
        xyxy_px: NDArray[np.float32],
        score: NDArray[np.float32],
        class_id: NDArray[np.int32],
    ) -> Detections:
        """Detections no tracker has seen yet."""
        return cls(xyxy_px, score, class_id, np.full(len(score), UNTRACKED, np.int32))

    @classmethod
    def empty(cls) -> Detections:
        """No objects."""
        return cls.untracked(
            np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
        )

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture of one stream.

    Attributes
    ----------
    stream_id : str
        Which phone (or other source) it came from.
    rtp_timestamp : int
        Raw 32-bit RTP timestamp (90 kHz): with ``stream_id`` the identity of the frame, from the
        camera to the drawn picture.
    picture : av.VideoFrame
        The decoded picture, normally ``yuv420p``. Its size may differ from frame to frame
        (rotation, adaptive quality): never cache it.
    captured_ns : int or None
        When the camera took it, mapped to the server's clock; None while clocks are not
        synchronised.
    captured_error_ms : float or None
        Bound on the error of ``captured_ns``; None when that is None.
    received_ns, decoded_ns : int
        When its last RTP packet arrived; when the decoder returned it.
    """

    stream_id: str
    rtp_timestamp: int
    picture: av.VideoFrame
    captured_ns: int | None
    captured_error_ms: float | None
    received_ns: int
    decoded_ns: int

    def __post_init__(self) -> None:
        if not 0 <= self.rtp_timestamp < 1 << 32:
            raise ValueError(f"rtp_timestamp: expected 0 to 2**32 - 1, got {self.rtp_timestamp}")
        if (self.captured_ns is None) != (self.captured_error_ms is None):
            raise ValueError("captured_ns and captured_error_ms must both be given or both be None")

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.picture.width, self.picture.height


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """Time points of one frame on the server's clock (``…_ns``), None where not known (yet).

    In the order of the frame's way; consecutive known points bound the stages of :data:`STAGES`.
    """

    captured_ns: int | None = None
    """The camera took it (phone clock, mapped)."""
    received_ns: int | None = None
    """Its last RTP packet arrived."""
    decoded_ns: int | None = None
    """The decoder returned it."""
    taken_ns: int | None = None
    """It left the one-place slot for the engine."""
    prepared_ns: int | None = None
    """The input tensor is ready."""
    inferred_ns: int | None = None
    """The engine returned."""
    decided_ns: int | None = None
    """Boxes decoded, suppressed, in source pixels."""
    tracked_ns: int | None = None
    """Tracks assigned."""
    sent_ns: int | None = None
    """The picture with its boxes was handed to the viewer's socket."""
    arrived_ns: int | None = None
    """The viewer received it (viewer clock, mapped)."""
    drawn_ns: int | None = None
    """The viewer drew it (viewer clock, mapped)."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One arrow of a frame's way: the name of the stage and the two points that bound it."""

    name: str
    start: str
    end: str


STAGES: tuple[Stage, ...] = (
    Stage("transport", "captured_ns", "received_ns"),  # encode on the phone, network, reassembly
    Stage("decode", "received_ns", "decoded_ns"),
    Stage("wait", "decoded_ns", "taken_ns"),  # in the one-place slot
    Stage("prepare", "taken_ns", "prepared_ns"),
    Stage("infer", "prepared_ns", "inferred_ns"),
    Stage("decide", "inferred_ns", "decided_ns"),
    Stage("track", "decided_ns", "tracked_ns"),
    Stage("publish", "tracked_ns", "sent_ns"),  # JPEG and hand-over to the viewer's socket
    Stage("deliver", "sent_ns", "arrived_ns"),
    Stage("draw", "arrived_ns", "drawn_ns"),
)

POINTS: tuple[str, ...] = tuple(field.name for field in fields(FrameTimes))


def stage_durations_ms(times: FrameTimes) -> dict[str, float]:
    """Duration of every stage both of whose points are known.

    When all points are known the durations sum to captured→drawn exactly, because each stage ends
    where the next begins.
    """
    durations: dict[str, float] = {}
    for stage in STAGES:
        start: int | None = getattr(times, stage.start)
        end: int | None = getattr(times, stage.end)
        if start is not None and end is not None:
            durations[stage.name] = duration_ms(start, end)
    return durations


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """What a model saw in one frame.

    Attributes
    ----------
    frame : Frame
        The picture the boxes belong to.
    detections : Detections
        In pixels of ``frame``.
    times : FrameTimes
        Known up to ``tracked_ns``.
    model_name : str
        Which model looked; empty when none is loaded and the frame only passed through.
    """

    frame: Frame
    detections: Detections
    times: FrameTimes
    model_name: str
