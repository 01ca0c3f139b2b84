"""Chart windows, stacking, scales, stage groups."""

import math
from typing import Any

import numpy as np
import pytest

from detect.dashboard.series import (
    MAX_POINTS,
    STAGE_GROUPS,
    TOPS,
    RecentRows,
    Window,
    class_colour,
    group_medians_ms,
    nice_ceiling,
    robust_top,
    stack,
)
from detect.types import STAGES


def test_window_is_bounded_in_time_and_number() -> None:
    window = Window(["a"], span_s=10)
    for i in range(30):
        window.add(float(i), {"a": i})
    seconds, values = window.arrays()
    assert seconds[0] == -10
    assert seconds[-1] == 0
    assert values[0, -1] == 29
    fast = Window(["a"], span_s=1e9)
    for i in range(2 * MAX_POINTS):
        fast.add(float(i), {"a": i})
    assert len(fast) == MAX_POINTS


def test_window_keeps_gaps_and_sends_small_numbers() -> None:
    window = Window(["a", "b"])
    window.add(1.0, {"a": 2.0, "b": None})
    seconds, values = window.arrays()
    assert seconds.dtype == values.dtype == np.float32
    assert values.shape == (2, 1)
    assert math.isnan(values[1, 0])


def test_an_empty_window_has_the_right_shapes() -> None:
    seconds, values = Window(["a", "b"]).arrays()
    assert seconds.shape == (0,)
    assert values.shape == (2, 0)


def test_stack_counts_gaps_as_nothing() -> None:
    edges = stack(np.array([[1, 2], [np.nan, 3]], np.float32))
    assert edges.tolist() == [[1, 2], [1, 5]]


@pytest.mark.parametrize(
    ("value", "current", "top"),
    [
        (math.nan, 0, 12),
        (3, 0, 12),
        (61, 0, 80),
        (61, 100, 100),  # kept: it fills more than a third
        (20, 100, 20),  # too small for the old scale
        (130, 100, 160),
        (9_999, 0, 10_000),
    ],
)
def test_nice_ceiling(value: float, current: float, top: float) -> None:
    assert nice_ceiling(value, current) == pytest.approx(top)


def test_quarters_of_every_scale_are_whole() -> None:
    assert all((top * 10) % 4 == 0 for top in TOPS if top != 1.0)


def test_every_stage_is_in_one_group() -> None:
    grouped = [stage for group in STAGE_GROUPS for stage in group.stages]
    assert grouped == [stage.name for stage in STAGES]
    assert len({group.colour for group in STAGE_GROUPS}) == len(STAGE_GROUPS)


def test_group_medians_sum_the_stages_of_a_group() -> None:
    rows = RecentRows()
    rows.add(
        0.0,
        {
            "infer_ms": [10.0, 20.0, 30.0],
            "decide_ms": [1.0, 2.0, None],
            "track_ms": [0.5, 0.5, 0.5],
            "publish_ms": [1.0, 1.0, 1.0],  # "deliver" is not known: neither is their sum
            "t_ms": [0.0, 1.0, 2.0],
            "model": ["m", "m", "m"],
        },
    )
    medians = group_medians_ms(rows)
    assert medians["infer"] == 20.0
    assert medians["boxes"] == 2.0
    assert medians["send"] is None
    assert medians["network"] is None


def frames(start: int, end: int, period_ms: float, latency_ms: float = 40.0) -> dict[str, Any]:
    n = end - start
    return {
        "t_ms": [i * period_ms for i in range(start, end)],
        "latency_ms": [latency_ms] * n,
        "processing_ms": [None] * n,
    }


def test_a_slow_start_is_gone_after_two_seconds() -> None:
    rows = RecentRows()
    rows.add(
        1.0,
        {
            name: a + b
            for (name, a), b in zip(
                frames(0, 20, 40.0, 400.0).items(), frames(20, 40, 40.0).values(), strict=True
            )
        },
    )
    assert rows.percentiles("latency") == {"p50": 40.0, "p95": 400.0}
    rows.add(3.0, frames(40, 75, 40.0))
    assert rows.percentiles("latency") == {"p50": 40.0, "p95": 40.0}
    assert rows.percentiles("processing") is None
    assert len(rows) == 51  # two seconds, both ends included


def test_slow_frames_reach_back_for_a_p95_but_not_for_ever() -> None:
    rows = RecentRows()
    rows.add(1.0, frames(0, 100, 250.0))  # 4 a second: 5 s for 20 of them
    assert len(rows) == 20
    rows.add(2.0, frames(0, 100, 1000.0))
    assert len(rows) == 11
    assert rows.percentiles("latency") == {"p50": 40.0, "p95": None}


def test_rows_are_not_recent_for_ever() -> None:
    rows = RecentRows()
    rows.add(1.0, frames(0, 5, 33.0))
    rows.add(2.5, {})
    assert len(rows) == 5
    rows.add(3.5, {})
    assert len(rows) == 0
    assert rows.percentiles("latency") is None


@pytest.mark.parametrize(
    ("tops", "expected"),
    [
        ([], math.nan),
        ([math.nan], math.nan),
        ([40], 46),
        ([400, 40, 40], 46),  # a slow start
        ([40] * 97 + [400] * 3, 460),  # slow by now
        ([math.nan, 40, 40, 40, 900], 46),
    ],
)
def test_one_outlier_makes_no_scale(tops: list[float], expected: float) -> None:
    found = robust_top(np.array(tops, np.float32))
    assert found == pytest.approx(expected, nan_ok=True)


def test_class_colours_are_those_of_the_picture() -> None:
    # The first two of frontend/src/overlay.ts: hues 145 and 145 + 137.508 degrees.
    assert class_colour(0) == "hsl(145 90% 58%)"
    assert class_colour(1) == "hsl(283 90% 72%)"
