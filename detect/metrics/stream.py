"""What happened to the frames of one stream, while it happens."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from detect.clock import NS_PER_MS, NowNs, now_ns
from detect.metrics.document import Counts, build_document
from detect.metrics.rows import Column, Row, RowRing, Rows, known, known_points
from detect.metrics.statistics import Percentiles, percentiles
from detect.types import STAGES

if TYPE_CHECKING:
    from detect.types import Frame, FrameResult, FrameTimes

RATE_WINDOW_NS = 2_000 * NS_PER_MS
"""Frame rates are counted over this time."""
SUMMARY_WINDOW_NS = 10_000 * NS_PER_MS
"""Percentiles are taken over this time."""
GIVE_UP_NS = 1_000 * NS_PER_MS
"""A frame no viewer has reported as drawn this long after its boxes is closed without it."""
MAX_OPEN = 256
"""Frames waiting for a viewer's report, and frames given up that may still get one: 1 s at 250 fps,
8 s at 30 fps."""
_MAX_SUMMARY_ROWS = 2_048  # 10 s at 200 fps
_MAX_RATE_EVENTS = 512  # 2 s at 256 fps


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """How a stream does right now.

    Attributes
    ----------
    camera_fps, processed_fps, shown_fps : float
        Over the last 2 s.
    latency_ms : Percentiles or None
        Captured → drawn over the last 10 s; None while clocks are not synchronised or nobody looks.
    error_ms : float or None
        Largest bound on the clock error among those.
    processing_ms : Percentiles or None
        Received → last known point over the last 10 s: of the frames that were shown if any was, so
        that frames with and without a viewer's share are not mixed.
    age_ms : Percentiles or None
        Captured → taken over the last 10 s.
    stage_p50_ms : dict of str to (float or None)
        Median of each stage over the frames ``processing_ms`` is about.
    dropped : dict of str to int
        Frames without a result, by cause, since the beginning.
    n_camera, n_processed, n_shown : int
        Frames since the beginning.
    n_late : int
        Viewer's reports that came after the frame was given up; they are in ``metrics.json``.
    class_counts : dict of int to int
        Objects per class id in the newest frame.
    size_wh : tuple of int, or None
        Size of the newest frame.
    model_name : str
        Which model looked at the newest frame.
    """

    camera_fps: float
    processed_fps: float
    shown_fps: float
    latency_ms: Percentiles | None
    error_ms: float | None
    processing_ms: Percentiles | None
    age_ms: Percentiles | None
    stage_p50_ms: dict[str, float | None]
    dropped: dict[str, int]
    n_camera: int
    n_processed: int
    n_shown: int
    n_late: int
    class_counts: dict[int, int]
    size_wh: tuple[int, int] | None
    model_name: str


@dataclass(frozen=True, slots=True)
class Samples:
    """Closed rows as columns; ``next`` is the ``since`` of the next call."""

    next: int
    columns: dict[str, Column]


class _Rate:
    """Events per second over the last :data:`RATE_WINDOW_NS`, in bounded memory."""

    def __init__(self) -> None:
        self._times_ns = np.zeros(_MAX_RATE_EVENTS, np.int64)
        self.n = 0
        self.first_ns = 0
        self.last_ns = 0

    def record(self, time_ns: int) -> None:
        if self.n == 0:
            self.first_ns = time_ns
        self._times_ns[self.n % _MAX_RATE_EVENTS] = time_ns
        self.last_ns = time_ns
        self.n += 1

    def per_second(self, now: int) -> float:
        stored = self._times_ns[: min(self.n, _MAX_RATE_EVENTS)]
        n_recent = int(np.count_nonzero(stored > now - RATE_WINDOW_NS))
        # A stream younger than the window is measured over its life; below 1 s chance would rule.
        elapsed_ns = max(RATE_WINDOW_NS // 2, min(RATE_WINDOW_NS, now - self.first_ns))
        return n_recent * 1e9 / elapsed_ns


class StreamMetrics:
    """Counts and per-frame rows of one stream; thread-safe, bounded memory.

    A row opens when a frame's result is there. It closes when the first viewer reports the frame as
    drawn, or 1 s later without such a report; only closed rows are handed out. A report that comes
    later still completes its row for the summary and ``metrics.json``, so that slow frames are not
    left out of the percentiles.

    Parameters
    ----------
    stream_id : str
        Which stream.
    capacity : int
        Closed rows to keep: 20 000 are 11 minutes at 30 fps and 3 MB.
    now, utc_now : callable
        Monotonic clock, and wall clock for the date in ``metrics.json``.
    """

    def __init__(
        self,
        stream_id: str,
        *,
        capacity: int = 20_000,
        now: NowNs = now_ns,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.stream_id = stream_id
        self._now = now
        self._utc_now = utc_now
        self._lock = threading.Lock()
        self._ring = RowRing(capacity)
        self._open: OrderedDict[int, Row] = OrderedDict()  # by RTP timestamp, oldest first
        self._given_up: OrderedDict[int, int] = OrderedDict()  # RTP timestamp → row, newest last
        self._models: dict[str, int] = {}
        self._camera, self._processed, self._shown = _Rate(), _Rate(), _Rate()
        self._dropped: Counter[str] = Counter()
        self._n_late = 0
        self._size_wh: tuple[int, int] | None = None
        self._class_counts: dict[int, int] = {}
        self._model_name = ""

    def on_camera_frame(self, frame: Frame) -> None:
        """Count a decoded frame."""
        size_wh = frame.size_wh
        with self._lock:
            self._camera.record(self._now())
            self._size_wh = size_wh

    def on_drop(self, cause: str) -> None:
        """Count a frame that gives no result."""
        with self._lock:
            self._dropped[cause] += 1

    def on_result(self, result: FrameResult) -> None:
        """Open the row of a frame that was processed."""
        frame, detections = result.frame, result.detections
        points_ns = known_points(result.times)
        class_counts = dict(Counter(detections.class_id.tolist()))
        with self._lock:
            now = self._now()
            self._processed.record(now)
            self._class_counts = class_counts
            self._model_name = result.model_name
            model = self._models.setdefault(result.model_name, len(self._models))
            self._give_up(now, MAX_OPEN - 1)
            if (same := self._open.pop(frame.rtp_timestamp, None)) is not None:
                self._close_unshown(same, now)
            self._open[frame.rtp_timestamp] = Row(
                frame.rtp_timestamp,
                points_ns,
                frame.captured_error_ms,
                len(detections),
                frame.size_wh,
                model,
                now,
            )

    def on_shown(self, rtp_timestamp: int, times: FrameTimes, error_ms: float | None) -> None:
        """Complete the row of a frame a viewer has drawn.

        The first report of a frame counts; those of further viewers, and of frames that are no
        longer known, change nothing.

        Parameters
        ----------
        rtp_timestamp : int
            Which frame.
        times : FrameTimes
            All that is known now; viewer's points are None while its clock is not synchronised.
        error_ms : float or None
            Bound on the error of captured → drawn, both hops included.
        """
        points_ns = known_points(times)
        with self._lock:
            now = self._now()
            row = self._open.pop(rtp_timestamp, None)
            if row is not None:
                row.points_ns, row.error_ms = points_ns, error_ms
                self._ring.append(row, now, is_shown=True)
                self._shown.record(now)
            elif self._complete_late(rtp_timestamp, points_ns, error_ms):
                self._n_late += 1
                self._shown.record(now)

    def summary(self) -> StreamSummary:
        """How the stream does right now."""
        with self._lock:
            now = self._now()
            self._give_up(now, MAX_OPEN)
            rows = self._rows(_MAX_SUMMARY_ROWS)
            camera_fps = self._camera.per_second(now)
            processed_fps = self._processed.per_second(now)
            shown_fps = self._shown.per_second(now)
            counts = self._counts()
            class_counts, size_wh = self._class_counts, self._size_wh
            model_name = self._model_name
        rows = rows.where(rows.table["closed_ns"] > now - SUMMARY_WINDOW_NS)
        like = rows.where(rows.is_shown) if rows.is_shown.any() else rows
        return StreamSummary(
            camera_fps=camera_fps,
            processed_fps=processed_fps,
            shown_fps=shown_fps,
            latency_ms=percentiles(known(rows.latency)),
            error_ms=float(rows.errors_ms[-1]) if len(rows.errors_ms) else None,
            processing_ms=percentiles(known(like.processing)),
            age_ms=percentiles(known(rows.age)),
            stage_p50_ms={stage.name: _median_ms(like, stage.name) for stage in STAGES},
            dropped=counts.dropped,
            n_camera=counts.n_camera,
            n_processed=counts.n_processed,
            n_shown=counts.n_shown,
            n_late=counts.n_late,
            class_counts=class_counts,
            size_wh=size_wh,
            model_name=model_name,
        )

    def samples(self, since: int, limit: int | None = None) -> Samples:
        """Closed rows newer than ``since``, at most the newest ``limit``.

        A ``since`` from the future is one of a server that was restarted: everything is new.
        """
        with self._lock:
            self._give_up(self._now(), MAX_OPEN)
            last = self._ring.last_seq
            n_new = last - since if 0 <= since <= last else last
            rows = self._rows(n_new if limit is None else min(n_new, limit))
        return Samples(last, rows.columns())

    def document(
        self, info: Mapping[str, object], *, resources: Mapping[str, float | None] | None = None
    ) -> dict[str, object]:
        """The session so far as ``metrics.json`` (``bench/schema/metrics.schema.json``).

        Parameters
        ----------
        info : mapping
            For ``benchmark_info``: what only the caller knows (versions, hardware, clip, model,
            mode). A name this package fills itself is not taken from it.
        resources : mapping, optional
            ``resource_metrics``: CPU, memory, bit rates.
        """
        with self._lock:
            self._give_up(self._now(), MAX_OPEN)
            rows = self._rows(self._ring.last_seq)
            counts = self._counts()
        return build_document(
            rows,
            counts,
            info={
                **info,
                "stream_id": self.stream_id,
                "timestamp": self._utc_now().isoformat(timespec="seconds"),
            },
            resources=resources or {},
        )

    def _complete_late(self, rtp: int, points_ns: tuple[int, ...], error_ms: float | None) -> bool:
        seq = self._given_up.pop(rtp, None)
        return seq is not None and self._ring.complete(seq, points_ns, error_ms)

    def _close_unshown(self, row: Row, now: int) -> None:
        self._ring.append(row, now, is_shown=False)
        self._given_up[row.rtp] = self._ring.last_seq
        if len(self._given_up) > MAX_OPEN:
            self._given_up.popitem(last=False)

    def _give_up(self, now: int, n_kept: int) -> None:
        """Close rows nobody reports any more, and what is more than ``n_kept`` (lock held)."""
        while self._open:
            row = next(iter(self._open.values()))
            if len(self._open) <= n_kept and now - row.opened_ns < GIVE_UP_NS:
                return
            del self._open[row.rtp]
            self._close_unshown(row, now)

    def _rows(self, n: int) -> Rows:
        return Rows(self._ring.tail(n), tuple(self._models))

    def _counts(self) -> Counts:
        rates = (self._camera, self._processed, self._shown)
        begun = [rate.first_ns for rate in rates if rate.n]
        ended = [rate.last_ns for rate in rates if rate.n]
        return Counts(
            duration_s=(max(ended) - min(begun)) / 1e9 if begun else 0.0,
            n_camera=self._camera.n,
            n_processed=self._processed.n,
            n_shown=self._shown.n,
            n_late=self._n_late,
            n_rows_overwritten=self._ring.n_overwritten,
            dropped=dict(self._dropped),
        )


def _median_ms(rows: Rows, stage: str) -> float | None:
    found = percentiles(known(rows.stage(stage)))
    return None if found is None else found.p50
