"""Many streams, one engine: newest frame first, in turn, in one thread.

Every stream has one place for its newest frame. The worker thread serves the streams that have a
frame waiting in turn, so a stream waits at most for one frame of each other stream, whatever their
frame rates are. There is no other queue: a frame is processed, replaced by a newer one of its
stream, or dropped for a stated cause, and each of these is reported exactly once.

The engine is whatever :class:`FramePipeline` describes; nothing here assumes that it is local.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from detect.clock import NS_PER_MS, NowNs, now_ns
from detect.latest import LatestSlot
from detect.types import Detections, Frame, FrameResult, FrameTimes
from detect.vision.tracking import Tracker

if TYPE_CHECKING:
    import av

    from detect.config import DetectionSettings

logger = logging.getLogger(__name__)

REPLACED = "replaced"
"""Drop cause: a newer frame of the stream came before this one was taken."""
ENGINE_ERROR = "engine_error"
"""Drop cause: the pipeline or the tracker raised."""
REMOVED = "removed"
"""Drop cause: its stream is gone."""
CLOSED = "closed"
"""Drop cause: the scheduler is closed."""

ERROR_PERIOD_NS = 1_000 * NS_PER_MS
"""A broken engine fails for every frame: say so at most this often per stream."""


class FrameOutput(Protocol):
    """What the scheduler needs of a pipeline's output."""

    @property
    def detections(self) -> Detections: ...  # noqa: D102
    @property
    def prepared_ns(self) -> int: ...  # noqa: D102
    @property
    def inferred_ns(self) -> int: ...  # noqa: D102
    @property
    def decided_ns(self) -> int: ...  # noqa: D102


class _NamedSpec(Protocol):
    @property
    def name(self) -> str: ...


class FramePipeline(Protocol):
    """What the scheduler needs of a pipeline (:class:`detect.vision.pipeline.Pipeline` is one).

    It is called and closed in the worker thread only.
    """

    @property
    def spec(self) -> _NamedSpec: ...  # noqa: D102

    def __call__(  # noqa: D102
        self, picture: av.VideoFrame, *, score_threshold: float, iou_threshold: float
    ) -> FrameOutput: ...

    def close(self) -> None: ...  # noqa: D102


class FrameTracker(Protocol):
    """What the scheduler needs of a tracker."""

    def update(self, detections: Detections, time_ns: int) -> Detections: ...  # noqa: D102


@dataclass(slots=True, eq=False)
class _Stream:
    """What is kept of one stream; after the slot, only the worker thread touches it."""

    stream_id: str
    slot: LatestSlot[Frame] = field(default_factory=LatestSlot)
    tracker: FrameTracker | None = None
    tracked_by: FramePipeline | None = None
    last_error_ns: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    """One frame on its way through the engine, with the settings it was taken under."""

    stream: _Stream
    frame: Frame
    pipeline: FramePipeline | None
    settings: DetectionSettings
    taken_ns: int


