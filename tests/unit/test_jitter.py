from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detect.clock import NS_PER_MS
from detect.rtc.jitter import (
    EncodedFrame,
    Fragment,
    FrameAssembler,
    InterarrivalJitter,
    JitterSettings,
    signed_step,
)

MS = NS_PER_MS
FRAME_TICKS = 3000


def make_frame(
    first: int, n_packets: int, *, index: int, key: bool = False, at_ms: float = 0.0
) -> list[Fragment]:
    """Packets of one frame; each carries its frame's index and its own place."""
    return [
        Fragment(
            sequence=(first + i) % 65536,
            timestamp=(index * FRAME_TICKS) % 2**32,
            is_last=i == n_packets - 1,
            starts_key_frame=key and i == 0,
            data=f"{index}:{i}/{n_packets};".encode(),
            received_ns=round(at_ms * MS),
        )
        for i in range(n_packets)
    ]


@dataclass
class Stream:
    """Makes consecutive frames."""

    sequence: int = 100
    index: int = 0

    def frame(self, n_packets: int = 2, *, key: bool = False, at_ms: float = 0) -> list[Fragment]:
        packets = make_frame(self.sequence, n_packets, index=self.index, key=key, at_ms=at_ms)
        self.sequence += n_packets
        self.index += 1
        return packets


def feed(assembler: FrameAssembler, packets: list[Fragment]) -> list[EncodedFrame]:
    return [frame for packet in packets for frame in assembler.add(packet)]


def indices(frames: list[EncodedFrame]) -> list[int]:
    return [int(frame.data.split(b":", 1)[0]) for frame in frames]


def started(stream: Stream) -> FrameAssembler:
    assembler = FrameAssembler()
    assert indices(feed(assembler, stream.frame(key=True))) == [stream.index - 1]
    return assembler


def test_a_frame_leaves_with_its_last_packet() -> None:
    stream = Stream()
    assembler = started(stream)
    first, second, third = stream.frame(3, at_ms=5)
    assert assembler.add(first) == []
    assert assembler.add(second) == []
    (frame,) = assembler.add(third)
    assert frame == EncodedFrame(FRAME_TICKS, b"1:0/3;1:1/3;1:2/3;", False, 5 * MS)
    assert assembler.due_ns() is None  # nothing to wait for: no timer
    assert len(assembler) == 0


def test_without_a_marker_the_next_timestamp_ends_a_frame() -> None:
    stream = Stream()
    assembler = started(stream)
    packets = [Fragment(p.sequence, p.timestamp, False, False, p.data, 0) for p in stream.frame(2)]
    assert feed(assembler, packets) == []
    assert indices(feed(assembler, stream.frame(2))) == [1, 2]


def test_padding_takes_a_place_but_makes_no_frame() -> None:
    stream = Stream()
    assembler = started(stream)
    padding = Fragment(stream.sequence, 0, False, False, b"", 0)
    stream.sequence += 1
    assert assembler.add(padding) == []
    assert indices(feed(assembler, stream.frame(2))) == [1]
    assert assembler.counts.frames == 2


@pytest.mark.parametrize("first", [65533, 65534, 65535, 0])
def test_sequence_numbers_wrap(first: int) -> None:
    stream = Stream(sequence=first)
    assembler = started(stream)
    out = [index for _ in range(5) for index in indices(feed(assembler, stream.frame(3)))]
    assert out == [1, 2, 3, 4, 5]
    assert assembler.counts.lost == 0


