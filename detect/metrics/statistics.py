"""Percentiles that are measured values, and only where there are enough of them.

The rule is *nearest rank* (Hyndman & Fan 1996, definition 1): the q-quantile of n values is the
``ceil(q n)``-th smallest. It is always a value that was measured, never a mixture of two.

A percentile above the median is refused (None) unless at least one value is expected above it,
``n (1 - q) >= 1``: a p95 needs 20 values, a p99 needs 100. With fewer, "p99" would only be another
name for the maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detect.clock import NS_PER_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUND_OFF = 1e-9  # 0.95 * 20 is 18.999999999999996 in doubles, and means 19


def percentile(ordered: NDArray[np.int64] | NDArray[np.float64], q: float) -> float | None:
    """Nearest-rank quantile.

    Parameters
    ----------
    ordered : ndarray, shape (N,)
        Values, ascending.
    q : float
        Quantile in (0, 1).

    Returns
    -------
    float or None
        None when N is 0 or cannot support a quantile above the median.
    """
    if not 0 < q < 1:
        raise ValueError(f"q: expected a number between 0 and 1, got {q}")
    n = len(ordered)
    if n == 0 or (q > 0.5 and n * (1 - q) < 1 - _ROUND_OFF):
        return None
    return float(ordered[math.ceil(q * n - _ROUND_OFF) - 1])


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Median, p95 and p99 in milliseconds of ``n`` values; None where ``n`` is too small."""

    n: int
    p50: float
    p95: float | None
    p99: float | None


def percentiles(durations_ns: NDArray[np.int64]) -> Percentiles | None:
    """Percentiles of durations in nanoseconds, in any order; None when there are none."""
    ordered = np.sort(durations_ns)
    p50 = percentile(ordered, 0.5)
    if p50 is None:
        return None
    return Percentiles(len(ordered), p50 / NS_PER_MS, _ms(ordered, 0.95), _ms(ordered, 0.99))


def describe(durations_ns: NDArray[np.int64]) -> dict[str, float | int | None]:
    """Count, mean, spread and percentiles of durations, as ``metrics.json`` has them.

    ``std_ms`` is the sample standard deviation (n - 1 in the denominator), None below two values.
    """
    n = len(durations_ns)
    if n == 0:
        names = ("mean_ms", "std_ms", "min_ms", "median_ms", "p95_ms", "p99_ms", "max_ms")
        return {"n": 0, **dict.fromkeys(names)}
    ordered = np.sort(durations_ns)
    return {
        "n": n,
        "mean_ms": int(ordered.sum()) / n / NS_PER_MS,
        "std_ms": float(ordered.std(ddof=1)) / NS_PER_MS if n > 1 else None,
        "min_ms": int(ordered[0]) / NS_PER_MS,
        "median_ms": _ms(ordered, 0.5),
        "p95_ms": _ms(ordered, 0.95),
        "p99_ms": _ms(ordered, 0.99),
        "max_ms": int(ordered[-1]) / NS_PER_MS,
    }


def _ms(ordered_ns: NDArray[np.int64], q: float) -> float | None:
    value_ns = percentile(ordered_ns, q)
    return None if value_ns is None else value_ns / NS_PER_MS
