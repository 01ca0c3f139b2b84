"""One worker, one engine: every frame is processed, replaced or dropped for a cause."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import av
import numpy as np
import pytest

from detect.clock import NS_PER_MS, now_ns
from detect.config import DetectionSettings
from detect.errors import EngineError
from detect.flow.scheduler import FramePipeline, FrameTracker, Scheduler
from detect.types import POINTS, Detections, Frame, FrameResult
from detect.vision.pipeline import Pipeline

TIMEOUT_S = 10.0
"""Nothing below takes this long; a test that waits this long has failed."""

PICTURE = av.VideoFrame(64, 48, "yuv420p")

ONE_BOX = Detections.untracked(
    np.array([[1, 2, 30, 40]], np.float32), np.array([0.9], np.float32), np.array([3], np.int32)
)


def satisfies_the_protocol(pipeline: Pipeline) -> FramePipeline:
    return pipeline  # checked by mypy: the real one is what the scheduler asks for


def make_frame(stream_id: str, rtp_timestamp: int, captured_ns: int | None = None) -> Frame:
    now = now_ns()
    return Frame(
        stream_id=stream_id,
        rtp_timestamp=rtp_timestamp,
        picture=PICTURE,
        captured_ns=captured_ns,
        captured_error_ms=None if captured_ns is None else 1.0,
        received_ns=now - 2,
        decoded_ns=now - 1,
    )


@dataclass(frozen=True)
class Spec:
    name: str


@dataclass(frozen=True)
class Output:
    detections: Detections
    prepared_ns: int
    inferred_ns: int
    decided_ns: int


class FakePipeline:
    """Runs one frame per permit; remembers who ran and closed it, and whether that overlapped."""

    def __init__(self, name: str = "fake", *, is_free: bool = True) -> None:
        self.spec = Spec(name)
        self.fault: Exception | None = None
        self.thresholds: list[tuple[float, float]] = []
        self.threads: list[int] = []
        self.closed_in: list[int] = []
        self.is_running = False
        self.was_closed_while_running = False
        self.entered = threading.Semaphore(0)
        self._is_free = is_free
        self._permits = threading.Semaphore(0)

    def permit(self, n: int = 1) -> None:
        self._permits.release(n)

    def wait_until_entered(self) -> None:
        assert self.entered.acquire(timeout=TIMEOUT_S), "the engine was not called"

    def __call__(
        self, picture: av.VideoFrame, *, score_threshold: float, iou_threshold: float
    ) -> Output:
        self.is_running = True
        self.threads.append(threading.get_ident())
        self.thresholds.append((score_threshold, iou_threshold))
        prepared_ns = now_ns()
        self.entered.release()
        try:
            if not self._is_free:
                assert self._permits.acquire(timeout=TIMEOUT_S), "the test gave no permit"
            if self.fault is not None:
                raise self.fault
            return Output(ONE_BOX, prepared_ns, now_ns(), now_ns())
        finally:
            self.is_running = False

    def close(self) -> None:
        self.was_closed_while_running |= self.is_running
        self.closed_in.append(threading.get_ident())


@dataclass
class Recorder:
    """Everything the scheduler reports, with a way to wait for it."""

    results: list[FrameResult] = field(default_factory=list)
    drops: list[tuple[str, str]] = field(default_factory=list)
    errors: list[tuple[str, Exception]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def on_result(self, result: FrameResult) -> None:
        with self.changed:
            self.results.append(result)
            self.changed.notify_all()

    def on_drop(self, stream_id: str, cause: str) -> None:
        with self.changed:
            self.drops.append((stream_id, cause))
            self.changed.notify_all()

    def on_error(self, stream_id: str, error: Exception) -> None:
        with self.changed:
            self.errors.append((stream_id, error))
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, TIMEOUT_S), (self.results, self.drops)

    def wait_for_results(self, n: int) -> None:
        self.wait_for(lambda: len(self.results) == n)

    def wait_for_drops(self, n: int) -> None:
        self.wait_for(lambda: len(self.drops) == n)

    @property
    def frames(self) -> list[tuple[str, int]]:
        return [(result.frame.stream_id, result.frame.rtp_timestamp) for result in self.results]


class Bench:
    """A started scheduler with stream ``a``, and what it reported."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self._schedulers: list[Scheduler] = []

    def start(
        self,
        pipeline: FramePipeline | None = None,
        *,
        streams: tuple[str, ...] = ("a",),
        settings: DetectionSettings | None = None,
        on_result: Callable[[FrameResult], None] | None = None,
        on_drop: Callable[[str, str], None] | None = None,
        engine_delay_ms: float = 0,
        now: Callable[[], int] = now_ns,
    ) -> Scheduler:
        scheduler = Scheduler(
            on_result=on_result or self.recorder.on_result,
            on_drop=on_drop or self.recorder.on_drop,
            on_error=self.recorder.on_error,
            settings=settings or DetectionSettings(),
            engine_delay_ms=engine_delay_ms,
            now=now,
        )
        self._schedulers.append(scheduler)
        scheduler.set_pipeline(pipeline)
        for stream_id in streams:
            scheduler.add_stream(stream_id)
        scheduler.start()
        return scheduler

    def close(self) -> None:
        for scheduler in self._schedulers:
            scheduler.close(TIMEOUT_S)


