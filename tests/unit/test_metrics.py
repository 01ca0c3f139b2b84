"""Rows, summary and ``metrics.json``: exact sums, honest percentiles, bounded memory."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect.clock import EPOCH_NS, NS_PER_MS, to_wire_ms
from detect.metrics import StreamMetrics, percentile, percentiles
from detect.types import POINTS, STAGES, Detections, Frame, FrameResult, FrameTimes

SCHEMA_PATH = Path(__file__).parents[2] / "bench" / "schema" / "metrics.schema.json"
SCHEMA = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))

PICTURE = av.VideoFrame(640, 480, "yuv420p")
SERVER_POINTS = POINTS[: POINTS.index("tracked_ns") + 1]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time_ns = EPOCH_NS + 1_000_000 * NS_PER_MS

    def __call__(self) -> int:
        return self.time_ns

    def pass_ms(self, ms: float) -> None:
        self.time_ns += round(ms * NS_PER_MS)


class Rig:
    """Metrics of one stream, fed with frames whose stages all take the same time."""

    def __init__(self, *, capacity: int = 1000) -> None:
        self.clock = Clock()
        self.metrics = StreamMetrics(
            "s1",
            capacity=capacity,
            now=self.clock,
            utc_now=lambda: datetime(2026, 11, 22, 13, 0, tzinfo=UTC),
        )
        self.rtp_timestamp = 0

    def process(
        self,
        times: FrameTimes | None = None,
        *,
        class_ids: tuple[int, ...] = (),
        model_name: str = "yolox-nano",
        error_ms: float | None = 1.5,
    ) -> int:
        """Feed one frame up to its result; its RTP timestamp."""
        times = times or self.times()
        self.rtp_timestamp = (self.rtp_timestamp + 3000) % 2**32
        is_synchronised = times.captured_ns is not None
        frame = Frame(
            "s1",
            self.rtp_timestamp,
            PICTURE,
            times.captured_ns,
            error_ms if is_synchronised else None,
            times.received_ns or 0,
            times.decoded_ns or 0,
        )
        self.metrics.on_camera_frame(frame)
        self.metrics.on_result(FrameResult(frame, boxes(*class_ids), times, model_name))
        return self.rtp_timestamp

    def times(self, stage_ms: float = 2.0) -> FrameTimes:
        """A frame whose boxes are ready now."""
        stage_ns = round(stage_ms * NS_PER_MS)
        n = len(SERVER_POINTS)
        points = {
            name: self.clock.time_ns - (n - 1 - index) * stage_ns
            for index, name in enumerate(SERVER_POINTS)
        }
        return FrameTimes(**points)

    def show(
        self, times: FrameTimes | None = None, error_ms: float | None = 1.5
    ) -> tuple[int, FrameTimes]:
        """Feed one frame all the way: 3 ms after its result it is on the screen."""
        times = times or self.times()
        rtp_timestamp = self.process(times)
        whole = drawn(times, self.clock.time_ns)
        self.clock.pass_ms(3)
        self.metrics.on_shown(rtp_timestamp, whole, error_ms)
        return rtp_timestamp, whole

    def rows(self, since: int = 0) -> list[dict[str, Any]]:
        columns = self.metrics.samples(since).columns
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def drawn(times: FrameTimes, sent_ns: int) -> FrameTimes:
    return replace(
        times,
        sent_ns=sent_ns,
        arrived_ns=sent_ns + 1 * NS_PER_MS,
        drawn_ns=sent_ns + 3 * NS_PER_MS,
    )


def boxes(*class_ids: int) -> Detections:
    n = len(class_ids)
    return Detections.untracked(
        np.zeros((n, 4), np.float32), np.ones(n, np.float32), np.array(class_ids, np.int32)
    )


@pytest.mark.parametrize(
    ("values", "q", "expected"),
    [
        ([], 0.5, None),
        ([7], 0.5, 7),
        ([1, 2], 0.5, 1),  # nearest rank: never between two values
        ([1, 2, 3], 0.5, 2),
        ([1, 2, 3, 4], 0.5, 2),
        (range(1, 20), 0.95, None),  # 19 values cannot support a p95
        (range(1, 21), 0.95, 19),
        (range(1, 101), 0.95, 95),
        (range(1, 100), 0.99, None),
        (range(1, 101), 0.99, 99),
        (range(1, 1001), 0.99, 990),
        (range(1, 1000), 0.999, None),
        (range(1, 1001), 0.999, 999),
    ],
)
def test_percentiles_are_nearest_rank(values: list[int], q: float, expected: int | None) -> None:
    assert percentile(np.array(values, np.int64), q) == expected


@pytest.mark.parametrize("q", [0, 1, -0.5, 95])
def test_a_quantile_lies_between_0_and_1(q: float) -> None:
    with pytest.raises(ValueError, match="q: expected a number between 0 and 1"):
        percentile(np.array([1], np.int64), q)


@given(values=st.lists(st.integers(-(2**50), 2**50), min_size=1, max_size=300))
def test_percentiles_are_measured_values_with_enough_above_them(values: list[int]) -> None:
    found = percentiles(np.array(values, np.int64))

    assert found is not None
    assert found.n == len(values)
    assert (found.p95 is None) == (len(values) < 20)
    assert (found.p99 is None) == (len(values) < 100)
    in_ms = [value / NS_PER_MS for value in values]
    for q, value in ((0.5, found.p50), (0.95, found.p95), (0.99, found.p99)):
        if value is not None:
            assert value in in_ms
            share_at_most = sum(other <= value for other in in_ms) / len(in_ms)
            share_below = sum(other < value for other in in_ms) / len(in_ms)
            assert share_below <= q <= share_at_most + 1e-9


points_ns = st.lists(
    st.integers(0, 20_000 * NS_PER_MS), min_size=len(POINTS), max_size=len(POINTS)
).map(lambda offsets: [EPOCH_NS + offset for offset in sorted(offsets)])


@given(frames=st.lists(points_ns, min_size=1, max_size=8))
def test_stages_sum_to_the_latency_to_the_nanosecond(frames: list[list[int]]) -> None:
    rig = Rig()
    for points in frames:
        whole = FrameTimes(*points)
        rtp_timestamp = rig.process(replace(whole, sent_ns=None, arrived_ns=None, drawn_ns=None))
        rig.metrics.on_shown(rtp_timestamp, whole, 1.0)

    for row, points in zip(rig.rows(), frames, strict=True):
        in_ns = {name: round(value * NS_PER_MS) for name, value in row.items() if "_ms" in name}
        assert sum(in_ns[f"{stage.name}_ms"] for stage in STAGES) == in_ns["latency_ms"]
        assert in_ns["latency_ms"] == points[-1] - points[0]
    stages: Any = rig.metrics.document({})["stage_metrics"]
    assert stages["population"] == "complete"
    assert stages["total"]["sum_ns"] == sum(points[-1] - points[0] for points in frames)
    assert sum(stage["sum_ns"] for stage in stages["stages"].values()) == stages["total"]["sum_ns"]


def test_a_row_has_everything_known_of_a_shown_frame() -> None:
    rig = Rig()
    rtp_timestamp = rig.process(class_ids=(3, 3))
    times = drawn(rig.times(), rig.clock.time_ns)
    assert rig.rows() == [], "not closed yet"

    rig.clock.pass_ms(5)
    rig.metrics.on_shown(rtp_timestamp, times, 2.25)

    (row,) = rig.rows()
    assert times.decoded_ns is not None
    assert row == {
        "seq": 1,
        "rtp": rtp_timestamp,
        "t_ms": to_wire_ms(times.decoded_ns),
        **{f"{stage.name}_ms": 2.0 for stage in STAGES},
        "publish_ms": 0.0,
        "deliver_ms": 1.0,
        "draw_ms": 2.0,
        "latency_ms": 17.0,
        "error_ms": 2.25,
        "processing_ms": 15.0,
        "age_ms": 6.0,
        "n_detections": 2,
        "width": 640,
        "height": 480,
        "model": "yolox-nano",
    }


def test_a_frame_nobody_shows_is_given_up_after_a_second() -> None:
    rig = Rig()
    rig.process()
    rig.clock.pass_ms(999)
    assert rig.rows() == []
    rig.clock.pass_ms(1)

    (row,) = rig.rows()
    assert row["draw_ms"] is None
    assert row["latency_ms"] is None
    assert row["publish_ms"] is None
    assert row["infer_ms"] == 2.0
    assert row["processing_ms"] == 12.0  # received → tracked


def test_a_late_report_still_counts() -> None:
    rig = Rig()
    rtp_timestamp = rig.process()
    whole = drawn(rig.times(), rig.clock.time_ns)
    rig.clock.pass_ms(1500)
    assert rig.rows()[0]["latency_ms"] is None

    rig.metrics.on_shown(rtp_timestamp, whole, 1.0)
    rig.metrics.on_shown(rtp_timestamp, whole, 1.0)  # another viewer

    summary = rig.metrics.summary()
    assert (summary.n_shown, summary.n_late) == (1, 1)
    document: Any = rig.metrics.document({})
    assert document["rows"]["latency_ms"] == [17.0]
    assert document["benchmark_info"]["n_late_reports"] == 1


def test_a_report_for_a_row_that_made_room_is_ignored() -> None:
    rig = Rig(capacity=2)
    first = rig.process()
    times = drawn(rig.times(), rig.clock.time_ns)
    rig.clock.pass_ms(1500)
    for _ in range(3):
        rig.show()

    rig.metrics.on_shown(first, times, 1.0)

    assert rig.metrics.summary().n_shown == 3
    assert rig.metrics.summary().n_late == 0


def test_only_the_first_viewers_report_counts() -> None:
    rig = Rig()
    rtp_timestamp, times = rig.show()
    later = replace(times, drawn_ns=(times.drawn_ns or 0) + 500 * NS_PER_MS)

    rig.metrics.on_shown(rtp_timestamp, later, 9.0)
    rig.metrics.on_shown(12345, later, 9.0)  # never seen

    (row,) = rig.rows()
    assert (row["latency_ms"], row["error_ms"]) == (17.0, 1.5)
    assert rig.metrics.summary().n_shown == 1


def test_without_clocks_there_is_no_latency() -> None:
    rig = Rig()
    times = replace(rig.times(), captured_ns=None)
    rtp_timestamp = rig.process(times)
    rig.metrics.on_shown(rtp_timestamp, replace(times, sent_ns=rig.clock.time_ns), None)

    (row,) = rig.rows()
    assert row["latency_ms"] is row["error_ms"] is row["age_ms"] is row["transport_ms"] is None
    assert row["processing_ms"] == 12.0  # received → sent
    summary = rig.metrics.summary()
    assert summary.latency_ms is None
    assert summary.error_ms is None
    assert summary.age_ms is None
    assert summary.processing_ms is not None
    assert summary.processing_ms.p50 == 12.0
    assert summary.stage_p50_ms["transport"] is None
    assert summary.stage_p50_ms["infer"] == 2.0
    document: Any = rig.metrics.document({})
    assert document["stage_metrics"]["population"] == "known"
    assert document["stage_metrics"]["total"] is None
    assert document["stage_metrics"]["stages"]["infer"]["n"] == 1
    assert document["stage_metrics"]["stages"]["draw"]["n"] == 0
    jsonschema.validate(document, SCHEMA)


def test_rows_are_asked_for_by_what_came_after_them() -> None:
    rig = Rig(capacity=10)
    for _ in range(4):
        rig.show()

    first = rig.metrics.samples(0)
    assert (first.next, first.columns["seq"]) == (4, [1, 2, 3, 4])
    assert rig.metrics.samples(first.next).columns["seq"] == []
    rig.show()
    assert rig.metrics.samples(first.next).columns["seq"] == [5]
    assert rig.metrics.samples(0, limit=2).columns["seq"] == [4, 5]
    # A page that was open while the server was restarted.
    assert rig.metrics.samples(900).columns["seq"] == [1, 2, 3, 4, 5]
    assert rig.metrics.samples(-1).columns["seq"] == [1, 2, 3, 4, 5]
    for _ in range(20):
        rig.show()
    assert rig.metrics.samples(first.next).columns["seq"] == list(range(16, 26))


def test_rows_come_in_the_order_they_close_and_none_is_missed() -> None:
    rig = Rig()
    never_shown = rig.process()
    seen = rig.metrics.samples(0)
    shown, _ = rig.show()
    seen = rig.metrics.samples(seen.next)
    assert seen.columns["rtp"] == [shown]

    rig.clock.pass_ms(1000)
    assert rig.metrics.samples(seen.next).columns["rtp"] == [never_shown]


def test_the_same_timestamp_twice_gives_two_rows() -> None:
    rig = Rig()
    rtp_timestamp = rig.process()
    rig.rtp_timestamp -= 3000
    assert rig.process() == rtp_timestamp
    rig.clock.pass_ms(1000)

    assert [row["rtp"] for row in rig.rows()] == [rtp_timestamp] * 2


def test_frames_waiting_for_a_report_are_bounded() -> None:
    rig = Rig()
    for _ in range(600):  # at one moment: time alone would give up none of them
        rig.process()

    assert len(rig.metrics._open) == 256
    assert len(rig.metrics._given_up) <= 256
    assert len(rig.rows()) == 600 - 256


def test_memory_is_bounded() -> None:
    rig = Rig(capacity=50)
    for _ in range(500):
        rig.show()

    document: Any = rig.metrics.document({})
    info = document["benchmark_info"]
    assert (info["n_rows"], info["n_rows_overwritten"], info["n_shown"]) == (50, 450, 500)
    assert len(document["rows"]["seq"]) == 50
    with pytest.raises(ValueError, match="capacity: expected at least 1"):
        StreamMetrics("s1", capacity=0)


def test_rates_are_counted_over_two_seconds() -> None:
    rig = Rig()
    assert rig.metrics.summary().camera_fps == 0
    for index in range(150):  # 5 s at 30 fps, every second frame shown
        rig.clock.pass_ms(1000 / 30)
        if index % 2:
            rig.process()
        else:
            rtp_timestamp = rig.process()
            rig.metrics.on_shown(rtp_timestamp, FrameTimes(), None)

    summary = rig.metrics.summary()
    assert summary.camera_fps == pytest.approx(30, abs=0.5)
    assert summary.processed_fps == pytest.approx(30, abs=0.5)
    assert summary.shown_fps == pytest.approx(15, abs=0.5)
    assert (summary.n_camera, summary.n_processed, summary.n_shown) == (150, 150, 75)
    rig.clock.pass_ms(2000)
    assert rig.metrics.summary().camera_fps == 0


def test_a_young_stream_is_measured_over_its_life() -> None:
    rig = Rig()
    for _ in range(45):  # 1.5 s
        rig.process()
        rig.clock.pass_ms(1000 / 30)

    assert rig.metrics.summary().camera_fps == pytest.approx(30, abs=0.5)


def test_the_summary_forgets_after_ten_seconds() -> None:
    rig = Rig()
    rig.show(rig.times(stage_ms=50))
    assert rig.metrics.summary().latency_ms is not None
    rig.clock.pass_ms(9_000)
    for _ in range(30):
        rig.show(rig.times(stage_ms=2))
    with_slow_one = rig.metrics.summary().latency_ms
    assert with_slow_one is not None
    assert (with_slow_one.n, with_slow_one.p50) == (31, 17.0)

    rig.clock.pass_ms(1_000)
    without = rig.metrics.summary()
    assert without.latency_ms is not None
    assert (without.latency_ms.n, without.latency_ms.p95, without.latency_ms.p99) == (30, 17, None)
    rig.clock.pass_ms(10_000)
    assert rig.metrics.summary().latency_ms is None


def test_frames_with_and_without_a_viewer_are_not_mixed() -> None:
    rig = Rig()
    for _ in range(10):
        rig.process()
    rig.clock.pass_ms(1000)
    unseen = rig.metrics.summary().processing_ms
    assert unseen is not None
    assert (unseen.n, unseen.p50) == (10, 12.0)

    rig.show()
    seen = rig.metrics.summary().processing_ms
    assert seen is not None
    assert (seen.n, seen.p50) == (1, 15.0)


def test_the_summary_tells_of_the_newest_frame_and_of_drops() -> None:
    rig = Rig()
    rig.show(error_ms=1.0)
    rig.show(error_ms=4.5)
    rig.process(class_ids=(0, 2, 0), model_name="nanodet")
    for cause in ("replaced", "engine_error", "replaced"):
        rig.metrics.on_drop(cause)

    summary = rig.metrics.summary()
    assert summary.class_counts == {0: 2, 2: 1}
    assert summary.size_wh == (640, 480)
    assert summary.model_name == "nanodet"
    assert summary.dropped == {"replaced": 2, "engine_error": 1}
    assert summary.error_ms == 4.5


def test_an_empty_session_is_a_valid_document() -> None:
    document: Any = Rig().metrics.document({})

    jsonschema.validate(document, SCHEMA)
    assert document["latency_metrics"]["n"] == 0
    assert document["latency_metrics"]["median_ms"] is None
    assert document["benchmark_info"]["duration_s"] == 0
    assert document["performance_metrics"]["camera_fps"] is None


def test_a_session_as_metrics_json() -> None:
    rig = Rig()
    for index in range(150):
        rig.clock.pass_ms(1000 / 30 - 3)
        rig.show(rig.times(stage_ms=2 + index % 5))
        rig.clock.pass_ms(0)
    rig.metrics.on_drop("replaced")

    document: Any = rig.metrics.document(
        {"mode": "server", "stream_id": "not yours"}, resources={"cpu_percent": 93.5, "gpu": None}
    )

    jsonschema.validate(document, SCHEMA)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    info, latency = document["benchmark_info"], document["latency_metrics"]
    assert (info["mode"], info["stream_id"]) == ("server", "s1")
    assert info["timestamp"] == "2026-11-22T13:00:00+00:00"
    assert info["clock_error_ms"] == {"n": 150, "median": 1.5, "max": 1.5}
    assert info["models"] == ["yolox-nano"]
    expected = [7 * (2 + index % 5) + 3.0 for index in range(150)]
    assert latency["n"] == 150
    assert latency["min_ms"] == min(expected)
    assert latency["max_ms"] == max(expected)
    assert latency["median_ms"] == sorted(expected)[74]
    assert latency["mean_ms"] == pytest.approx(np.mean(expected), rel=1e-12)
    assert latency["std_ms"] == pytest.approx(np.std(expected, ddof=1), rel=1e-9)
    assert document["drops"] == {"replaced": 1}
    assert document["resource_metrics"] == {"cpu_percent": 93.5, "gpu": None}
    assert document["performance_metrics"]["camera_fps"] == pytest.approx(30, abs=0.1)
    stages = document["stage_metrics"]["stages"]
    means = math.fsum(stage["mean_ms"] for stage in stages.values())
    assert means == pytest.approx(document["stage_metrics"]["total"]["mean_ms"], rel=1e-12)
    network = document["performance_metrics"]["network"]
    assert network["min_ms"] == 2 + 1.0  # transport and deliver of the fastest frame


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 2),
        (("format",), "other"),
        (("latency_metrics", "median_ms"), "fast"),
        (("latency_metrics", "surprise"), 1),
        (("drops", "replaced"), -1),
        (("rows", "latency_ms"), ["17"]),
        (("stage_metrics", "stages", "infer"), {}),
    ],
)
def test_the_schema_refuses_what_is_not_the_format(path: tuple[str, ...], value: object) -> None:
    rig = Rig()
    rig.show()
    document: Any = rig.metrics.document({})
    target = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_threads_may_use_it_at_once() -> None:
    rig = Rig()
    stop = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            since = 0
            while not stop.is_set():
                samples = rig.metrics.samples(since)
                assert samples.columns["seq"] == list(range(since + 1, samples.next + 1))
                since = samples.next
                rig.metrics.summary()
        except BaseException as error:  # handed to the test below
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(500):
        rig.show()
    stop.set()
    reader.join(10)

    assert not failures
    assert rig.metrics.summary().n_shown == 500
