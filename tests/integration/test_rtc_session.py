"""One phone's session against a real aiortc peer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest

from detect.errors import TransportError
from detect.protocol import Notice, PhoneState
from detect.protocol.wire import encode
from detect.rtc.session import PhoneSession, SessionState, SessionTimings
from detect.types import Frame
from tests.integration.peers import FakePhone, FrameLog, Outgoing, Script

pytestmark = pytest.mark.integration

QUICK = SessionTimings(connect_s=10, stall_s=0.3, end_s=1.0)
# Losing video for 2 s must not end a test that is about something else.
PATIENT = SessionTimings(connect_s=30, stall_s=10, end_s=20)


@dataclass
class Pair:
    phone: FakePhone
    session: PhoneSession
    log: FrameLog
    phone_states: list[PhoneState]


def make_session(
    log: FrameLog,
    timings: SessionTimings,
    on_phone_state: Callable[[PhoneState], None] | None = None,
) -> PhoneSession:
    return PhoneSession(
        stream_id="p1",
        ice_servers=(),
        on_frame=log.on_frame,
        on_state=log.on_state,
        on_phone_state=on_phone_state,
        timings=timings,
    )


@asynccontextmanager
async def connected(
    *,
    script: Script | None = None,
    timings: SessionTimings = PATIENT,
    codec: str | None = None,
) -> AsyncIterator[Pair]:
    phone = FakePhone(script=script, codec=codec)
    log = FrameLog(phone)
    states: list[PhoneState] = []
    session = make_session(log, timings, states.append)
    try:
        await phone.accept(await session.answer(await phone.offer()))
        yield Pair(phone, session, log, states)
    finally:
        await session.close()
        await phone.close()


def holes(numbers: list[int | None]) -> list[tuple[int, int]]:
    """``(last before, first after)`` of every gap in a sequence of frame numbers."""
    known = [number for number in numbers if number is not None]
    return [(a, b) for a, b in pairwise(known) if b != a + 1]


def standing_lag(log: FrameLog) -> int:
    """Frames the newest picture is behind the phone, at best of the last 15.

    A backlog that does not drain shows in every one of them; a busy machine only in some.
    """
    return min(seen.lag for seen in log.seen[-15:])


class NthFrame:
    """Tells when the packets of the N-th frame (by timestamp) of the media stream leave."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.timestamps: list[int] = []

    def is_reached(self, packet: Outgoing) -> bool:
        if not packet.is_repeat and packet.timestamp not in self.timestamps[-1:]:
            self.timestamps.append(packet.timestamp)
        return len(self.timestamps) > self.n


class LoseOne:
    """Loses one packet of frame 20, and its first ``repeats_lost`` retransmissions."""

    def __init__(self, repeats_lost: int) -> None:
        self.frame = NthFrame(20)
        self.victim: int | None = None
        self.repeats_lost = repeats_lost
        self.n_repeats = 0

    def __call__(self, packet: Outgoing) -> list[bytes]:
        if self.victim is None and self.frame.is_reached(packet) and not packet.is_repeat:
            self.victim = packet.sequence
            return []
        if packet.is_repeat and packet.sequence == self.victim:
            self.n_repeats += 1
            if self.n_repeats <= self.repeats_lost:
                return []
        return [packet.data]


async def test_frames_arrive_in_order_with_identity_and_times() -> None:
    sent = NthFrame(0)

    def script(packet: Outgoing) -> list[bytes]:
        sent.is_reached(packet)
        return [packet.data]

    async with connected(script=script) as pair:
        await pair.log.until(
            lambda: len(pair.log.seen) >= 60 and pair.log.seen[-1].frame.captured_ns is not None
        )
        seen = pair.log.seen
        assert holes(pair.log.numbers) == []
        assert None not in pair.log.numbers
        assert standing_lag(pair.log) <= 1
        stamps = [s.frame.rtp_timestamp for s in seen]
        assert stamps == sent.timestamps[: len(stamps)]  # raw: what was on the wire
        last = seen[-1].frame
        assert last.captured_ns is not None
        assert last.captured_error_ms is not None
        assert last.captured_ns <= last.received_ns <= last.decoded_ns
        assert last.captured_error_ms < 100
        error_ms = (last.captured_ns - pair.phone.captured_ns(last.rtp_timestamp)) / 1e6
        assert abs(error_ms) <= last.captured_error_ms
        stats = pair.session.stats()
        assert stats.codec == "VP8"
        assert stats.packets_lost == 0
        assert stats.bitrate_bps > 0
        assert stats.rtt_ms is not None
        assert stats.clock_error_ms is not None
        assert stats.implausible_captures == 0


