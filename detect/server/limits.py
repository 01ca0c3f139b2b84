"""Rate limits: token buckets, one per key, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from detect.clock import NS_PER_MS, NowNs, now_ns

MAX_KEYS = 4096
"""Keys remembered at once; the least recently seen is forgotten (and so gets a full bucket)."""


@dataclass(slots=True)
class _Bucket:
    level: float
    filled_ns: int


class RateLimiter:
    """Allow ``burst`` events at once and ``per_s`` a second after that, for each key.

    Parameters
    ----------
    burst : int
        Size of a bucket.
    per_s : float
        Events a second that refill it.
    now : callable
        Clock.
    """

    def __init__(self, *, burst: int, per_s: float, now: NowNs = now_ns) -> None:
        if burst < 1 or per_s <= 0:
            raise ValueError(f"expected burst >= 1 and per_s > 0, got {burst} and {per_s}")
        self._burst = burst
        self._per_ns = per_s / (1000 * NS_PER_MS)
        self._now = now
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def allow(self, key: str) -> bool:
        """Take one event from the bucket of ``key``; False when it is empty."""
        now = self._now()
        bucket = self._buckets.pop(key, None) or _Bucket(self._burst, now)
        refill = (now - bucket.filled_ns) * self._per_ns
        bucket.level = min(self._burst, bucket.level + refill)
        bucket.filled_ns = now
        is_allowed = bucket.level >= 1
        if is_allowed:
            bucket.level -= 1
        self._buckets[key] = bucket
        while len(self._buckets) > MAX_KEYS:
            self._buckets.popitem(last=False)
        return is_allowed

    def forget(self, key: str) -> None:
        """Drop the bucket of a key that is gone."""
        self._buckets.pop(key, None)
