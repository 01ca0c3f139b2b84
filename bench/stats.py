"""Percentiles that a sample can support."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_N = {50: 1, 95: 20, 99: 100}
"""Fewest samples for which a percentile is given: at least one sample must lie beyond it."""


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """``p50``, ``p95``, ``p99``, ``min``, ``max``, ``mean``, ``std``; None where n is too small."""
    if not values:
        return dict.fromkeys(("p50", "p95", "p99", "min", "max", "mean", "std"))
    array = np.asarray(values, np.float64)
    result: dict[str, float | None] = {
        f"p{q}": round(float(np.percentile(array, q)), 2) if len(array) >= n else None
        for q, n in MIN_N.items()
    }
    for name, value in (
        ("min", array.min()),
        ("max", array.max()),
        ("mean", array.mean()),
        ("std", array.std()),
    ):
        result[name] = round(float(value), 2)
    return result


def window_medians(
    times_s: Sequence[float], values: Sequence[float], window_s: float
) -> list[dict[str, float | int]]:
    """Median and count of each consecutive window: a latency that grows shows here."""
    if not times_s:
        return []
    t = np.asarray(times_s) - times_s[0]
    v = np.asarray(values)
    windows = []
    for k in range(int(t[-1] // window_s) + 1):
        inside = v[(t >= k * window_s) & (t < (k + 1) * window_s)]
        if len(inside):
            start_s = round(k * window_s, 1)
            windows.append(
                {"start_s": start_s, "p50": round(float(np.median(inside)), 2), "n": len(inside)}
            )
    return windows
