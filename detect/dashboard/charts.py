"""Live charts: bqplot figures in cards, with a legend that shows the newest values.

A chart is redrawn from outside, at most a few times a second, and only while somebody looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import bqplot as bq
import ipywidgets as w
import numpy as np
from numpy.typing import NDArray

from detect.dashboard.series import STAGE_GROUPS, Window, nice_ceiling, robust_top, stack

SPAN_S = 120.0
"""Two minutes: at two points a second this stays below the 300 points that are cheap to draw."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart."""

    name: str
    label: str
    colour: str


LATENCY = (Series("p50", "p50", "#56b4e9"), Series("p95", "p95", "#e69f00"))
FPS = (
    Series("camera", "camera", "#999999"),
    Series("processed", "processed", "#009e73"),
    Series("shown", "shown", "#cc79a7"),
)
STAGES = tuple(Series(group.label, group.label, group.colour) for group in STAGE_GROUPS)


class LiveChart(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A card with a title, a legend with values, and a figure over the last two minutes."""

    def __init__(self, title: str, series: Sequence[Series], unit: str) -> None:
        self.window = Window([s.name for s in series], span_s=SPAN_S)
        self._title, self._series, self._unit = title, tuple(series), unit
        self._head = w.HTML()
        self._x = bq.LinearScale(min=-SPAN_S, max=0)
        self._y = bq.LinearScale(min=0, max=0)
        self._y_axis = bq.Axis(scale=self._y, side="left", tick_format="d")
        self._set_top(nice_ceiling(np.nan))
        self._marks = self._make_marks()
        super().__init__([self._head, w.Box([self._figure()]).add_class("detect-figure")])
        self.add_class("detect-card").add_class("detect-chart")
        self.set_title_note(None)

    def add(self, time_s: float, values: Mapping[str, float | None]) -> None:
        """Remember a point; nothing is drawn."""
        self.window.add(time_s, values)

    def clear(self) -> None:
        """Forget all points: another stream is watched."""
        self.window.clear()

    def redraw(self) -> None:
        """Send the window to the page, in one message per mark."""
        seconds, values = self.window.arrays()
        self._draw(seconds, values)
        newest = values[:, -1] if values.shape[1] else np.full(len(values), np.nan, np.float32)
        self._write_head(newest)

    def set_title_note(self, note: str | None) -> None:
        """Say beside the title what kind of figure this is."""
        self._note = note
        self._write_head(np.full(len(self._series), np.nan, np.float32))

    def _make_marks(self) -> list[bq.Mark]:
        return [
            bq.Lines(
                x=np.zeros(0, np.float32),
                y=np.zeros(0, np.float32),
                scales={"x": self._x, "y": self._y},
                colors=[s.colour],
                stroke_width=2,
            )
            for s in self._series
        ]

    def _draw(self, seconds: NDArray[np.float32], values: NDArray[np.float32]) -> None:
        self._fit(np.fmax.reduce(values))
        for mark, line in zip(self._marks, values, strict=True):
            known = np.isfinite(line)
            with mark.hold_sync():
                mark.x, mark.y = seconds[known], line[known]

    def _fit(self, tops: NDArray[np.float32]) -> None:
        top = nice_ceiling(robust_top(tops), self._y.max)
        if top != self._y.max:
            self._set_top(top)

    def _set_top(self, top: float) -> None:
        self._y.max = top
        self._y_axis.tick_values = np.linspace(0, top, 5, dtype=np.float32)

    def _figure(self) -> bq.Figure:
        time_axis = bq.Axis(
            scale=self._x,
            tick_values=np.array([-SPAN_S, -SPAN_S / 2, 0], np.float32),
            tick_labels={
                str(int(-SPAN_S)): "2 min ago",
                str(int(-SPAN_S / 2)): "1 min",
                "0": "now",
            },
            grid_lines="none",
        )
        axis = self._y_axis
        return bq.Figure(
            marks=self._marks,
            axes=[time_axis, axis],
            animation_duration=0,
            padding_x=0,
            padding_y=0,
            fig_margin={"top": 8, "bottom": 26, "left": 40, "right": 22},
            background_style={"fill": "none"},
            # A chart as wide as its card: bqplot keeps the aspect between these two.
            min_aspect_ratio=0.5,
            max_aspect_ratio=6,
            layout={"width": "100%", "height": "190px", "min_width": "0"},
        )

    def _write_head(self, newest: NDArray[np.float32]) -> None:
        keys = "".join(
            f'<li><i style="background:{s.colour}"></i>{escape(s.label)}<b>{_figure(v)}</b></li>'
            for s, v in zip(self._series, newest, strict=True)
        )
        note = f"<small>{escape(self._note)}</small>" if self._note else ""
        head = (
            f"<h3>{escape(self._title)} <span>{escape(self._unit)}</span>{note}</h3>"
            f'<ul class="detect-legend">{keys}</ul>'
        )
        if head != self._head.value:
            self._head.value = head


class StackedChart(LiveChart):
    """Areas on top of each other: the stages of a frame's way, first at the bottom."""

    def _make_marks(self) -> list[bq.Mark]:
        # Each area reaches down to zero; drawn from the highest to the lowest, the lower ones cover
        # all but their own share of it.
        colours = [s.colour for s in reversed(self._series)]
        return [
            bq.Lines(
                x=np.zeros(0, np.float32),
                y=np.zeros((len(colours), 0), np.float32),
                scales={"x": self._x, "y": self._y},
                fill="bottom",
                fill_colors=colours,
                fill_opacities=[1.0] * len(colours),
                colors=colours,
                stroke_width=0.5,
            )
        ]

    def _draw(self, seconds: NDArray[np.float32], values: NDArray[np.float32]) -> None:
        known = np.isfinite(values).any(axis=0)
        edges = stack(values[:, known])
        self._fit(edges[-1])
        with self._marks[0].hold_sync():
            self._marks[0].x, self._marks[0].y = seconds[known], edges[::-1]


def _figure(value: float) -> str:
    if not np.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"
