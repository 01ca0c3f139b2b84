from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect.clock import EPOCH_NS, NS_PER_MS, to_wire_ms
from detect.rtc.clocksync import (
    CAPTURE_ROUNDING_MS,
    DRIFT_PPM,
    NTP_UNIX_OFFSET_S,
    QUICK_INTERVAL_S,
    QUICK_PINGS,
    REMOTE_STEP_MS,
    SLOW_INTERVAL_S,
    CaptureClock,
    ClockSync,
    ntp_to_unix_ms,
)

MS = NS_PER_MS
UNIX_MS = 1_790_000_000_000.0
"""Remote clock when the server's fake one reads zero on the wire."""


@dataclass
class Pong:
    id: int
    received_ms: float
    replied_ms: float


class World:
    """A server clock, and a remote clock that is ``UNIX_MS`` ahead of it."""

    def __init__(self) -> None:
        self.time_ns = EPOCH_NS
        self.ahead_ms = UNIX_MS
        self.sync = ClockSync(now=lambda: self.time_ns)

    def wait(self, duration_ms: float) -> None:
        self.time_ns += round(duration_ms * MS)

    @property
    def remote_ms(self) -> float:
        return to_wire_ms(self.time_ns) + self.ahead_ms

    def exchange(self, up_ms: float = 1.0, held_ms: float = 0.0, down_ms: float = 1.0) -> bool:
        ping_id = self.sync.ping()["id"]
        assert isinstance(ping_id, int)
        self.wait(up_ms)
        received_ms = self.remote_ms
        self.wait(held_ms)
        replied_ms = self.remote_ms
        self.wait(down_ms)
        return self.sync.on_pong(Pong(ping_id, received_ms, replied_ms))


def test_nothing_is_known_before_the_first_pong() -> None:
    sync = ClockSync()
    assert sync.to_server_ns(0.0) is None
    assert sync.to_remote_ms(0) is None
    assert sync.offset_ms is sync.error_ms is sync.rtt_ms is sync.min_rtt_ms is None


def test_a_ping_carries_its_number_and_the_time() -> None:
    world = World()
    world.wait(12.5)
    assert world.sync.ping() == {"type": "ping", "id": 1, "server_ms": 12.5}


def test_an_even_way_gives_the_exact_offset() -> None:
    world = World()
    assert world.exchange(up_ms=4, held_ms=50, down_ms=4)
    assert world.sync.offset_ms == pytest.approx(UNIX_MS)
    assert world.sync.rtt_ms == pytest.approx(8, abs=1e-3)  # a double near 1.8e12 steps by 2e-4
    assert world.sync.error_ms == pytest.approx(4 + REMOTE_STEP_MS, abs=1e-3)


def test_both_directions_of_conversion_agree() -> None:
    world = World()
    world.exchange()
    remote = world.sync.to_remote_ms(world.time_ns)
    assert remote is not None
    back = world.sync.to_server_ns(remote[0])
    assert back is not None
    assert back[0] == pytest.approx(world.time_ns, abs=1000)  # 1 µs: the step of the double


@given(
    ways=st.lists(
        st.tuples(st.floats(0, 500), st.floats(0, 100), st.floats(0, 500)), min_size=1, max_size=50
    )
)
def test_the_true_time_is_always_within_the_bound(ways: list[tuple[float, float, float]]) -> None:
    world = World()
    for up_ms, held_ms, down_ms in ways:
        world.exchange(up_ms, held_ms, down_ms)
    mapped = world.sync.to_server_ns(world.remote_ms)
    assert mapped is not None
    time_ns, error_ms = mapped
    assert abs(time_ns - world.time_ns) / MS <= error_ms
    assert world.sync.min_rtt_ms is not None
    assert world.sync.min_rtt_ms <= min(up + down for up, _, down in ways) + 5  # ageing may prefer


def test_the_quickest_exchange_counts() -> None:
    world = World()
    world.exchange(up_ms=100, down_ms=1)
    world.exchange(up_ms=2, down_ms=2)
    world.exchange(up_ms=1, down_ms=80)
    assert world.sync.offset_ms == pytest.approx(UNIX_MS)
    assert world.sync.min_rtt_ms == pytest.approx(4, abs=1e-3)
    assert world.sync.rtt_ms == pytest.approx(81, abs=1e-3)


