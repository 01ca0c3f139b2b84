from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from detect.clock import EPOCH_NS, duration_ms, from_wire_ms, now_ns, to_wire_ms

DAY_NS = 86_400 * 1_000_000_000


def test_the_clock_never_goes_back() -> None:
    points = [now_ns() for _ in range(100)]

    assert points == sorted(points)
    assert points[0] >= EPOCH_NS


def test_the_clock_ticks_much_faster_than_frames_come() -> None:
    start_ns = previous_ns = now_ns()
    ticks_ns = []
    while previous_ns - start_ns < 50_000_000:
        time_ns = now_ns()
        if time_ns != previous_ns:
            ticks_ns.append(time_ns - previous_ns)
            previous_ns = time_ns

    assert min(ticks_ns) < 1_000_000


def test_the_epoch_is_zero_on_the_wire() -> None:
    assert to_wire_ms(EPOCH_NS) == 0
    assert to_wire_ms(EPOCH_NS + 1_500_000) == 1.5
    assert from_wire_ms(1.5) == EPOCH_NS + 1_500_000


@given(offset_ns=st.integers(-DAY_NS, 10 * DAY_NS))
def test_the_wire_keeps_every_nanosecond_of_ten_days(offset_ns: int) -> None:
    assert from_wire_ms(to_wire_ms(EPOCH_NS + offset_ns)) == EPOCH_NS + offset_ns


@given(start_ns=st.integers(0, 2**62), length_ns=st.integers(-DAY_NS, DAY_NS))
def test_durations_have_a_sign(start_ns: int, length_ns: int) -> None:
    assert duration_ms(start_ns, start_ns + length_ns) == length_ns / 1_000_000
