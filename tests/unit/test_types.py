from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import av
import numpy as np
import pytest

from detect.types import UNTRACKED, Detections, Frame


def detections(n: int = 2, /, **changes: object) -> Detections:
    values: dict[str, Any] = {
        "xyxy_px": np.zeros((n, 4), np.float32),
        "score": np.zeros(n, np.float32),
        "class_id": np.zeros(n, np.int32),
        "track_id": np.zeros(n, np.int32),
    }
    return Detections(**{**values, **changes})


def test_detections_have_a_length() -> None:
    assert len(detections(3)) == 3
    assert len(Detections.empty()) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("xyxy_px", np.zeros((2, 5), np.float32)),  # five sides
        ("xyxy_px", np.zeros((2, 4), np.float64)),  # wrong dtype
        ("score", np.zeros(3, np.float32)),  # one too many
        ("class_id", np.zeros(2, np.int64)),  # wrong dtype
        ("track_id", np.zeros((2, 1), np.int32)),  # a column, not a row
    ],
)
def test_detections_refuse_other_shapes_and_dtypes(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected"):
        detections(**{name: value})


def test_untracked_detections_say_so() -> None:
    full = detections(2)
    found = Detections.untracked(full.xyxy_px, full.score, full.class_id)
    assert found.track_id.tolist() == [UNTRACKED, UNTRACKED]


def test_detections_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        detections().score = np.zeros(2, np.float32)  # type: ignore[misc]


def frame(**changes: object) -> Frame:
    values: dict[str, Any] = {
        "stream_id": "phone",
        "rtp_timestamp": 1,
        "picture": av.VideoFrame(64, 48, "yuv420p"),
        "captured_ns": 5,
        "captured_error_ms": 0.5,
        "received_ns": 6,
        "decoded_ns": 7,
    }
    return Frame(**{**values, **changes})


def test_frame_knows_its_size() -> None:
    assert frame().size_wh == (64, 48)


@pytest.mark.parametrize("rtp_timestamp", [-1, 1 << 32])
def test_frame_refuses_rtp_times_outside_32_bits(rtp_timestamp: int) -> None:
    with pytest.raises(ValueError, match="rtp_timestamp"):
        frame(rtp_timestamp=rtp_timestamp)


@pytest.mark.parametrize("missing", ["captured_ns", "captured_error_ms"])
def test_a_capture_time_needs_its_error_bound(missing: str) -> None:
    with pytest.raises(ValueError, match="both"):
        frame(**{missing: None})
    assert frame(captured_ns=None, captured_error_ms=None).captured_ns is None