async def test_a_lost_packet_is_repaired_without_losing_a_frame() -> None:
    script = LoseOne(repeats_lost=0)
    async with connected(script=script) as pair:
        await pair.log.until_frames(50)
        assert script.n_repeats >= 1
        assert holes(pair.log.numbers) == []
        media = pair.session.stats().media
        assert media is not None
        assert media.packets_repaired >= 1
        assert media.packets_lost == 0
        assert media.keyframe_requests == 0


async def test_a_lost_packet_is_asked_for_again_when_its_repeat_is_lost_too() -> None:
    script = LoseOne(repeats_lost=2)
    async with connected(script=script) as pair:
        await pair.log.until_frames(60)
        assert script.n_repeats >= 3
        assert holes(pair.log.numbers) == []


async def test_an_unrepairable_loss_costs_less_than_a_second_and_leaves_no_lag() -> None:
    script = LoseOne(repeats_lost=1000)
    async with connected(script=script) as pair:
        await pair.log.until(lambda: holes(pair.log.numbers) != [])
        await pair.log.until_frames(30)
        ((before, after),) = holes(pair.log.numbers)
        assert after - before <= 30  # frames of one second: counted, not timed
        assert standing_lag(pair.log) <= 1
        media = pair.session.stats().media
        assert media is not None
        assert media.holes_abandoned == 1
        assert media.keyframe_requests >= 1
        assert media.packets_lost >= 1


async def test_reordered_packets_lose_nothing() -> None:
    held: list[bytes] = []

    def script(packet: Outgoing) -> list[bytes]:
        """Every tenth packet leaves after the two that follow it."""
        if packet.is_repeat:
            return [packet.data]
        if packet.sequence % 10 == 0:
            held.append(packet.data)
            return []
        if packet.sequence % 10 == 2 and held:
            return [packet.data, held.pop()]
        return [packet.data]

    async with connected(script=script) as pair:
        await pair.log.until_frames(60)
        assert holes(pair.log.numbers) == []
        media = pair.session.stats().media
        assert media is not None
        assert media.packets_repaired > 0
        assert media.keyframe_requests == 0


async def test_doubled_packets_give_no_doubled_frames() -> None:
    async with connected(script=lambda packet: [packet.data, packet.data]) as pair:
        await pair.log.until_frames(40)
        assert holes(pair.log.numbers) == []


async def test_a_burst_of_loss_ends_with_a_key_frame() -> None:
    sent = NthFrame(0)
    victims: set[int] = set()

    def script(packet: Outgoing) -> list[bytes]:
        """Frames 20 to 34 are lost for good."""
        sent.is_reached(packet)
        if not packet.is_repeat and 20 <= len(sent.timestamps) < 35:
            victims.add(packet.sequence)
        return [] if packet.sequence in victims else [packet.data]

    async with connected(script=script) as pair:
        await pair.log.until(lambda: holes(pair.log.numbers) != [])
        await pair.log.until_frames(20)
        media = pair.session.stats().media
        assert media is not None
        assert media.packets_lost >= len(victims)
        assert media.keyframe_requests >= 1
        assert standing_lag(pair.log) <= 1


async def test_the_picture_may_change_its_size() -> None:
    async with connected() as pair:
        await pair.log.until_frames(10)
        pair.phone.track.size_wh = (480, 640)
        await pair.log.until(lambda: pair.log.seen[-1].size_wh == (480, 640))
        pair.phone.track.size_wh = (320, 240)
        await pair.log.until(lambda: pair.log.seen[-1].size_wh == (320, 240))
        await pair.log.until_frames(5)


async def test_a_phone_without_vp8_sends_h264() -> None:
    async with connected(codec="H264") as pair:
        await pair.log.until_frames(20)
        assert pair.session.stats().codec == "H264"
        assert holes(pair.log.numbers) == []


async def test_both_data_channels_work() -> None:
    async with connected() as pair:
        pair.session.send_control(encode(Notice("hello", "kept until the channel opens")))
        notice = await asyncio.wait_for(pair.phone.controls.get(), 20)
        assert notice == Notice("hello", "kept until the channel opens")
        pair.phone.control.send(encode(PhoneState("environment", "live", True)))
        pair.phone.control.send("not a message")
        await pair.log.until(lambda: pair.session.stats().bad_messages == 1)
        assert pair.phone_states == [PhoneState("environment", "live", True)]
        pair.session.send_results('{"rtp": 1}')
        assert await asyncio.wait_for(pair.phone.results.get(), 20) == '{"rtp": 1}'


