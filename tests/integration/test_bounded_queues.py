"""Whatever cameras and engine do, no queue grows and no frame is lost uncounted.

A real :class:`Scheduler` with its thread runs a fake engine that the test steps. Hypothesis writes
the story: frames of several cameras in any order, bursts, an engine that stands still for a while,
fails, or is replaced, streams that leave and come back.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detect.config import DetectionSettings
from detect.errors import EngineError
from detect.flow.scheduler import Scheduler
from detect.types import Detections, Frame, FrameResult

pytestmark = pytest.mark.integration

TIMEOUT_S = 10.0
STREAMS = ("a", "b", "c", "d")
PICTURE = av.VideoFrame(16, 16, "yuv420p")


@dataclass(frozen=True)
class Spec:
    name: str = "stepped"


@dataclass(frozen=True)
class Output:
    detections: Detections
    prepared_ns: int = 0
    inferred_ns: int = 0
    decided_ns: int = 0


class SteppedEngine:
    """Holds each frame until the test lets it go; the test knows whether one is held."""

    def __init__(self) -> None:
        self.spec = Spec()
        self.changed = threading.Condition()
        self.n_entered = 0
        self.n_running = 0
        self.n_permits = 0
        self.n_most_running = 0
        self.was_closed_while_running = False
        self.is_failing = False
        self.is_free = False

    def __call__(
        self, picture: av.VideoFrame, *, score_threshold: float, iou_threshold: float
    ) -> Output:
        with self.changed:
            self.n_entered += 1
            self.n_running += 1
            self.n_most_running = max(self.n_most_running, self.n_running)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.is_free or self.n_permits > 0, TIMEOUT_S)
            if not self.is_free:
                self.n_permits -= 1
            self.n_running -= 1
            is_failing = self.is_failing
        if is_failing:
            raise EngineError("expected a working engine, got a broken one")
        return Output(Detections.empty())

    def close(self) -> None:
        with self.changed:
            self.was_closed_while_running |= self.n_running > 0

    def permit(self) -> None:
        with self.changed:
            self.n_permits += 1
            self.changed.notify_all()

    def free(self) -> None:
        with self.changed:
            self.is_free = True
            self.changed.notify_all()


class Rig:
    """Scheduler, engine and the books that must balance."""

    def __init__(self) -> None:
        self.engine = SteppedEngine()
        self.changed = threading.Condition()
        self.n_offered: Counter[str] = Counter()
        self.n_dropped: Counter[tuple[str, str]] = Counter()
        self.served: list[Frame] = []
        self.errors: list[Exception] = []
        self.present: set[str] = set()
        self.rtp_timestamp = 0
        self.scheduler = Scheduler(
            on_result=self._on_result,
            on_drop=self._on_drop,
            on_error=self._on_error,
            settings=DetectionSettings(),
        )
        self.scheduler.set_pipeline(self.engine)
        self.scheduler.start()

    def _on_result(self, result: FrameResult) -> None:
        with self.changed:
            self.served.append(result.frame)
            self.changed.notify_all()

    def _on_drop(self, stream_id: str, cause: str) -> None:
        with self.changed:
            self.n_dropped[stream_id, cause] += 1
            self.changed.notify_all()

    def _on_error(self, stream_id: str, error: Exception) -> None:
        self.errors.append(error)

    def offer(self, stream_id: str, n_frames: int = 1) -> None:
        for _ in range(n_frames):
            self.rtp_timestamp += 1
            self.n_offered[stream_id] += 1
            self.scheduler.offer(
                Frame(
                    stream_id,
                    self.rtp_timestamp,
                    PICTURE,
                    None,
                    None,
                    self.rtp_timestamp,
                    self.rtp_timestamp,
                )
            )
            assert self.scheduler.n_waiting <= len(self.present)

    def toggle(self, stream_id: str) -> None:
        if stream_id in self.present:
            self.present.discard(stream_id)
            self.scheduler.remove_stream(stream_id)
        else:
            self.present.add(stream_id)
            self.scheduler.add_stream(stream_id)

    def step(self) -> None:
        """Let one frame through the engine, if there is one, and wait for what becomes of it."""
        n_settled = self.n_settled
        if self.settle():
            self.engine.permit()
            self.wait_until(lambda: self.n_settled > n_settled)

    def settle(self) -> bool:
        """Wait until the worker holds a frame or there is none; whether it holds one."""
        if sum(self.n_offered.values()) == self.n_settled:
            return False
        with self.engine.changed:
            assert self.engine.changed.wait_for(lambda: self.engine.n_running > 0, TIMEOUT_S)
        return True

    def wait_until(self, condition: object) -> None:
        assert callable(condition)
        with self.changed:
            assert self.changed.wait_for(condition, TIMEOUT_S), self.books

    @property
    def n_settled(self) -> int:
        """Frames that were processed or dropped."""
        return len(self.served) + sum(self.n_dropped.values())

    @property
    def books(self) -> dict[str, object]:
        return {
            "offered": self.n_offered,
            "dropped": self.n_dropped,
            "served": Counter(frame.stream_id for frame in self.served),
            "waiting": self.scheduler.n_waiting,
        }

    def check(self) -> None:
        """Every frame is in exactly one place, and nothing holds more than one per stream."""
        is_held = self.settle()
        n_waiting = self.scheduler.n_waiting
        assert n_waiting <= len(self.present)
        assert sum(self.n_offered.values()) == self.n_settled + n_waiting + is_held, self.books

    def finish(self) -> None:
        self.engine.free()
        self.scheduler.close(TIMEOUT_S)
        assert sum(self.n_offered.values()) == self.n_settled, self.books
        assert self.engine.n_most_running <= 1, "two frames in one engine"
        assert not self.engine.was_closed_while_running
        assert all(isinstance(error, EngineError) for error in self.errors), self.errors
        for stream_id in STREAMS:
            order = [f.rtp_timestamp for f in self.served if f.stream_id == stream_id]
            assert order == sorted(set(order)), "an older frame came after a newer one"


stream_ids = st.sampled_from(STREAMS)
stories = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), stream_ids),
        st.tuples(st.just("burst"), stream_ids),
        st.tuples(st.just("step"), stream_ids),
        st.tuples(st.just("toggle"), stream_ids),
        st.tuples(st.just("fault"), stream_ids),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)  # real threads: time says nothing here
@given(story=stories)
def test_no_queue_grows_and_no_frame_is_lost(story: list[tuple[str, str]]) -> None:
    rig = Rig()
    try:
        for stream_id in STREAMS[:2]:
            rig.toggle(stream_id)
        for action, stream_id in story:
            match action:
                case "offer":
                    rig.offer(stream_id)
                case "burst":
                    rig.offer(stream_id, 25)
                case "step":
                    rig.step()
                case "toggle":
                    rig.toggle(stream_id)
                case "fault":
                    rig.engine.is_failing = not rig.engine.is_failing
            rig.check()
    finally:
        rig.finish()


@settings(max_examples=60, deadline=None)
@given(
    turns=st.lists(st.lists(stream_ids, max_size=6), min_size=2, max_size=20),
    n_streams=st.integers(2, len(STREAMS)),
)
def test_no_stream_waits_more_than_one_turn_of_each_other(
    turns: list[list[str]], n_streams: int
) -> None:
    """Before each turn of the engine some cameras send, each as often as the story says."""
    rig = Rig()
    n_turns_waited: Counter[str] = Counter()
    try:
        for stream_id in STREAMS[:n_streams]:
            rig.toggle(stream_id)
        for senders in turns:
            for stream_id in senders:
                if stream_id in rig.present:
                    rig.offer(stream_id)
            rig.settle()
            waiting = [name for name in rig.present if _is_waiting(rig, name)]
            rig.step()  # the held frame goes, the engine takes the next
            rig.settle()
            for name in waiting:
                n_turns_waited[name] = n_turns_waited[name] + 1 if _is_waiting(rig, name) else 0
                assert n_turns_waited[name] < n_streams, "a stream was passed over"
    finally:
        rig.finish()


def _is_waiting(rig: Rig, stream_id: str) -> bool:
    stream = rig.scheduler._streams.get(stream_id)
    return stream is not None and stream.slot.is_full


def test_a_standing_engine_costs_one_place_per_stream() -> None:
    rig = Rig()
    try:
        for stream_id in STREAMS:
            rig.toggle(stream_id)
        for _ in range(500):
            for stream_id in STREAMS:
                rig.offer(stream_id)
        rig.check()

        assert rig.scheduler.n_waiting == len(STREAMS)
        assert rig.engine.n_entered == 1

        rig.engine.free()  # the stall ends: the newest of each, and only those
        rig.wait_until(lambda: rig.n_settled == sum(rig.n_offered.values()))
        newest = [frame.rtp_timestamp for frame in rig.served[1:]]
        assert sorted(newest) == [1997, 1998, 1999, 2000]
        assert rig.n_dropped.keys() == {(stream_id, "replaced") for stream_id in STREAMS}
    finally:
        rig.finish()


def test_offering_from_many_threads_at_once_balances() -> None:
    rig = Rig()
    rig.engine.free()
    for stream_id in STREAMS:
        rig.toggle(stream_id)
    frames = {
        stream_id: [Frame(stream_id, rtp, PICTURE, None, None, rtp, rtp) for rtp in range(1, 500)]
        for stream_id in STREAMS
    }

    def camera(stream_id: str) -> None:
        for frame in frames[stream_id]:
            rig.scheduler.offer(frame)

    cameras = [threading.Thread(target=camera, args=(stream_id,)) for stream_id in STREAMS]
    for thread in cameras:
        thread.start()
    for thread in cameras:
        thread.join(TIMEOUT_S)
    rig.n_offered.update({stream_id: len(frames[stream_id]) for stream_id in STREAMS})
    rig.wait_until(lambda: rig.n_settled == sum(rig.n_offered.values()))

    last_served = {frame.stream_id: frame.rtp_timestamp for frame in rig.served}
    assert last_served == dict.fromkeys(STREAMS, 499), "the newest frame was lost"
    rig.finish()