def test_an_old_sample_gives_way_to_a_fresh_one() -> None:
    world = World()
    world.exchange(up_ms=1, down_ms=1)
    world.wait(100_000)
    error_ms = world.sync.error_ms
    assert error_ms == pytest.approx(1 + REMOTE_STEP_MS + 100_000 * DRIFT_PPM * 1e-6, abs=0.01)
    world.exchange(up_ms=3, down_ms=3)
    assert world.sync.min_rtt_ms == pytest.approx(6, abs=1e-3)


def test_a_clock_that_was_set_is_followed_at_once() -> None:
    world = World()
    for _ in range(5):
        world.exchange()
    world.ahead_ms -= 600_000  # the phone slept ten minutes
    world.exchange(up_ms=20, down_ms=20)
    assert world.sync.offset_ms == pytest.approx(UNIX_MS - 600_000)


@pytest.mark.parametrize(
    ("received_ms", "replied_ms"),
    [(UNIX_MS, UNIX_MS - 1), (UNIX_MS, UNIX_MS + 1000)],
    ids=["replied before received", "held longer than it was away"],
)
def test_times_that_make_no_sense_are_refused(received_ms: float, replied_ms: float) -> None:
    world = World()
    world.sync.ping()
    world.wait(10)
    assert not world.sync.on_pong(Pong(1, received_ms, replied_ms))
    assert world.sync.offset_ms is None


def test_a_pong_counts_once_and_only_for_a_known_ping() -> None:
    world = World()
    assert not world.sync.on_pong(Pong(1, UNIX_MS, UNIX_MS))
    assert world.exchange()
    assert not world.sync.on_pong(Pong(1, UNIX_MS, UNIX_MS))


def test_unanswered_pings_are_forgotten() -> None:
    world = World()
    for _ in range(1000):
        world.sync.ping()
    assert not world.sync.on_pong(Pong(1, UNIX_MS, UNIX_MS))
    assert len(world.sync._sent) <= 16


def test_pings_are_quick_at_first_then_slow() -> None:
    sync = ClockSync()
    pauses = []
    for _ in range(QUICK_PINGS + 5):
        sync.ping()
        pauses.append(sync.next_ping_in_s)
    assert pauses == [QUICK_INTERVAL_S] * (QUICK_PINGS - 1) + [SLOW_INTERVAL_S] * 6


# capture times


def ntp(unix_ms: float) -> int:
    return round((unix_ms / 1000 + NTP_UNIX_OFFSET_S) * 2**32)


class Camera:
    """A phone's RTP and NTP clocks beside the world's; the NTP clock is off by ``ntp_off_ms``."""

    def __init__(self, world: World, *, rtp_origin: int = 123_456, ntp_off_ms: float = 0.0) -> None:
        self.world = world
        self.rtp_origin = rtp_origin
        self.ntp_off_ms = ntp_off_ms
        self.clock = CaptureClock(world.sync)

    @property
    def rtp(self) -> int:
        return round(self.rtp_origin + to_wire_ms(self.world.time_ns) * 90) % 2**32

    def report(self, *, ssrc: int = 1, trip_ms: float = 1.0, off_ms: float = 0.0) -> None:
        sent = ntp(self.world.remote_ms + self.ntp_off_ms + off_ms)
        rtp = self.rtp
        self.world.wait(trip_ms)
        self.clock.on_sender_report(ssrc, sent, rtp, self.world.time_ns)

    def error_ms(self, travel_ms: float = 40.0) -> float | None:
        """Error of the capture time of a frame made now, seen ``travel_ms`` later."""
        rtp, made_ns = self.rtp, self.world.time_ns
        self.world.wait(travel_ms)
        captured = self.clock.captured(rtp, self.world.time_ns)
        if captured is None:
            return None
        error_ms = (captured[0] - made_ns) / MS
        assert abs(error_ms) <= captured[1]
        return error_ms


@pytest.fixture
def world() -> World:
    world = World()
    world.wait(1000)
    world.exchange()
    return world