async def test_results_are_dropped_while_the_phone_takes_none() -> None:
    async with connected() as pair:
        await pair.log.until_frames(1)
        await asyncio.wait_for(_until_open(pair), 20)
        for _ in range(200):
            pair.session.send_results("x" * 1000)  # no turn of the loop between them
        assert 150 < pair.session.stats().results_dropped < 200


async def _until_open(pair: Pair) -> None:
    pair.session.send_results("first")
    while pair.phone.results.empty():
        await pair.log.until_frames(1)
        pair.session.send_results("first")


async def test_silence_stalls_and_its_end_revives() -> None:
    async with connected(timings=SessionTimings(connect_s=10, stall_s=0.3, end_s=30)) as pair:
        await pair.log.until_frames(5)
        pair.phone.is_silent = True
        await pair.log.until(lambda: pair.session.state is SessionState.STALLED)
        assert "No video" in pair.session.message
        pair.phone.is_silent = False
        await pair.log.until(lambda: pair.session.state is SessionState.LIVE)
        await pair.log.until_frames(10)
        assert pair.log.states == [SessionState.LIVE, SessionState.STALLED, SessionState.LIVE]


async def test_long_silence_ends_the_session() -> None:
    async with connected(timings=QUICK) as pair:
        await pair.log.until_frames(5)
        pair.phone.is_silent = True
        await pair.log.until(lambda: pair.session.state is SessionState.ENDED)
        assert pair.log.states == [SessionState.LIVE, SessionState.STALLED, SessionState.ENDED]


async def test_a_phone_that_leaves_ends_the_session() -> None:
    async with connected() as pair:
        await pair.log.until_frames(5)
        await pair.phone.close()
        await pair.log.until(lambda: pair.session.state is SessionState.ENDED)
        assert pair.session.message == "The phone closed the connection."


async def test_a_phone_that_never_connects_is_given_up() -> None:
    phone = FakePhone()
    log = FrameLog(phone)
    session = make_session(log, SessionTimings(connect_s=0.3, stall_s=1, end_s=2))
    try:
        await session.answer(await phone.offer())  # and the phone never hears of it
        await log.until(lambda: session.state is SessionState.ENDED)
        assert log.states == [SessionState.ENDED]
        assert "did not connect" in session.message
    finally:
        await session.close()
        await phone.close()


async def test_closing_leaves_no_thread_and_no_task() -> None:
    threads = set(threading.enumerate())
    tasks = asyncio.all_tasks()
    async with connected() as pair:
        await pair.log.until_frames(5)
        decoders = {t for t in threading.enumerate() if t.name == "video-decoder"} - threads
        assert len(decoders) == 1
        await asyncio.gather(pair.session.close(), pair.session.close())
        await pair.session.close()
        assert not any(thread.is_alive() for thread in decoders)
        assert pair.log.states[-1] is SessionState.ENDED
        n_seen = len(pair.log.seen)
    async with asyncio.timeout(5):
        while left := asyncio.all_tasks() - tasks:
            await asyncio.wait(left)
    assert len(pair.log.seen) == n_seen


async def test_closing_while_connecting_leaves_nothing() -> None:
    tasks = asyncio.all_tasks()
    phone = FakePhone()
    log = FrameLog(phone)
    session = make_session(log, PATIENT)
    await session.answer(await phone.offer())
    await session.close()
    await phone.close()
    async with asyncio.timeout(5):
        while left := asyncio.all_tasks() - tasks:
            await asyncio.wait(left)
    assert log.states == [SessionState.ENDED]


async def test_a_session_answers_once() -> None:
    async with connected() as pair:
        with pytest.raises(TransportError, match="one offer"):
            await pair.session.answer("v=0")


async def test_a_failing_callback_does_not_stop_the_decoder() -> None:
    phone = FakePhone()
    log = FrameLog(phone)

    def fail(frame: Frame) -> None:
        log.on_frame(frame)
        raise RuntimeError("a bug in the consumer")

    session = PhoneSession(
        stream_id="p1", ice_servers=(), on_frame=fail, on_state=log.on_state, timings=PATIENT
    )
    try:
        await phone.accept(await session.answer(await phone.offer()))
        await log.until_frames(6)
        assert session.state is SessionState.LIVE
    finally:
        await session.close()
        await phone.close()
    media = session.stats().media
    assert media is not None
    assert media.callback_errors == media.frames_decoded >= 6
