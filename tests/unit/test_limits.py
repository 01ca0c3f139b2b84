"""Token buckets."""

from __future__ import annotations

import pytest

from detect.server.limits import MAX_KEYS, RateLimiter


class FakeClock:
    time_ns = 0

    def __call__(self) -> int:
        return self.time_ns


def test_a_burst_then_a_rate() -> None:
    clock = FakeClock()
    limiter = RateLimiter(burst=3, per_s=2, now=clock)
    assert [limiter.allow("a") for _ in range(4)] == [True, True, True, False]
    clock.time_ns = 500_000_000
    assert [limiter.allow("a") for _ in range(2)] == [True, False]
    clock.time_ns = 60_000_000_000
    assert [limiter.allow("a") for _ in range(4)] == [True, True, True, False]


def test_keys_do_not_share() -> None:
    limiter = RateLimiter(burst=1, per_s=1, now=lambda: 0)
    assert limiter.allow("a")
    assert limiter.allow("b")
    assert not limiter.allow("a")
    limiter.forget("a")
    assert limiter.allow("a")


def test_memory_is_bounded() -> None:
    limiter = RateLimiter(burst=1, per_s=1, now=lambda: 0)
    for n in range(MAX_KEYS + 10):
        limiter.allow(str(n))
    assert len(limiter._buckets) == MAX_KEYS


@pytest.mark.parametrize(("burst", "per_s"), [(0, 1.0), (1, 0.0), (1, -1.0)])
def test_nonsense_is_refused(burst: int, per_s: float) -> None:
    with pytest.raises(ValueError, match="expected burst"):
        RateLimiter(burst=burst, per_s=per_s)
