"""Figures of a run, by the same rules as the product's own: ``detect.metrics.statistics``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detect.metrics import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """``p50``, ``p95``, ``p99``, ``min``, ``max``, ``mean``, ``std``; None where n is too small.

    Percentiles are nearest rank, ``std`` is the sample's (n - 1); all in the unit of ``values``,
    rounded to two decimals.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    n = len(ordered)
    figures: dict[str, float | None] = {
        **{name: percentile(ordered, q) for name, q in QUANTILES.items()},
        "min": float(ordered[0]) if n else None,
        "max": float(ordered[-1]) if n else None,
        "mean": float(ordered.mean()) if n else None,
        "std": float(ordered.std(ddof=1)) if n > 1 else None,
    }
    return {name: None if value is None else round(value, 2) for name, value in figures.items()}


def window_medians(
    times_s: Sequence[float], values: Sequence[float], window_s: float
) -> list[dict[str, float | int | None]]:
    """Median and count of each consecutive window: a latency that grows shows here.

    ``times_s`` is ascending; windows are counted from its first time, empty ones are left out.
    """
    if not times_s:
        return []
    numbers = ((np.asarray(times_s) - times_s[0]) // window_s).astype(np.int64)
    return [
        {
            "start_s": round(float(number * window_s), 1),
            "p50": percentiles(np.asarray(values)[numbers == number].tolist())["p50"],
            "n": int(np.count_nonzero(numbers == number)),
        }
        for number in np.unique(numbers)
    ]
