"""One row per processed frame: integers of nanoseconds, so that stages sum exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from detect.clock import EPOCH_NS, NS_PER_MS
from detect.types import POINTS, STAGES, FrameTimes

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNKNOWN_NS = np.iinfo(np.int64).min
"""Stands for a time point or a duration that is not known."""

Column: TypeAlias = list[int] | list[float] | list[float | None] | list[str]

_ROW = np.dtype(
    [
        ("seq", np.int64),
        ("rtp", np.int64),
        ("closed_ns", np.int64),
        ("points_ns", np.int64, (len(POINTS),)),
        ("error_ms", np.float64),
        ("n_detections", np.int32),
        ("width", np.int32),
        ("height", np.int32),
        ("model", np.int32),
        ("is_shown", np.bool_),
    ]
)

_POINT_INDEX = {name: index for index, name in enumerate(POINTS)}


def known_points(times: FrameTimes) -> tuple[int, ...]:
    """Time points in the order of :data:`detect.types.POINTS`, gaps as :data:`UNKNOWN_NS`."""
    return tuple(
        UNKNOWN_NS if point is None else point
        for point in (
            times.captured_ns,
            times.received_ns,
            times.decoded_ns,
            times.taken_ns,
            times.prepared_ns,
            times.inferred_ns,
            times.decided_ns,
            times.tracked_ns,
            times.sent_ns,
            times.arrived_ns,
            times.drawn_ns,
        )
    )


@dataclass(slots=True)
class Row:
    """What is known of one processed frame; no picture and no boxes are kept alive."""

    rtp: int
    points_ns: tuple[int, ...]
    error_ms: float | None
    n_detections: int
    size_wh: tuple[int, int]
    model: int
    opened_ns: int


class RowRing:
    """The newest ``capacity`` rows, in one block of memory.

    Rows are numbered from 1 in the order in which they are closed, so that a reader who has seen
    row ``n`` never misses one by asking for what came after it.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity: expected at least 1, got {capacity}")
        self._table = np.zeros(capacity, _ROW)
        self.last_seq = 0

    def append(self, row: Row, closed_ns: int, *, is_shown: bool) -> None:
        """Close a row; the oldest one makes room."""
        self.last_seq += 1
        self._table[self.last_seq % len(self._table)] = (
            self.last_seq,
            row.rtp,
            closed_ns,
            row.points_ns,
            np.nan if row.error_ms is None else row.error_ms,
            row.n_detections,
            *row.size_wh,
            row.model,
            is_shown,
        )

    @property
    def n_overwritten(self) -> int:
        """Rows that had to make room."""
        return max(0, self.last_seq - len(self._table))

    def tail(self, n: int) -> NDArray[Any]:
        """Copy of the newest ``n`` rows (fewer where there are fewer), oldest first."""
        n = min(n, self.last_seq, len(self._table))
        seqs = np.arange(self.last_seq - n + 1, self.last_seq + 1)
        return self._table[seqs % len(self._table)]

    def complete(self, seq: int, points_ns: tuple[int, ...], error_ms: float | None) -> bool:
        """Complete a row that was closed without a viewer's report; False when it is gone."""
        index = seq % len(self._table)
        if self._table["seq"][index] != seq:
            return False
        self._table["points_ns"][index] = points_ns
        self._table["error_ms"][index] = np.nan if error_ms is None else error_ms
        self._table["is_shown"][index] = True
        return True


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A copy of closed rows and the figures that follow from them.

    Durations are int64 nanoseconds of shape (N,), :data:`UNKNOWN_NS` where a point is not known.

    Attributes
    ----------
    table : ndarray, shape (N,)
        Structured rows, oldest first.
    models : tuple of str
        Names the column ``model`` of the table counts into.
    """

    table: NDArray[Any]
    models: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.table)

    def where(self, mask: NDArray[np.bool_]) -> Rows:
        """Only the rows where the mask, shape (N,), is true."""
        return Rows(self.table[mask], self.models)

    @property
    def is_shown(self) -> NDArray[np.bool_]:
        """Rows a viewer reported as drawn."""
        shown: NDArray[np.bool_] = self.table["is_shown"]
        return shown

    @property
    def is_complete(self) -> NDArray[np.bool_]:
        """Rows with every time point known: their stages sum to the latency exactly."""
        complete: NDArray[np.bool_] = (self.table["points_ns"] != UNKNOWN_NS).all(axis=1)
        return complete

    def between(self, start: str, end: str) -> NDArray[np.int64]:
        """Durations between two points, e.g. ``"received_ns"`` and ``"sent_ns"``."""
        points: NDArray[np.int64] = self.table["points_ns"]
        starts, ends = points[:, _POINT_INDEX[start]], points[:, _POINT_INDEX[end]]
        is_known = (starts != UNKNOWN_NS) & (ends != UNKNOWN_NS)
        return np.where(is_known, ends - np.where(is_known, starts, ends), UNKNOWN_NS)

    def stage(self, name: str) -> NDArray[np.int64]:
        """Durations of one of :data:`detect.types.STAGES`."""
        stage = next(stage for stage in STAGES if stage.name == name)
        return self.between(stage.start, stage.end)

    @property
    def latency(self) -> NDArray[np.int64]:
        """Captured → drawn; known only while both clocks are synchronised."""
        return self.between("captured_ns", "drawn_ns")

    @property
    def age(self) -> NDArray[np.int64]:
        """Captured → taken: how old a frame is when the engine gets it."""
        return self.between("captured_ns", "taken_ns")

    @property
    def processing(self) -> NDArray[np.int64]:
        """Received → last known point: on the screen, at the viewer's socket, or tracked."""
        points: NDArray[np.int64] = self.table["points_ns"]
        received = points[:, _POINT_INDEX["received_ns"]]
        # The points are in time order and UNKNOWN_NS is the smallest integer.
        last_known = np.argmax(points[:, ::-1] != UNKNOWN_NS, axis=1)
        last = points[np.arange(len(points)), points.shape[1] - 1 - last_known]
        is_known = received != UNKNOWN_NS
        return np.where(is_known, last - np.where(is_known, received, last), UNKNOWN_NS)

    @property
    def errors_ms(self) -> NDArray[np.float64]:
        """Known bounds on the error of the known latencies, ascending."""
        errors: NDArray[np.float64] = self.table["error_ms"][self.latency != UNKNOWN_NS]
        return np.sort(errors[~np.isnan(errors)])

    def columns(self) -> dict[str, Column]:
        """Columns for JSON: milliseconds, None where not known.

        A duration keeps its nanoseconds (six decimals), so the stages of a row still sum to its
        latency when rounded to them.
        """
        decoded = self.table["points_ns"][:, _POINT_INDEX["decoded_ns"]]
        is_decoded = decoded != UNKNOWN_NS
        since_epoch = np.where(is_decoded, decoded - EPOCH_NS * is_decoded, UNKNOWN_NS)
        columns: dict[str, Column] = {
            "seq": self.table["seq"].tolist(),
            "rtp": self.table["rtp"].tolist(),
            "t_ms": in_ms(since_epoch),
        }
        for stage in STAGES:
            columns[f"{stage.name}_ms"] = in_ms(self.between(stage.start, stage.end))
        columns["latency_ms"] = in_ms(self.latency)
        columns["error_ms"] = [
            None if error != error else error for error in self.table["error_ms"].tolist()
        ]
        columns["processing_ms"] = in_ms(self.processing)
        columns["age_ms"] = in_ms(self.age)
        for name in ("n_detections", "width", "height"):
            columns[name] = self.table[name].tolist()
        columns["model"] = [self.models[index] for index in self.table["model"].tolist()]
        return columns


def known(durations_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Only the durations that are known."""
    found: NDArray[np.int64] = durations_ns[durations_ns != UNKNOWN_NS]
    return found


def in_ms(durations_ns: NDArray[np.int64]) -> list[float | None]:
    """Milliseconds, None where not known."""
    return [
        None if duration == UNKNOWN_NS else duration / NS_PER_MS
        for duration in durations_ns.tolist()
    ]
