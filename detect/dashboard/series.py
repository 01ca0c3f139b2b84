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

MAX_POINTS = 300
"""Three charts of 300 points redrawn twice a second cost 7 % of one core in the browser."""

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


def group_medians_ms(rows: Mapping[str, Sequence[Any]]) -> dict[str, float | None]:
    """Median duration of every stage group over the rows of ``api/streams/{id}/samples``.

    Columns are named after the stages, with or without ``_ms``. A group is None where no row knows
    all of its stages.
    """
    return {group.label: _group_median_ms(rows, group) for group in STAGE_GROUPS}


def _group_median_ms(rows: Mapping[str, Sequence[Any]], group: StageGroup) -> float | None:
    columns = [rows.get(f"{stage}_ms", rows.get(stage)) for stage in group.stages]
    known = [np.array(column, np.float64) for column in columns if column is not None]
    if len(known) < len(columns):
        return None
    total = np.sum(known, axis=0)
    total = total[np.isfinite(total)]
    return float(np.median(total)) if len(total) else None


def class_colour(class_id: int) -> str:
    """CSS colour of a class, the same as on the picture (``frontend/src/overlay.ts``)."""
    hue = (145 + class_id * 137.508) % 360
    lightness = 72 if 215 < hue < 300 else 58
    return f"hsl({hue:.0f} 90% {lightness}%)"