class Scheduler:
    """Run one pipeline over the newest frames of many streams, fairly.

    Parameters
    ----------
    on_result : callable
        Called with each :class:`FrameResult`, in the worker thread. What it raises is logged.
    on_drop : callable
        Called with the stream's id and the cause for each frame that gives no result, in the thread
        that dropped it (the one that offers, removes or closes, or the worker).
    on_error : callable
        Called with the stream's id and the exception when a frame fails, in the worker thread, at
        most once a second per stream; the frame itself is dropped as ``engine_error``.
    settings : DetectionSettings
        Thresholds of the frames to come.
    engine_delay_ms : float
        Slept inside the inference stage of every frame: a slow detector for benchmarks and tests.
    now : callable
        Clock of the time points, the same one the pipeline uses.
    new_tracker : callable
        Makes the tracker of a stream; a stream gets a fresh one when the pipeline changes, because
        class numbers of two models have nothing to do with each other.
    """

    def __init__(  # noqa: PLR0913  # fixed by docs/architecture.md: three ends, then options
        self,
        *,
        on_result: Callable[[FrameResult], None],
        on_drop: Callable[[str, str], None],
        on_error: Callable[[str, Exception], None],
        settings: DetectionSettings,
        engine_delay_ms: float = 0,
        now: NowNs = now_ns,
        new_tracker: Callable[[], FrameTracker] = Tracker,
    ) -> None:
        self._on_result = on_result
        self._on_drop = on_drop
        self._on_error = on_error
        self._engine_delay_ms = engine_delay_ms
        self._now = now
        self._new_tracker = new_tracker
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        # Guards everything below; held for a few instructions only, never while a frame runs.
        self._changed = threading.Condition()
        self._has_worker = False  # who closes pipelines: the worker, or the caller without one
        self._streams: OrderedDict[str, _Stream] = OrderedDict()  # next in turn first
        self._pipeline: FramePipeline | None = None
        self._retired: list[FramePipeline] = []
        self._settings = settings

    @property
    def n_waiting(self) -> int:
        """Frames that wait for the engine: at most one per stream."""
        with self._changed:
            return sum(stream.slot.is_full for stream in self._streams.values())

    def start(self) -> None:
        """Start the worker thread; once."""
        if self._thread is not None:
            raise RuntimeError("start: expected to be called once, the worker runs already")
        self._has_worker = True
        # A daemon: an engine that hangs in native code must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="detect-engine", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """End the worker, drop what waits, close the pipeline; again does nothing.

        Waits up to ``timeout_s`` for the frame that is being processed. A worker still busy after
        that is left to end by itself, which is logged; its pipeline is closed when it does.
        """
        with self._changed:
            self._closing.set()
            streams, self._streams = list(self._streams.values()), OrderedDict()
            self._retire()
            has_worker = self._has_worker
            self._changed.notify_all()
        for stream in streams:
            self._drop_waiting(stream, CLOSED)
        if not has_worker:
            self._close_retired()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                logger.warning("the engine is still busy %.1f s after close", timeout_s)

    def set_pipeline(self, pipeline: FramePipeline | None) -> None:
        """Use another pipeline from the next frame on; the old one is closed in the worker.

        The scheduler owns it from here on: do not run it, close it, or give it again after another.
        With None, frames pass through with no boxes and no model name. Before :meth:`start` and
        after :meth:`close` there is no worker, and what is to be closed is closed at once.
        """
        with self._changed:
            if pipeline is self._pipeline:
                return
            self._retire()
            self._pipeline = pipeline
            if self._closing.is_set():
                self._retire()
            has_worker = self._has_worker
            self._changed.notify_all()
        if not has_worker:
            self._close_retired()

    def set_settings(self, settings: DetectionSettings) -> None:
        """Use other thresholds from the next frame on (``settings.model`` is not read here)."""
        with self._changed:
            self._settings = settings

    def add_stream(self, stream_id: str) -> None:
        """Accept frames of a stream; ``ValueError`` when it is there already."""
        with self._changed:
            if stream_id in self._streams:
                raise ValueError(f"add_stream: {stream_id!r} is there already")
            if not self._closing.is_set():
                self._streams[stream_id] = _Stream(stream_id)

    def remove_stream(self, stream_id: str) -> None:
        """Forget a stream; one that is not there is no error.

        Its waiting frame is dropped. The result of a frame in the engine right now is dropped too,
        unless it is already being delivered.
        """
        with self._changed:
            stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._drop_waiting(stream, REMOVED)

    def offer(self, frame: Frame) -> None:
        """Leave the newest frame of its stream for the engine; any thread, never blocks."""
        cause: str | None
        with self._changed:
            stream = self._streams.get(frame.stream_id)
            if stream is None:
                cause = CLOSED if self._closing.is_set() else REMOVED
            else:
                cause = REPLACED if stream.slot.put(frame) else None
                self._changed.notify()
        if cause is not None:
            self._drop(frame.stream_id, cause)

    def _retire(self) -> None:
        """Mark the pipeline for closing (the lock is held)."""
        if self._pipeline is not None:
            self._retired.append(self._pipeline)
            self._pipeline = None

    def _close_retired(self) -> None:
        with self._changed:
            retired, self._retired = self._retired, []
        for pipeline in retired:
            try:
                pipeline.close()
            except Exception:
                logger.exception("closing model %s failed", pipeline.spec.name)

    def _drop_waiting(self, stream: _Stream, cause: str) -> None:
        if stream.slot.take() is not None:
            self._drop(stream.stream_id, cause)

    def _drop(self, stream_id: str, cause: str) -> None:
        try:
            self._on_drop(stream_id, cause)
        except Exception:
            logger.exception("stream %s: on_drop failed", stream_id)

    # The worker thread.

    def _run(self) -> None:
        while not self._closing.is_set():
            turn = self._next_turn()
            # Here no frame runs: the one place where a pipeline may be closed.
            self._close_retired()
            if turn is not None:
                self._serve(turn)
        with self._changed:
            self._has_worker = False
        self._close_retired()

    def _next_turn(self) -> _Turn | None:
        """Wait for a frame, a pipeline to close, or the end."""
        with self._changed:
            while not (self._closing.is_set() or self._retired):
                turn = self._take_turn()
                if turn is not None:
                    return turn
                self._changed.wait()
        return None

    def _take_turn(self) -> _Turn | None:
        """Newest frame of the stream that was served longest ago (the lock is held)."""
        for stream in self._streams.values():
            frame = stream.slot.take()
            if frame is not None:
                self._streams.move_to_end(stream.stream_id)
                return _Turn(stream, frame, self._pipeline, self._settings, self._now())
        return None

    def _serve(self, turn: _Turn) -> None:
        try:
            result = self._process(turn)
        except Exception as error:
            self._drop(turn.stream.stream_id, ENGINE_ERROR)
            self._report(turn.stream, error)
            return
        with self._changed:
            is_gone = self._streams.get(turn.stream.stream_id) is not turn.stream
        if is_gone:
            self._drop(turn.stream.stream_id, CLOSED if self._closing.is_set() else REMOVED)
            return
        try:
            self._on_result(result)
        except Exception:
            logger.exception("stream %s: on_result failed", turn.stream.stream_id)

    def _process(self, turn: _Turn) -> FrameResult:
        frame, pipeline = turn.frame, turn.pipeline
        if pipeline is None:
            return FrameResult(frame, Detections.empty(), _passed_times(turn), "")
        output = pipeline(
            frame.picture,
            score_threshold=turn.settings.score_threshold,
            iou_threshold=turn.settings.iou_threshold,
        )
        delay_ns = self._sleep_in_engine()
        detections = self._tracker(turn.stream, pipeline).update(
            output.detections,
            frame.decoded_ns,  # increases with every frame; receiving does not when one is resent
        )
        times = FrameTimes(
            captured_ns=frame.captured_ns,
            received_ns=frame.received_ns,
            decoded_ns=frame.decoded_ns,
            taken_ns=turn.taken_ns,
            prepared_ns=output.prepared_ns,
            inferred_ns=output.inferred_ns + delay_ns,
            decided_ns=output.decided_ns + delay_ns,
            tracked_ns=self._now(),
        )
        return FrameResult(frame, detections, times, pipeline.spec.name)

    def _sleep_in_engine(self) -> int:
        """Sleep as long as the slow detector would have taken longer; how long that was, in ns.

        The pipeline cannot be stopped midway, so the sleep follows it and the points after the
        inference are moved by as much: as if the engine itself had returned later.
        """
        if self._engine_delay_ms <= 0:
            return 0
        start_ns = self._now()
        self._closing.wait(self._engine_delay_ms / 1000)
        return self._now() - start_ns

    def _tracker(self, stream: _Stream, pipeline: FramePipeline) -> FrameTracker:
        if stream.tracker is None or stream.tracked_by is not pipeline:
            stream.tracker, stream.tracked_by = self._new_tracker(), pipeline
        return stream.tracker

    def _report(self, stream: _Stream, error: Exception) -> None:
        now = self._now()
        last_ns = stream.last_error_ns
        if last_ns is not None and now - last_ns < ERROR_PERIOD_NS:
            return
        stream.last_error_ns = now
        logger.error("stream %s: the engine failed", stream.stream_id, exc_info=error)
        try:
            self._on_error(stream.stream_id, error)
        except Exception:
            logger.exception("stream %s: on_error failed", stream.stream_id)


def _passed_times(turn: _Turn) -> FrameTimes:
    """Times of a frame no model looked at: the engine's stages take no time."""
    frame = turn.frame
    return FrameTimes(
        captured_ns=frame.captured_ns,
        received_ns=frame.received_ns,
        decoded_ns=frame.decoded_ns,
        taken_ns=turn.taken_ns,
        prepared_ns=turn.taken_ns,
        inferred_ns=turn.taken_ns,
        decided_ns=turn.taken_ns,
        tracked_ns=turn.taken_ns,
    )