@pytest.fixture
def bench() -> Iterator[Bench]:
    n_threads = threading.active_count()
    found = Bench()
    yield found
    found.close()
    assert threading.active_count() == n_threads, "a worker thread was left behind"


def test_a_result_knows_every_time_up_to_its_tracks(bench: Bench) -> None:
    pipeline = FakePipeline("yolox-nano")
    settings = DetectionSettings(score_threshold=0.25, iou_threshold=0.75)
    scheduler = bench.start(pipeline, settings=settings)
    frame = make_frame("a", 90_000, captured_ns=now_ns() - 40 * NS_PER_MS)

    scheduler.offer(frame)
    bench.recorder.wait_for_results(1)

    (result,) = bench.recorder.results
    assert result.frame is frame
    assert result.model_name == "yolox-nano"
    assert pipeline.thresholds == [(0.25, 0.75)]
    assert pipeline.threads != [threading.get_ident()]
    assert result.detections.class_id.tolist() == [3]
    assert result.detections.track_id.tolist() == [1]
    points = [getattr(result.times, name) for name in POINTS]
    known = points[: POINTS.index("tracked_ns") + 1]
    assert known == sorted(known)
    assert points[len(known) :] == [None, None, None]
    assert bench.recorder.drops == []


def test_only_the_newest_waiting_frame_is_kept(bench: Bench) -> None:
    pipeline = FakePipeline(is_free=False)
    scheduler = bench.start(pipeline)

    scheduler.offer(make_frame("a", 1))
    pipeline.wait_until_entered()
    for rtp_timestamp in (2, 3, 4):
        scheduler.offer(make_frame("a", rtp_timestamp))
        assert scheduler.n_waiting == 1
    pipeline.permit(2)
    bench.recorder.wait_for_results(2)

    assert bench.recorder.frames == [("a", 1), ("a", 4)]
    assert bench.recorder.drops == [("a", "replaced")] * 2
    assert scheduler.n_waiting == 0


def test_streams_take_turns_whatever_their_rates(bench: Bench) -> None:
    pipeline = FakePipeline(is_free=False)
    scheduler = bench.start(pipeline, streams=("a", "b", "c"))
    scheduler.offer(make_frame("a", 0))
    pipeline.wait_until_entered()

    for rtp_timestamp in range(1, 5):  # the camera of "a" is four times as fast
        scheduler.offer(make_frame("a", rtp_timestamp))
    scheduler.offer(make_frame("b", 1))
    scheduler.offer(make_frame("c", 1))
    pipeline.permit(4)
    bench.recorder.wait_for_results(4)

    assert bench.recorder.frames == [("a", 0), ("b", 1), ("c", 1), ("a", 4)]


