"""Time points and the stages between them."""

from __future__ import annotations

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect.clock import NS_PER_MS
from detect.types import POINTS, STAGES, Frame, FrameTimes, stage_durations_ms

DAY_NS = 86_400 * 1_000_000_000
START_NS = 2**61  # a monotonic clock starts anywhere

points_ns = st.lists(
    st.integers(START_NS, START_NS + DAY_NS), min_size=len(POINTS), max_size=len(POINTS)
)


def test_stages_join_every_point_to_the_next() -> None:
    assert [stage.start for stage in STAGES] == list(POINTS[:-1])
    assert [stage.end for stage in STAGES] == list(POINTS[1:])
    assert len({stage.name for stage in STAGES}) == len(STAGES)


@given(points=points_ns)
def test_stages_sum_to_captured_to_drawn(points: list[int]) -> None:
    times = FrameTimes(*points)

    durations_ms = stage_durations_ms(times)

    assert list(durations_ms) == [stage.name for stage in STAGES]
    # Each duration is an integer of nanoseconds, recovered exactly; so is their sum.
    durations_ns = [round(duration * NS_PER_MS) for duration in durations_ms.values()]
    assert sum(durations_ns) == points[-1] - points[0]


@given(points=points_ns, is_known=st.lists(st.booleans(), min_size=len(POINTS)))
def test_a_stage_is_known_when_both_its_points_are(points: list[int], is_known: list[bool]) -> None:
    given_points = [point if flag else None for point, flag in zip(points, is_known, strict=False)]
    times = FrameTimes(*given_points)

    durations_ms = stage_durations_ms(times)

    expected = {
        stage.name
        for stage, start, end in zip(STAGES, given_points, given_points[1:], strict=False)
        if start is not None and end is not None
    }
    assert set(durations_ms) == expected


def test_nothing_known_gives_no_stage() -> None:
    assert stage_durations_ms(FrameTimes()) == {}


@pytest.mark.parametrize("rtp_timestamp", [-1, 2**32])
def test_a_frame_refuses_what_is_no_rtp_timestamp(rtp_timestamp: int) -> None:
    with pytest.raises(ValueError, match="rtp_timestamp: expected 0 to"):
        Frame("s", rtp_timestamp, av.VideoFrame(4, 4, "yuv420p"), None, None, 0, 0)


@pytest.mark.parametrize(("captured_ns", "error_ms"), [(1, None), (None, 1.0)])
def test_a_capture_time_comes_with_its_error(
    captured_ns: int | None, error_ms: float | None
) -> None:
    with pytest.raises(ValueError, match="both"):
        Frame("s", 0, av.VideoFrame(4, 4, "yuv420p"), captured_ns, error_ms, 0, 0)


def test_a_frame_reads_its_size_from_the_picture() -> None:
    frame = Frame("s", 0, av.VideoFrame(480, 640, "yuv420p"), None, None, 0, 0)

    assert frame.size_wh == (480, 640)