def test_timestamps_wrap() -> None:
    stream = Stream(index=2**32 // FRAME_TICKS - 1)
    assembler = started(stream)
    before = stream.index
    frames = [frame for _ in range(4) for frame in feed(assembler, stream.frame())]
    assert indices(frames) == [before, before + 1, before + 2, before + 3]
    assert frames[-1].timestamp < frames[0].timestamp


def test_reordered_packets_are_put_in_order() -> None:
    stream = Stream()
    assembler = started(stream)
    packets = stream.frame(2) + stream.frame(2)
    out = feed(assembler, [packets[3], packets[1], packets[2], packets[0]])
    assert indices(out) == [1, 2]
    assert assembler.counts.repaired == 3


def test_the_first_packets_may_be_reordered_too() -> None:
    stream = Stream()
    assembler = FrameAssembler()
    first, second, third = stream.frame(3, key=True)
    assert indices(feed(assembler, [second, third, first])) == [0]


def test_duplicates_and_late_packets_are_counted_and_ignored() -> None:
    stream = Stream()
    assembler = started(stream)
    first, second = stream.frame(2)
    assert indices(feed(assembler, [first, first, second, second, first])) == [1]
    assert assembler.counts.duplicates == 3


def test_a_missing_packet_is_asked_for_at_once_and_again_on_time() -> None:
    stream = Stream()
    assembler = started(stream)
    assembler.renack_ns = 40 * MS
    lost, second = stream.frame(2)
    assembler.add(second)
    assert assembler.feedback(0).nack == (lost.sequence,)
    assert assembler.due_ns() == 40 * MS
    assert assembler.feedback(39 * MS).nack == ()
    assert assembler.feedback(40 * MS).nack == (lost.sequence,)
    assert indices(assembler.add(lost)) == [1]
    assert assembler.due_ns() is None
    assert assembler.counts.nacks == 2
    assert assembler.counts.repaired == 1


def test_a_repaired_hole_lets_everything_behind_it_go() -> None:
    stream = Stream()
    assembler = started(stream)
    lost, *rest = stream.frame(2)
    for _ in range(5):
        rest += stream.frame(2)
    assert feed(assembler, rest) == []
    assert indices(assembler.add(lost)) == [1, 2, 3, 4, 5, 6]


def test_an_old_hole_is_given_up_for_a_key_frame() -> None:
    stream = Stream()
    assembler = started(stream)
    assembler.renack_ns = 1000 * MS
    _, second = stream.frame(2)
    assembler.add(second)
    assembler.feedback(0)
    hold_ns = JitterSettings().hold_ns
    assert assembler.due_ns() == hold_ns
    assert not assembler.feedback(hold_ns - 1).key_frame
    assert assembler.feedback(hold_ns).key_frame
    assert assembler.is_waiting_for_key
    assert feed(assembler, stream.frame(2)) == []
    assert indices(feed(assembler, stream.frame(2, key=True))) == [3]
    assert indices(feed(assembler, stream.frame(2))) == [4]
    assert assembler.counts.holes_abandoned == 1
    assert assembler.counts.lost == 1
    assert assembler.counts.key_requests == 1


def test_a_hole_does_not_age_while_the_loop_is_blocked() -> None:
    stream = Stream()
    assembler = started(stream)
    lost, second = stream.frame(2)
    assembler.add(second)
    assembler.feedback(0)
    blocked_ns = 10 * JitterSettings().hold_ns
    feedback = assembler.feedback(blocked_ns)
    assert feedback.nack == (lost.sequence,)
    assert not feedback.key_frame
    assert indices(assembler.add(lost)) == [1]


def test_a_key_frame_is_asked_for_again_until_it_comes() -> None:
    stream = Stream()
    assembler = FrameAssembler()
    feed(assembler, stream.frame(2))
    settings_ = JitterSettings()
    patience, repeat = settings_.key_patience_ns, settings_.key_repeat_ns
    assert not assembler.feedback(0).key_frame
    assert assembler.due_ns() == patience
    assert assembler.feedback(patience).key_frame
    assert not assembler.feedback(patience + repeat - 1).key_frame
    assert assembler.feedback(patience + repeat).key_frame
    feed(assembler, stream.frame(2, key=True))
    assert assembler.due_ns() is None
    assert not assembler.feedback(10 * repeat).key_frame


def test_a_whole_key_frame_ends_a_hole_that_is_still_waited_for() -> None:
    stream = Stream()
    assembler = started(stream)
    _, second = stream.frame(2)
    assembler.add(second)
    assert indices(feed(assembler, stream.frame(3, key=True))) == [2]
    assert assembler.due_ns() is None
    assert assembler.counts.lost == 1
    assert assembler.counts.holes_abandoned == 0


def test_too_wide_a_gap_is_not_asked_for() -> None:
    stream = Stream()
    assembler = started(stream)
    stream.sequence += JitterSettings().max_gap + 1
    feed(assembler, stream.frame(2))
    feedback = assembler.feedback(0)
    assert feedback.nack == ()
    assert feedback.key_frame


def test_a_stream_that_begins_anew_is_followed() -> None:
    stream = Stream(sequence=40_000)
    assembler = started(stream)
    stream.sequence = 20_000
    assert indices(feed(assembler, stream.frame(2, key=True))) == [1]
    assert indices(feed(assembler, stream.frame(2))) == [2]


def test_the_decoder_may_ask_for_a_key_frame() -> None:
    stream = Stream()
    assembler = started(stream)
    assembler.request_key(7)
    assert assembler.feedback(7).key_frame
    assert feed(assembler, stream.frame(2)) == []
    assert indices(feed(assembler, stream.frame(2, key=True))) == [2]


@pytest.mark.parametrize(("max_gap", "capacity"), [(0, 512), (512, 512), (128, 20_000)])
def test_settings_that_make_no_sense_are_refused(max_gap: int, capacity: int) -> None:
    with pytest.raises(ValueError, match="max_gap"):
        JitterSettings(capacity=capacity, max_gap=max_gap)


@pytest.mark.parametrize(
    ("timestamp", "reference", "step"),
    [(10, 3, 7), (3, 10, -7), (2, 2**32 - 3, 5), (2**32 - 3, 2, -5)],
)
def test_signed_step(timestamp: int, reference: int, step: int) -> None:
    assert signed_step(timestamp, reference) == step


def test_jitter_is_that_of_the_transit_time() -> None:
    jitter = InterarrivalJitter()
    for index in range(50):
        jitter.add((2**32 - 3000 + index * 90 * 33) % 2**32, index * 33 * MS)
    assert jitter.jitter_ms == 0
    jitter.add((2**32 - 3000 + 50 * 90 * 33) % 2**32, (50 * 33 + 16) * MS)
    assert jitter.jitter_ms == pytest.approx(1.0)


@dataclass(frozen=True)
class Trouble:
    """What becomes of one packet: how many places it is late (None: lost), how often it comes."""

    delay: int | None
    copies: int


TROUBLE = st.builds(
    Trouble,
    delay=st.one_of(st.just(0), st.just(0), st.integers(0, 40), st.none()),
    copies=st.integers(1, 2),
)


@settings(max_examples=150, deadline=None)
@given(
    first=st.integers(0, 65535),
    frames=st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=60),
    data=st.data(),
)
def test_whatever_the_network_does_frames_are_whole_in_order_and_few_packets_wait(
    first: int, frames: list[tuple[int, bool]], data: st.DataObject
) -> None:
    stream = Stream(sequence=first)
    sent = [packet for n, key in frames for packet in stream.frame(n, key=key)]
    troubles = data.draw(st.lists(TROUBLE, min_size=len(sent), max_size=len(sent)))
    arrivals: list[tuple[int, int, Fragment]] = []
    for place, (packet, trouble) in enumerate(zip(sent, troubles, strict=True)):
        if trouble.delay is not None:
            arrivals += [(place + trouble.delay, place, packet)] * trouble.copies
    arrivals.sort(key=lambda arrival: arrival[:2])
    bounds = JitterSettings(capacity=64, max_gap=32)
    assembler = FrameAssembler(bounds)
    out: list[EncodedFrame] = []
    for time_ms, _, packet in arrivals:
        received = replace(packet, received_ns=time_ms * 10 * MS)
        out += assembler.add(received)
        feedback = assembler.feedback(received.received_ns)
        assert len(assembler) <= bounds.capacity
        assert len(feedback.nack) <= bounds.capacity
    order = indices(out)
    assert order == sorted(set(order))
    for frame, index in zip(out, order, strict=True):
        n_packets, is_key = frames[index]
        whole = b"".join(f"{index}:{i}/{n_packets};".encode() for i in range(n_packets))
        assert frame.data == whole
        assert frame.is_key == is_key
    if out:
        assert out[0].is_key
    for before, after in pairwise(out):
        gap = indices([after])[0] - indices([before])[0]
        assert gap == 1 or after.is_key  # after a gap, only a key frame can be decoded
