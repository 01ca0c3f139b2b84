from __future__ import annotations

from typing import Any, Literal

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from detect.geometry import Fit, SizeWh
from detect.vision.preprocess import InputStyle, Preprocessor, as_frame, to_rgb

RAW = InputStyle(Fit.TOP_LEFT)
F32 = np.dtype(np.float32)


def yuv_frame(y: int, u: int, v: int, size_wh: SizeWh = (64, 48)) -> av.VideoFrame:
    width, height = size_wh
    planes = np.empty((height * 3 // 2, width), np.uint8)
    planes[:height] = y
    flat = planes[height:].reshape(2, -1)
    flat[0], flat[1] = u, v
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


def colour_of(frame: av.VideoFrame) -> NDArray[Any]:
    tensor, _ = Preprocessor(RAW, (32, 24), F32)(frame)
    return tensor[0, :, 12, 16]


@pytest.mark.parametrize(
    ("yuv", "rgb"),
    [
        ((16, 128, 128), (0, 0, 0)),  # black and white of limited range
        ((235, 128, 128), (255, 255, 255)),
        ((81, 90, 240), (255, 0, 0)),  # the primaries of BT.601
        ((145, 54, 34), (0, 255, 0)),
        ((41, 240, 110), (0, 0, 255)),
    ],
)
def test_unmarked_yuv_is_limited_range_bt601(
    yuv: tuple[int, int, int], rgb: tuple[int, int, int]
) -> None:
    np.testing.assert_allclose(colour_of(yuv_frame(*yuv)), rgb, atol=3)


def test_a_frame_that_says_full_range_is_taken_at_its_word() -> None:
    frame = yuv_frame(235, 128, 128)
    frame.color_range = ColorRange.JPEG
    np.testing.assert_allclose(colour_of(frame), (235, 235, 235), atol=2)


def test_a_frame_that_says_bt709_is_taken_at_its_word() -> None:
    frame = yuv_frame(63, 102, 240)  # red in BT.709
    frame.colorspace = Colorspace.ITU709
    np.testing.assert_allclose(colour_of(frame), (255, 0, 0), atol=3)


def test_tags_of_the_frame_are_as_before() -> None:
    frame = yuv_frame(100, 128, 128)
    before = (frame.color_range, frame.colorspace)
    colour_of(frame)
    assert (frame.color_range, frame.colorspace) == before


def quarters(size_wh: SizeWh) -> NDArray[np.uint8]:
    """Red, green, blue and white quarters, in reading order."""
    width, height = size_wh
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[: height // 2, : width // 2] = (255, 0, 0)
    rgb[: height // 2, width // 2 :] = (0, 255, 0)
    rgb[height // 2 :, : width // 2] = (0, 0, 255)
    rgb[height // 2 :, width // 2 :] = (255, 255, 255)
    return rgb


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_channels_come_in_the_order_of_the_style(channels: Literal["rgb", "bgr"]) -> None:
    style = InputStyle(Fit.STRETCH, channels)
    tensor, _ = Preprocessor(style, (32, 32), F32)(quarters((64, 64)))
    seen = tensor[0, :, [4, 4, 28], [4, 28, 4]]  # (3 places, 3 channels)
    wanted = np.eye(3) * 255
    np.testing.assert_allclose(seen, wanted if channels == "rgb" else wanted[:, ::-1], atol=2)


def test_padding_is_grey_and_right_below_of_the_picture() -> None:
    white = np.full((32, 64, 3), 255, np.uint8)
    tensor, placement = Preprocessor(RAW, (64, 64), F32)(white)
    assert placement.content_wh == (64, 32)
    assert (tensor[0, :, 32:] == 114).all()
    assert (tensor[0, :, :32] >= 254).all()


def test_a_centred_picture_has_padding_on_both_sides() -> None:
    white = np.full((32, 64, 3), 255, np.uint8)
    tensor, placement = Preprocessor(InputStyle(Fit.CENTRE, pad=0), (64, 64), F32)(white)
    assert placement.offset_xy_px == (0, 16)
    assert (tensor[0, :, :16] == 0).all()
    assert (tensor[0, :, 48:] == 0).all()
    assert (tensor[0, :, 16:48] >= 254).all()


def test_padding_is_renewed_when_the_picture_turns() -> None:
    prepare = Preprocessor(RAW, (64, 64), F32)
    prepare(np.full((64, 32, 3), 255, np.uint8))
    tensor, _ = prepare(np.full((32, 64, 3), 255, np.uint8))
    assert (tensor[0, :, 32:] == 114).all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_mean_and_std_are_applied_in_channel_order(dtype: str) -> None:
    style = InputStyle(Fit.TOP_LEFT, "bgr", pad=0, mean=(10, 20, 30), std=(2, 4, 5))
    rgb = np.full((32, 64, 3), (130, 120, 110), np.uint8)
    tensor, _ = Preprocessor(style, (64, 64), np.dtype(dtype))(rgb)
    assert tensor.dtype == dtype
    np.testing.assert_allclose(tensor[0, :, 10, 10], [50, 25, 20], rtol=0.02)
    np.testing.assert_allclose(tensor[0, :, 60, 10], [-5, -5, -6], rtol=0.01)  # padding


def test_uint8_models_get_rows_of_rgb() -> None:
    prepare = Preprocessor(InputStyle(Fit.STRETCH), (50, 40), np.dtype(np.uint8))
    tensor, _ = prepare(quarters((100, 80)))
    assert tensor.shape == (1, 40, 50, 3)
    assert tensor.dtype == np.uint8
    np.testing.assert_allclose(tensor[0, 5, 5], (255, 0, 0), atol=2)
    np.testing.assert_allclose(tensor[0, 5, 45], (0, 255, 0), atol=2)


def test_the_tensor_is_allocated_once() -> None:
    prepare = Preprocessor(RAW, (64, 64), F32)
    first, _ = prepare(quarters((64, 48)))
    second, _ = prepare(quarters((48, 64)))
    assert first is second


@pytest.mark.parametrize("size_wh", [(101, 77), (1, 1), (2, 300), (33, 20)])
def test_odd_sizes_are_fine(size_wh: SizeWh) -> None:
    tensor, placement = Preprocessor(RAW, (64, 64), F32)(
        np.full((size_wh[1], size_wh[0], 3), 200, np.uint8)
    )
    width, height = placement.content_wh
    np.testing.assert_allclose(tensor[0, :, :height, :width], 200, atol=2)


def test_yuv_and_rgb_of_the_same_picture_agree() -> None:
    rgb = quarters((64, 64))
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
    prepare = Preprocessor(RAW, (32, 32), F32)
    from_rgb = prepare(rgb)[0].copy()
    from_yuv = prepare(frame)[0]
    middle = np.s_[0, :, [4, 4, 28, 28], [4, 28, 4, 28]]
    np.testing.assert_allclose(from_yuv[middle], from_rgb[middle], atol=4)


def test_to_rgb_keeps_the_size_and_the_colours() -> None:
    rgb = to_rgb(yuv_frame(81, 90, 240, (62, 46)))
    assert rgb.shape == (46, 62, 3)
    np.testing.assert_allclose(rgb[20, 20], (255, 0, 0), atol=3)
    assert to_rgb(rgb) is rgb


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.uint8),  # grey
        np.zeros((4, 4, 4), np.uint8),  # with alpha
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_other_arrays_are_refused(picture: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"expected RGB of shape \(H, W, 3\) uint8"):
        as_frame(picture)


def test_a_view_that_is_not_contiguous_is_taken() -> None:
    rgb = quarters((64, 64))[:, ::-1]
    tensor, _ = Preprocessor(RAW, (64, 64), F32)(rgb)
    np.testing.assert_allclose(tensor[0, :, 5, 5], (0, 255, 0), atol=2)