def test_ntp_time() -> None:
    assert ntp_to_unix_ms((NTP_UNIX_OFFSET_S + 1) << 32 | 1 << 31) == 1500.0


def test_a_capture_time_needs_a_report_and_a_pong() -> None:
    world = World()
    camera = Camera(world)
    assert camera.error_ms() is None
    camera.report()
    assert camera.error_ms() is None
    world.exchange()
    assert camera.error_ms() is not None
    assert camera.clock.n_implausible == 0


def test_capture_time_is_mapped_with_its_bound(world: World) -> None:
    camera = Camera(world)
    camera.report()
    assert camera.error_ms() == pytest.approx(0, abs=0.02)  # 1/90 ms: one RTP tick
    rtp = camera.rtp
    world.wait(30)
    captured = camera.clock.captured(rtp, world.time_ns)
    assert captured is not None
    assert captured[1] == pytest.approx(1 + REMOTE_STEP_MS + CAPTURE_ROUNDING_MS, abs=0.1)


def test_capture_time_across_a_wrap_of_the_timestamp(world: World) -> None:
    camera = Camera(world, rtp_origin=2**32 - 1050 * 90)  # wraps 50 ms from now
    camera.report()
    for _ in range(5):
        assert camera.error_ms() == pytest.approx(0, abs=0.02)


def test_one_bad_report_changes_nothing(world: World) -> None:
    camera = Camera(world)
    for off_ms in (0, 0, 700, 0, -90_000, 0):
        world.wait(1000)
        camera.report(off_ms=off_ms)
        assert camera.error_ms() == pytest.approx(0, abs=0.02)


def test_a_bad_first_report_is_outvoted(world: World) -> None:
    camera = Camera(world)
    camera.report(off_ms=-3000)
    camera.report()
    camera.report()
    assert camera.error_ms() == pytest.approx(0, abs=0.02)


def test_a_restarted_clock_is_followed_after_two_reports(world: World) -> None:
    camera = Camera(world)
    for _ in range(5):
        world.wait(1000)
        camera.report()
    camera.rtp_origin = 3_000_000_000
    camera.report()
    assert camera.error_ms() is None  # the one report might be a bad one
    camera.report()
    assert camera.error_ms() == pytest.approx(0, abs=0.02)


def test_another_sender_starts_anew(world: World) -> None:
    camera = Camera(world)
    camera.report(ssrc=1)
    camera.rtp_origin = 77
    camera.report(ssrc=2)
    assert camera.error_ms() == pytest.approx(0, abs=0.02)


def test_a_sender_without_a_wall_clock_is_not_believed(world: World) -> None:
    clock = CaptureClock(world.sync)
    clock.on_sender_report(1, 0, 0, world.time_ns)
    assert clock.captured(0, world.time_ns) is None


def test_a_time_after_the_arrival_is_refused_and_counted(world: World) -> None:
    camera = Camera(world)
    camera.report()
    assert camera.clock.captured((camera.rtp + 90 * 50) % 2**32, world.time_ns) is None
    assert camera.clock.n_implausible == 1


def test_a_time_just_after_the_arrival_is_the_arrival(world: World) -> None:
    camera = Camera(world)
    camera.report()
    captured = camera.clock.captured((camera.rtp + 90) % 2**32, world.time_ns)
    assert captured is not None
    assert captured[0] == world.time_ns


def test_a_time_absurdly_early_is_refused_and_counted(world: World) -> None:
    camera = Camera(world)
    camera.report()
    assert camera.clock.captured((camera.rtp - 90 * 6000) % 2**32, world.time_ns) is None
    assert camera.clock.n_implausible == 1


@pytest.mark.parametrize("ntp_off_ms", [600_000.0, 1000.0, 20.0, -1000.0, -600_000.0])
def test_an_ntp_clock_that_is_not_the_pages_clock_is_noticed(
    world: World, ntp_off_ms: float
) -> None:
    camera = Camera(world, ntp_off_ms=ntp_off_ms)
    camera.report(trip_ms=5)
    camera.report(trip_ms=1)
    assert camera.error_ms() == pytest.approx(0, abs=0.02)  # half a round trip is 1 ms here
