"""The flow of pictures to one viewer."""

from __future__ import annotations

import av
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from detect.server.feed import ACK_TIMEOUT_NS, MAX_UNDRAWN, ViewerFeed
from detect.server.pictures import Picture
from detect.types import Detections, Frame, FrameResult, FrameTimes


class FakeClock:
    time_ns = 10**12

    def __call__(self) -> int:
        return self.time_ns


def picture(rtp: int = 0) -> Picture:
    frame = Frame("s", rtp, av.VideoFrame(16, 16, "yuv420p"), None, None, 1, 2)
    return Picture(FrameResult(frame, Detections.empty(), FrameTimes(), ""))


def rtp_of(taken: tuple[int, Picture] | None) -> int | None:
    return None if taken is None else taken[1].result.frame.rtp_timestamp


def test_one_under_way_and_the_newest_next() -> None:
    feed = ViewerFeed()
    feed.offer(picture(1))
    assert rtp_of(feed.take()) == 1
    assert not feed.is_ready
    for rtp in (2, 3):
        feed.offer(picture(rtp))
    assert feed.take() is None
    feed.ack(0)
    assert rtp_of(feed.take()) == 3
    assert feed.n_replaced == 1


@pytest.mark.parametrize("seq", [-1, 1, 99])
def test_a_wrong_ack_is_ignored(seq: int) -> None:
    feed = ViewerFeed()
    feed.offer(picture())
    feed.take()
    feed.ack(seq)
    assert not feed.is_ready


def test_drawn_once_and_only_what_was_sent() -> None:
    feed = ViewerFeed()
    for seq in range(MAX_UNDRAWN + 1):
        feed.sent(seq, picture(seq), FrameTimes())
    assert feed.drawn(0) is None  # forgotten: bounded
    assert feed.drawn(1) is not None
    assert feed.drawn(1) is None
    assert feed.drawn(999) is None


def test_switching_drops_what_waits() -> None:
    feed = ViewerFeed()
    assert feed.watch("a")
    assert not feed.watch("a")
    feed.offer(picture())
    assert feed.watch("b")
    assert feed.take() is None


def test_overdue_only_while_visible() -> None:
    clock = FakeClock()
    feed = ViewerFeed(clock)
    clock.time_ns += 2 * ACK_TIMEOUT_NS
    assert not feed.is_overdue()  # nothing is under way
    feed.offer(picture())
    feed.take()
    clock.time_ns += ACK_TIMEOUT_NS
    assert not feed.is_overdue()
    clock.time_ns += 1
    assert feed.is_overdue()
    feed.set_visible(False)
    assert not feed.is_overdue()
    feed.set_visible(True)  # it gets its time again
    assert not feed.is_overdue()


class AnyOrder(RuleBasedStateMachine):
    """Whatever a page and a camera do, at most one picture waits and one is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.feed = ViewerFeed()
        self.rtp = 0
        self.last_taken = -1
        self.under_way: int | None = None

    @rule()
    def frame(self) -> None:
        self.feed.offer(picture(self.rtp))
        self.rtp += 1

    @rule()
    def send(self) -> None:
        was_under_way = self.under_way
        taken = self.feed.take()
        if taken is None:
            return
        assert was_under_way is None
        self.under_way = taken[0]
        rtp = taken[1].result.frame.rtp_timestamp
        assert rtp > self.last_taken  # never an older picture after a newer one
        self.last_taken = rtp
        self.feed.sent(taken[0], taken[1], FrameTimes())

    @rule(seq=st.integers(-1, 40))
    def ack(self, seq: int) -> None:
        self.feed.ack(seq)
        if seq == self.under_way:
            self.under_way = None

    @rule(value=st.booleans())
    def visible(self, value: bool) -> None:
        self.feed.set_visible(value)

    @invariant()
    def bounded(self) -> None:
        assert len(self.feed._undrawn) <= MAX_UNDRAWN
        assert self.feed.n_sent + self.feed.n_replaced <= self.rtp


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=50, deadline=None)
