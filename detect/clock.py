"""The one clock of the server process.

Every time point in this package is an integer of nanoseconds on the monotonic clock, named
``…_ns``; durations are floats of milliseconds, named ``…_ms``. On the wire, server time points are
milliseconds since :data:`EPOCH_NS`, so that they stay small enough to be exact as a double.
"""

import time
from collections.abc import Callable
from typing import TypeAlias

NowNs: TypeAlias = Callable[[], int]
"""A clock: tests pass a fake one."""

NS_PER_MS = 1_000_000


def now_ns() -> int:
    """Nanoseconds on the monotonic clock.

    ``time.perf_counter_ns``, because ``time.monotonic_ns`` ticks only every 15.6 ms on Windows
    before Python 3.13: half a frame. On Linux both read the same ``CLOCK_MONOTONIC``; elsewhere
    their zeros may differ, so no other clock of :mod:`time` is compared with this one.
    """
    return time.perf_counter_ns()


EPOCH_NS = now_ns()
"""When this process began to count: the zero of server time on the wire."""


def to_wire_ms(time_ns: int) -> float:
    """Milliseconds since :data:`EPOCH_NS`, as written on the wire."""
    return (time_ns - EPOCH_NS) / NS_PER_MS


def from_wire_ms(time_ms: float) -> int:
    """Inverse of :func:`to_wire_ms`."""
    return EPOCH_NS + round(time_ms * NS_PER_MS)


def duration_ms(start_ns: int, end_ns: int) -> float:
    """Milliseconds from ``start_ns`` to ``end_ns``; negative when the order is reversed."""
    return (end_ns - start_ns) / NS_PER_MS
