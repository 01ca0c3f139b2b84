"""What the charts remember: short windows of figures, and stages grouped for the eye.

Pure numpy, no widgets: everything here is tested without a page.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect.metrics.statistics import percentile
from detect.types import STAGES

MAX_POINTS = 300
"""Three charts of 300 points redrawn twice a second cost 7 % of one core in the browser."""

RECENT_MS = 2_000.0
"""A point of a chart tells of the frames of the last two seconds."""
OLDEST_MS = 10_000.0
N_FOR_P95 = 20
"""Where frames are slow, a point reaches back for so many, but never beyond the oldest."""
MAX_ROWS = 600

TOP_QUANTILE, HEADROOM = 98, 1.15
"""A scale ends above 98 % of the points: one outlier must not press the others flat."""

LOWEST_TOP = 12.0
TOPS = (1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0)
"""Upper ends of a scale within a decade: from 12 on, a quarter of each is a whole number."""


@dataclass(frozen=True, slots=True)
class StageGroup:
    """Neighbouring stages of a frame's way that one colour stands for.

    Ten colours cannot be told apart, and some stages last microseconds: eight groups can be read.
    """

    label: str
    stages: tuple[str, ...]
    colour: str


# Colours: Okabe and Ito, "Color Universal Design" (2008), distinct for colour-blind readers too;
# grey in place of their black, so that all show on light and dark.
STAGE_GROUPS: tuple[StageGroup, ...] = (
    StageGroup("network", ("transport",), "#56b4e9"),
    StageGroup("decode", ("decode",), "#0072b2"),
    StageGroup("wait", ("wait",), "#999999"),
    StageGroup("prepare", ("prepare",), "#f0e442"),
    StageGroup("infer", ("infer",), "#e69f00"),
    StageGroup("boxes", ("decide", "track"), "#d55e00"),
    StageGroup("send", ("publish", "deliver"), "#009e73"),
    StageGroup("draw", ("draw",), "#cc79a7"),
)


COLUMNS = ("t", "latency", "processing", *(stage.name for stage in STAGES))


class RecentRows:
    """The newest rows of ``api/streams/{id}/samples``: what the charts' next point is made of."""

    def __init__(self) -> None:
        self._fresh_s = -math.inf
        self.clear()

    def __len__(self) -> int:
        return len(self._table)

    def clear(self) -> None:
        """Forget everything."""
        self._table = np.zeros((0, len(COLUMNS)))

    def add(self, time_s: float, rows: Mapping[str, Sequence[Any]]) -> None:
        """Add the rows that came at ``time_s``; when none come for two seconds, none are recent."""
        n = max(map(len, rows.values()), default=0)
        if n:
            self._fresh_s = time_s
        elif time_s - self._fresh_s > RECENT_MS / 1000:
            self.clear()
        fresh = np.full((n, len(COLUMNS)), np.nan)
        for i, name in enumerate(COLUMNS):
            if (column := rows.get(f"{name}_ms")) is not None:
                fresh[:, i] = np.array(column, np.float64)  # None becomes NaN
        self._table = _recent(np.concatenate([self._table, fresh]))

    def column(self, name: str) -> NDArray[np.float64]:
        """Milliseconds of one of :data:`COLUMNS`, shape (N,), NaN where not known."""
        values: NDArray[np.float64] = self._table[:, COLUMNS.index(name)]
        return values

    def percentiles(self, name: str) -> dict[str, float | None] | None:
        """``p50`` and ``p95`` of a column; None where nothing is known."""
        values = self.column(name)
        ordered = np.sort(values[np.isfinite(values)])
        if not len(ordered):
            return None
        return {"p50": percentile(ordered, 0.5), "p95": percentile(ordered, 0.95)}


