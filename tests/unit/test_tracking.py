from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect.types import Detections
from detect.vision.tracking import Tracker, TrackerSettings

Box = tuple[float, float, float, float]
FRAME_NS = 33_000_000
S_NS = 1_000_000_000


def seen(*boxes: Box, score: float = 0.9, class_id: int = 0) -> Detections:
    n = len(boxes)
    return Detections.untracked(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(n, score, np.float32),
        np.full(n, class_id, np.int32),
    )


def box_at(x: float, y: float = 100, side: float = 50) -> Box:
    return (x, y, x + side, y + side)


def ids(found: Detections) -> list[int]:
    return [int(track_id) for track_id in found.track_id]


def test_new_objects_are_numbered_from_one() -> None:
    assert ids(Tracker().update(seen(box_at(0), box_at(200)), 0)) == [1, 2]


def test_a_still_object_keeps_its_number() -> None:
    tracker = Tracker()
    for i in range(30):
        assert ids(tracker.update(seen(box_at(100)), i * FRAME_NS)) == [1]


def test_the_boxes_come_back_untouched_and_in_order() -> None:
    tracker = Tracker()
    tracker.update(seen(box_at(0), box_at(200)), 0)
    frame = seen(box_at(201), box_at(1))
    found = tracker.update(frame, FRAME_NS)
    assert ids(found) == [2, 1]
    assert found.xyxy_px is frame.xyxy_px
    assert frame.track_id.tolist() == [-1, -1]


@pytest.mark.parametrize("interval_s", [1 / 60, 1 / 30, 1 / 10, 1 / 5])
def test_a_moving_object_is_followed_at_any_frame_rate(interval_s: float) -> None:
    tracker = Tracker()
    for i in range(round(2 / interval_s)):
        time_s = i * interval_s
        found = tracker.update(seen(box_at(100 * time_s)), round(time_s * S_NS))
        assert ids(found) == [1]


def test_a_steady_object_is_found_again_after_a_gap() -> None:
    """300 px/s with 50 px boxes: where it was 0.5 s ago overlaps nothing, where it goes does."""
    tracker = Tracker()
    for i in range(30):
        tracker.update(seen(box_at(300 * i * 0.033)), i * FRAME_NS)
    last_s = 29 * 0.033
    found = tracker.update(seen(box_at(300 * (last_s + 0.5))), round((last_s + 0.5) * S_NS))
    assert ids(found) == [1]


def test_two_objects_that_cross_keep_their_numbers() -> None:
    tracker = Tracker()
    for i in range(60):
        left, right = box_at(i * 8), box_at(480 - i * 8, y=120)
        assert ids(tracker.update(seen(left, right), i * FRAME_NS)) == [1, 2]


def test_classes_do_not_mix() -> None:
    tracker = Tracker()
    tracker.update(seen(box_at(0), class_id=0), 0)
    assert ids(tracker.update(seen(box_at(0), class_id=1), FRAME_NS)) == [2]


def test_a_confident_box_chooses_first() -> None:
    """The weak box overlaps the track better, and yet the confident one gets it."""
    tracker = Tracker()
    tracker.update(seen(box_at(100)), 0)
    both = Detections.untracked(
        np.array([box_at(110), box_at(101)], np.float32),
        np.array([0.9, 0.4], np.float32),
        np.zeros(2, np.int32),
    )
    assert ids(tracker.update(both, FRAME_NS)) == [1, 2]


def test_a_weak_box_keeps_a_track_alive() -> None:
    tracker = Tracker()
    tracker.update(seen(box_at(100)), 0)
    for i in range(1, 60):
        assert ids(tracker.update(seen(box_at(100), score=0.36), i * FRAME_NS)) == [1]


def test_a_track_is_forgotten_after_its_time_not_after_frames() -> None:
    tracker = Tracker(TrackerSettings(max_lost_s=1))
    tracker.update(seen(box_at(0)), 0)
    for i in range(50):  # many frames, little time
        tracker.update(seen(), i * 1_000_000)
    assert ids(tracker.update(seen(box_at(0)), S_NS)) == [1]
    assert ids(tracker.update(seen(box_at(0)), 2 * S_NS + 1)) == [2]  # numbers are not reused


def test_time_that_goes_back_counts_as_standing_still() -> None:
    tracker = Tracker()
    tracker.update(seen(box_at(0)), 5 * S_NS)
    assert ids(tracker.update(seen(box_at(2)), S_NS)) == [1]
    assert ids(tracker.update(seen(box_at(4)), S_NS)) == [1]


def test_empty_frames_are_fine() -> None:
    tracker = Tracker()
    assert len(tracker.update(Detections.empty(), 0)) == 0
    assert len(tracker) == 0


@given(st.integers(0, 2**32 - 1))
def test_numbers_in_a_frame_are_distinct_and_memory_is_bounded(seed: int) -> None:
    random = np.random.default_rng(seed)
    tracker = Tracker(TrackerSettings(max_tracks=20))
    for i in range(8):
        corner = random.uniform(0, 500, (12, 2))
        boxes = np.concatenate([corner, corner + random.uniform(0, 90, (12, 2))], axis=1)
        found = tracker.update(
            Detections.untracked(
                boxes.astype(np.float32),
                random.uniform(0, 1, 12).astype(np.float32),
                random.integers(0, 3, 12).astype(np.int32),
            ),
            i * FRAME_NS,
        )
        assert len(set(ids(found))) == 12
        assert min(ids(found)) >= 1
        assert len(tracker) <= 20
