"""The benchmark's figures follow the rules of the product's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import percentiles, window_medians
from detect.metrics.statistics import describe

durations_ns = st.lists(st.integers(0, 10_000_000_000), min_size=1, max_size=150)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentiles([1.0, 2.0, 10.0, 20.0])["p50"] == 2.0


@pytest.mark.parametrize(
    ("n", "known"),
    [
        (1, {"p50"}),
        (19, {"p50"}),
        (20, {"p50", "p95"}),
        (99, {"p50", "p95"}),
        (100, {"p50", "p95", "p99"}),
    ],
)
def test_percentiles_need_a_value_beyond_them(n: int, known: set[str]) -> None:
    figures = percentiles([float(value) for value in range(n)])
    assert {name for name in ("p50", "p95", "p99") if figures[name] is not None} == known


@given(durations_ns)
def test_the_same_figures_as_metrics_json(values_ns: list[int]) -> None:
    ours = percentiles([value / 1e6 for value in values_ns])
    theirs = describe(np.array(values_ns, np.int64))
    pairs = {"p50": "median_ms", "p95": "p95_ms", "p99": "p99_ms", "min": "min_ms"}
    pairs |= {"max": "max_ms", "mean": "mean_ms", "std": "std_ms"}
    for mine, name in pairs.items():
        if theirs[name] is None:
            assert ours[mine] is None
        else:
            assert ours[mine] == pytest.approx(theirs[name], abs=0.006)


def test_nothing_measured_is_nothing_known() -> None:
    assert set(percentiles([]).values()) == {None}
    assert window_medians([], [], 60) == []


def test_one_value_has_no_spread() -> None:
    assert percentiles([3.14159]) == {
        **{"p50": 3.14, "p95": None, "p99": None},
        **{"min": 3.14, "max": 3.14, "mean": 3.14, "std": None},
    }


def test_the_spread_is_that_of_a_sample() -> None:
    assert percentiles([1.0, 3.0])["std"] == round(math.sqrt(2), 2)


def test_windows_show_a_latency_that_grows() -> None:
    times_s = [100.0, 159.9, 160.0, 219.0, 290.0]
    assert window_medians(times_s, [10.0, 12.0, 30.0, 50.0, 90.0], 60.0) == [
        {"start_s": 0.0, "p50": 10.0, "n": 2},
        {"start_s": 60.0, "p50": 30.0, "n": 2},
        {"start_s": 180.0, "p50": 90.0, "n": 1},
    ]