def _recent(table: NDArray[np.float64]) -> NDArray[np.float64]:
    table = table[-MAX_ROWS:]
    times_ms = table[:, COLUMNS.index("t")]
    ages_ms = np.fmax.reduce(times_ms, initial=-np.inf) - times_ms
    is_needed = np.arange(len(table)) >= len(table) - N_FOR_P95
    is_recent = (ages_ms <= RECENT_MS) | (is_needed & (ages_ms <= OLDEST_MS))
    recent: NDArray[np.float64] = table[is_recent]
    return recent


class Window:
    """The newest points of a few series that share one time axis.

    Parameters
    ----------
    names : sequence of str
        The series.
    span_s : float
        Points older than this, seen from the newest, are forgotten.
    capacity : int
        At most so many points, whatever the rate.
    """

    def __init__(
        self, names: Sequence[str], *, span_s: float = 120.0, capacity: int = MAX_POINTS
    ) -> None:
        self.names = tuple(names)
        self.span_s = span_s
        self._rows: deque[tuple[float, ...]] = deque(maxlen=capacity)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, time_s: float, values: Mapping[str, float | None]) -> None:
        """Append one point; a missing or None value is a gap."""
        figures = (values.get(name) for name in self.names)
        self._rows.append((time_s, *(math.nan if v is None else float(v) for v in figures)))
        while self._rows[0][0] < time_s - self.span_s:
            self._rows.popleft()

    def clear(self) -> None:
        """Forget everything."""
        self._rows.clear()

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Times and values.

        Returns
        -------
        seconds : ndarray, shape (N,), float32
            Seconds before the newest point, at most 0.
        values : ndarray, shape (len(names), N), float32
            NaN where there is a gap.
        """
        table = np.array(self._rows, np.float64).reshape(-1, 1 + len(self.names))
        if not len(table):
            return np.zeros(0, np.float32), np.zeros((len(self.names), 0), np.float32)
        seconds = (table[:, 0] - table[-1, 0]).astype(np.float32)
        return seconds, table[:, 1:].T.astype(np.float32)


def stack(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Upper edges of stacked areas, lowest first; gaps count as nothing.

    Parameters
    ----------
    values : ndarray, shape (S, N), float32

    Returns
    -------
    ndarray, shape (S, N), float32
    """
    return np.cumsum(np.nan_to_num(values), axis=0, dtype=np.float32)


def nice_ceiling(value: float, current: float = 0.0) -> float:
    """Upper end of a scale for ``value``, at least 12, whose quarters are whole numbers.

    ``current`` is kept while ``value`` fills between a third and all of it, so that a scale does
    not jump with every point.
    """
    if math.isfinite(value) and current / 3 <= value <= current:
        return current
    if not math.isfinite(value) or value <= LOWEST_TOP:
        return LOWEST_TOP
    decade = 10.0 ** math.floor(math.log10(value))
    return next(step * decade for step in TOPS if value <= step * decade)


def robust_top(tops: NDArray[np.float32]) -> float:
    """Where a scale should end for points of these heights, shape (N,); NaN for none."""
    known = tops[np.isfinite(tops)]
    if not len(known):
        return math.nan
    return float(np.percentile(known, TOP_QUANTILE, method="lower")) * HEADROOM


def group_medians_ms(rows: RecentRows) -> dict[str, float | None]:
    """Median duration of every stage group; None where no row knows all stages of a group."""
    return {group.label: _group_median_ms(rows, group) for group in STAGE_GROUPS}


def _group_median_ms(rows: RecentRows, group: StageGroup) -> float | None:
    total = np.sum([rows.column(stage) for stage in group.stages], axis=0)
    total = total[np.isfinite(total)]
    return float(np.median(total)) if len(total) else None


def class_colour(class_id: int) -> str:
    """CSS colour of a class, the same as on the picture (``frontend/src/overlay.ts``)."""
    hue = (145 + class_id * 137.508) % 360
    lightness = 72 if 215 < hue < 300 else 58
    return f"hsl({hue:.0f} 90% {lightness}%)"
