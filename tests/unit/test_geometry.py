from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detect.geometry import (
    Fit,
    SizeWh,
    box_area,
    box_iou,
    clip_boxes,
    cxcywh_to_xyxy,
    place,
)


def boxes(*rows: tuple[float, float, float, float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("box", "area"),
    [
        ((0, 0, 4, 3), 12),
        ((5, 5, 5, 9), 0),  # no width
        ((4, 0, 0, 3), 0),  # corners the wrong way round
    ],
)
def test_box_area(box: tuple[float, float, float, float], area: float) -> None:
    assert box_area(boxes(box)).tolist() == [area]


def test_iou_of_nothing_has_the_right_shape() -> None:
    assert box_iou(boxes(), boxes((0, 0, 1, 1))).shape == (0, 1)
    assert box_iou(boxes((0, 0, 1, 1)), boxes()).shape == (1, 0)


coordinates = st.floats(0, 1000, width=32)
box_lists = st.lists(
    st.tuples(coordinates, coordinates, st.floats(0, 500, width=32), st.floats(0, 500, width=32)),
    max_size=6,
).map(lambda rows: boxes(*((x, y, x + w, y + h) for x, y, w, h in rows)))


@given(a=box_lists, b=box_lists)
def test_iou_is_symmetric_and_between_0_and_1(
    a: NDArray[np.float32], b: NDArray[np.float32]
) -> None:
    iou = box_iou(a, b)
    assert iou.dtype == np.float32
    assert ((iou >= 0) & (iou <= 1 + 1e-5)).all()
    np.testing.assert_allclose(iou, box_iou(b, a).T, atol=1e-6)


def test_centre_and_size_become_corners() -> None:
    assert cxcywh_to_xyxy(boxes((10, 20, 4, 6))).tolist() == [[8, 17, 12, 23]]


def test_boxes_are_cut_at_the_edges() -> None:
    assert clip_boxes(boxes((-5, 2, 700, 9)), (640, 8)).tolist() == [[0, 2, 640, 8]]


sizes = st.tuples(st.integers(1, 4096), st.integers(1, 4096))


@given(source_wh=sizes, input_wh=sizes, fit=st.sampled_from(Fit))
def test_content_lies_inside_the_input(source_wh: SizeWh, input_wh: SizeWh, fit: Fit) -> None:
    placement = place(source_wh, input_wh, fit)
    for offset, content, limit in zip(
        placement.offset_xy_px, placement.content_wh, input_wh, strict=True
    ):
        assert offset >= 0
        assert content >= 1
        assert offset + content <= limit


@given(source_wh=sizes, input_wh=sizes, fit=st.sampled_from(Fit))
def test_the_whole_content_is_the_whole_picture(
    source_wh: SizeWh, input_wh: SizeWh, fit: Fit
) -> None:
    placement = place(source_wh, input_wh, fit)
    x, y = placement.offset_xy_px
    width, height = placement.content_wh
    whole = placement.to_source(boxes((x, y, x + width, y + height)))
    np.testing.assert_allclose(whole[0], [0, 0, *source_wh], rtol=1e-5)


@given(source_wh=sizes, input_wh=sizes)
def test_a_letterbox_fills_one_side(source_wh: SizeWh, input_wh: SizeWh) -> None:
    content_wh = place(source_wh, input_wh, Fit.CENTRE).content_wh
    assert content_wh[0] == input_wh[0] or content_wh[1] == input_wh[1]


@pytest.mark.parametrize("sizes_wh", [((0, 5), (8, 8)), ((5, 5), (8, -1))])
def test_sizes_must_be_positive(sizes_wh: tuple[SizeWh, SizeWh]) -> None:
    with pytest.raises(ValueError, match="positive"):
        place(*sizes_wh, Fit.CENTRE)