def test_a_failing_engine_costs_the_frame_and_is_reported_once_a_second(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    time_ns = 0
    pipeline = FakePipeline()
    pipeline.fault = EngineError("the model is not for this picture")
    scheduler = bench.start(pipeline, streams=("a", "b"), now=lambda: time_ns)
    recorder = bench.recorder

    def fail(stream_id: str, n_drops: int) -> None:
        scheduler.offer(make_frame(stream_id, n_drops))
        recorder.wait_for_drops(n_drops)

    with caplog.at_level(logging.ERROR, "detect.flow.scheduler"):
        fail("a", 1)
        fail("a", 2)
        time_ns += 999 * NS_PER_MS
        fail("a", 3)
        fail("b", 4)  # its own second
        recorder.wait_for(lambda: len(recorder.errors) == 2)
        time_ns += NS_PER_MS
        fail("a", 5)
        recorder.wait_for(lambda: len(recorder.errors) == 3)

    assert recorder.errors == [(stream, pipeline.fault) for stream in ("a", "b", "a")]
    assert {cause for _, cause in recorder.drops} == {"engine_error"}
    assert len(caplog.records) == 3
    pipeline.fault = None
    scheduler.offer(make_frame("a", 6))
    recorder.wait_for_results(1)


def test_listeners_that_raise_are_logged_and_harm_nobody(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    calls = threading.Semaphore(0)

    def broken_result(result: FrameResult) -> None:
        calls.release()
        raise RuntimeError("broken listener")

    def broken_drop(stream_id: str, cause: str) -> None:
        raise RuntimeError("broken listener")

    with caplog.at_level(logging.ERROR, "detect.flow.scheduler"):
        scheduler = bench.start(FakePipeline(), on_result=broken_result, on_drop=broken_drop)
        for rtp_timestamp in range(3):
            scheduler.offer(make_frame("a", rtp_timestamp))
            assert calls.acquire(timeout=TIMEOUT_S), "the worker died"
        scheduler.offer(make_frame("nobody", 0))
        scheduler.close(TIMEOUT_S)

    assert sum("on_result failed" in record.message for record in caplog.records) == 3
    assert sum("on_drop failed" in record.message for record in caplog.records) == 1


def test_on_error_may_raise(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = FakePipeline()
    pipeline.fault = EngineError("no")

    def broken(stream_id: str, error: Exception) -> None:
        raise RuntimeError("broken listener")

    monkeypatch.setattr(bench.recorder, "on_error", broken)
    scheduler = bench.start(pipeline)
    for rtp_timestamp in range(2):
        scheduler.offer(make_frame("a", rtp_timestamp))
        bench.recorder.wait_for_drops(rtp_timestamp + 1)


def test_a_new_pipeline_takes_over_between_two_frames(bench: Bench) -> None:
    old, new = FakePipeline("old", is_free=False), FakePipeline("new")
    scheduler = bench.start(old)
    scheduler.offer(make_frame("a", 1))
    old.wait_until_entered()

    scheduler.set_pipeline(new)
    scheduler.offer(make_frame("a", 2))
    assert old.closed_in == [], "closed while it runs"
    old.permit()
    bench.recorder.wait_for_results(2)

    assert [result.model_name for result in bench.recorder.results] == ["old", "new"]
    assert old.closed_in == [old.threads[0]], "expected to be closed once, by the worker"
    assert not old.was_closed_while_running
    # Class numbers of two models have nothing in common: tracks begin anew.
    assert [result.detections.track_id.tolist() for result in bench.recorder.results] == [[1], [1]]


def test_pipelines_that_never_ran_are_closed_too(bench: Bench) -> None:
    pipelines = [FakePipeline(str(index)) for index in range(4)]
    scheduler = bench.start(pipelines[0])

    for pipeline in pipelines:
        scheduler.set_pipeline(pipeline)
    scheduler.set_pipeline(pipelines[3])  # the same again changes nothing
    scheduler.offer(make_frame("a", 1))
    bench.recorder.wait_for_results(1)
    scheduler.close(TIMEOUT_S)

    assert bench.recorder.results[0].model_name == "3"
    assert [len(pipeline.closed_in) for pipeline in pipelines] == [1, 1, 1, 1]


def test_a_pipeline_that_fails_to_close_is_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = FakePipeline("stubborn")

    def broken() -> None:
        raise RuntimeError("busy")

    monkeypatch.setattr(pipeline, "close", broken)
    scheduler = bench.start(pipeline)
    with caplog.at_level(logging.ERROR, "detect.flow.scheduler"):
        scheduler.close(TIMEOUT_S)

    assert "closing model stubborn failed" in caplog.text


def test_without_a_pipeline_frames_pass_through(bench: Bench) -> None:
    scheduler = bench.start(None, engine_delay_ms=60_000)  # no engine, no delay

    scheduler.offer(make_frame("a", 1))
    bench.recorder.wait_for_results(1)

    (result,) = bench.recorder.results
    assert len(result.detections) == 0
    assert result.model_name == ""
    assert result.times.taken_ns is not None
    assert result.times.tracked_ns == result.times.taken_ns


def test_settings_act_on_the_next_frame(bench: Bench) -> None:
    pipeline = FakePipeline(is_free=False)
    scheduler = bench.start(pipeline)
    scheduler.offer(make_frame("a", 1))
    pipeline.wait_until_entered()

    scheduler.set_settings(DetectionSettings(score_threshold=0.75, iou_threshold=0.25))
    scheduler.offer(make_frame("a", 2))
    pipeline.permit(2)
    bench.recorder.wait_for_results(2)

    assert pipeline.thresholds[1] == (0.75, 0.25)


def test_the_delay_of_a_slow_detector_is_in_the_inference_stage(bench: Bench) -> None:
    scheduler = bench.start(FakePipeline(), engine_delay_ms=20)

    scheduler.offer(make_frame("a", 1))
    bench.recorder.wait_for_results(1)

    times = bench.recorder.results[0].times
    assert times.prepared_ns is not None
    assert times.inferred_ns is not None
    assert times.decided_ns is not None
    assert times.tracked_ns is not None
    # A timer may end a tick early; what matters is that the delay is there and nowhere else.
    assert times.inferred_ns - times.prepared_ns > 19 * NS_PER_MS
    assert times.inferred_ns <= times.decided_ns <= times.tracked_ns


def test_a_removed_stream_gets_nothing_more(bench: Bench) -> None:
    pipeline = FakePipeline(is_free=False)
    scheduler = bench.start(pipeline, streams=("a", "b"))
    recorder = bench.recorder
    scheduler.offer(make_frame("a", 1))
    pipeline.wait_until_entered()
    scheduler.offer(make_frame("a", 2))
    scheduler.offer(make_frame("b", 1))

    scheduler.remove_stream("a")
    scheduler.remove_stream("a")
    scheduler.offer(make_frame("a", 3))
    assert recorder.drops == [("a", "removed")] * 2  # the waiting one, the late one
    pipeline.permit(2)
    recorder.wait_for_results(1)

    assert recorder.frames == [("b", 1)]
    assert recorder.drops == [("a", "removed")] * 3  # the one that was in the engine


def test_a_stream_that_comes_back_does_not_get_the_old_ones_result(bench: Bench) -> None:
    pipeline = FakePipeline(is_free=False)
    scheduler = bench.start(pipeline)
    scheduler.offer(make_frame("a", 1))
    pipeline.wait_until_entered()

    scheduler.remove_stream("a")
    scheduler.add_stream("a")
    scheduler.offer(make_frame("a", 2))
    pipeline.permit(2)
    bench.recorder.wait_for_results(1)

    assert bench.recorder.frames == [("a", 2)]


def test_a_stream_is_added_once(bench: Bench) -> None:
    scheduler = bench.start()

    with pytest.raises(ValueError, match="'a' is there already"):
        scheduler.add_stream("a")


def test_start_is_called_once(bench: Bench) -> None:
    scheduler = bench.start()

    with pytest.raises(RuntimeError, match="called once"):
        scheduler.start()


def test_close_drops_what_waits_and_may_be_called_again(bench: Bench) -> None:
    pipeline = FakePipeline(is_free=False)
    scheduler = bench.start(pipeline)
    scheduler.offer(make_frame("a", 1))
    pipeline.wait_until_entered()
    scheduler.offer(make_frame("a", 2))
    pipeline.permit()

    scheduler.close(TIMEOUT_S)
    scheduler.close(TIMEOUT_S)
    scheduler.offer(make_frame("a", 3))
    scheduler.add_stream("late")  # a phone that arrives while the server ends
    scheduler.offer(make_frame("late", 1))

    assert len(pipeline.closed_in) == 1
    assert not pipeline.was_closed_while_running
    # Every frame is accounted for: the one that waited, the late ones, and the one in the engine,
    # whose result came before or after the close.
    assert len(bench.recorder.results) + len(bench.recorder.drops) == 4
    assert bench.recorder.drops.count(("a", "closed")) >= 2
    assert ("late", "closed") in bench.recorder.drops


def test_close_does_not_wait_for_an_engine_that_hangs(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = FakePipeline(is_free=False)
    scheduler = bench.start(pipeline)
    scheduler.offer(make_frame("a", 1))
    pipeline.wait_until_entered()

    with caplog.at_level(logging.WARNING, "detect.flow.scheduler"):
        scheduler.close(timeout_s=0.05)
    assert "still busy" in caplog.text
    assert pipeline.closed_in == [], "closed while it runs"

    pipeline.permit()
    scheduler.close(TIMEOUT_S)
    assert pipeline.closed_in == pipeline.threads
    assert bench.recorder.drops == [("a", "closed")]


def test_close_cuts_the_delay_short(bench: Bench) -> None:
    pipeline = FakePipeline()
    scheduler = bench.start(pipeline, engine_delay_ms=60_000)
    scheduler.offer(make_frame("a", 1))
    pipeline.wait_until_entered()

    scheduler.close(TIMEOUT_S)

    assert len(pipeline.closed_in) == 1


def test_the_worker_may_close_its_own_scheduler(bench: Bench) -> None:
    is_closed = threading.Event()

    def close_it(result: FrameResult) -> None:
        scheduler.close(TIMEOUT_S)
        is_closed.set()

    pipeline = FakePipeline()
    scheduler = bench.start(pipeline, on_result=close_it)
    scheduler.offer(make_frame("a", 1))

    assert is_closed.wait(TIMEOUT_S)
    scheduler.close(TIMEOUT_S)
    assert len(pipeline.closed_in) == 1


def test_a_scheduler_that_never_started_closes_its_pipelines() -> None:
    recorder, first, second = Recorder(), FakePipeline(), FakePipeline()
    scheduler = Scheduler(
        on_result=recorder.on_result,
        on_drop=recorder.on_drop,
        on_error=recorder.on_error,
        settings=DetectionSettings(),
    )
    scheduler.set_pipeline(first)
    scheduler.set_pipeline(second)
    assert len(first.closed_in) == 1

    scheduler.add_stream("a")
    scheduler.offer(make_frame("a", 1))
    scheduler.close()

    assert len(second.closed_in) == 1
    assert recorder.drops == [("a", "closed")]


def test_a_pipeline_that_comes_after_the_close_is_closed(bench: Bench) -> None:
    scheduler = bench.start()
    scheduler.close(TIMEOUT_S)
    late = FakePipeline()

    scheduler.set_pipeline(late)

    assert len(late.closed_in) == 1


def test_trackers_are_one_per_stream_and_run_on_the_decoders_clock() -> None:
    calls: list[tuple[int, int]] = []
    recorder = Recorder()

    class CountingTracker:
        def update(self, detections: Detections, time_ns: int) -> Detections:
            calls.append((id(self), time_ns))
            return detections

    trackers: list[FrameTracker] = []

    def new_tracker() -> FrameTracker:
        trackers.append(CountingTracker())
        return trackers[-1]

    scheduler = Scheduler(
        on_result=recorder.on_result,
        on_drop=recorder.on_drop,
        on_error=recorder.on_error,
        settings=DetectionSettings(),
        new_tracker=new_tracker,
    )
    scheduler.set_pipeline(FakePipeline())
    scheduler.add_stream("a")
    scheduler.add_stream("b")
    scheduler.start()
    frames = [make_frame(stream_id, rtp) for rtp in (1, 2) for stream_id in ("a", "b")]
    for n_frames, frame in enumerate(frames, start=1):
        scheduler.offer(frame)
        recorder.wait_for_results(n_frames)
    scheduler.close(TIMEOUT_S)

    first, second = (id(tracker) for tracker in trackers)
    assert calls == [
        (tracker, frame.decoded_ns)
        for tracker, frame in zip((first, second, first, second), frames, strict=True)
    ]
