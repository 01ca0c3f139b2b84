"""Frame numbers survive what a video path does to a picture, and are never misread quietly."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.e2e import frame_code

NUMBERS = [0, 1, 255, 256, 0b1010101010101010, 0b0101010101010101, 40_000, 65_535]


def busy_picture(seed: int, size_wh: tuple[int, int] = (640, 480)) -> NDArray[np.uint8]:
    """Noise on a gradient: hard to code, so the coder has to save somewhere."""
    rng = np.random.default_rng(seed)
    width, height = size_wh
    ramp = np.linspace(0, 200, width)[None, :, None]
    noise = rng.integers(0, 55, (height, width, 3))
    return (ramp + noise).astype(np.uint8)


@given(st.integers(0, frame_code.MAX_NUMBER))
def test_every_number_comes_back(number: int) -> None:
    levels = [255.0 if is_white else 0.0 for is_white in frame_code.encode(number)]
    assert len(levels) == frame_code.N_CELLS
    assert frame_code.decode(levels) == number


@given(st.integers(0, frame_code.MAX_NUMBER), st.integers(2, frame_code.N_CELLS - 1))
def test_one_wrong_cell_is_refused(number: int, cell: int) -> None:
    levels = [255.0 if is_white else 0.0 for is_white in frame_code.encode(number)]
    levels[cell] = 255.0 - levels[cell]
    assert frame_code.decode(levels) is None


@pytest.mark.parametrize("number", [-1, 65_536])
def test_numbers_that_do_not_fit_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match="expected 0 to 65535"):
        frame_code.encode(number)


def test_a_wrong_count_of_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 26"):
        frame_code.decode([0.0] * 25)


@pytest.mark.parametrize("level", [0.0, 128.0, 255.0])
def test_a_plain_picture_holds_no_code(level: float) -> None:
    assert frame_code.decode([level] * frame_code.N_CELLS) is None


def test_a_picture_without_code_reads_none() -> None:
    assert frame_code.read(busy_picture(1)) is None


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("quality", [90, 40, 15])
def test_jpeg_noise(number: int, quality: int) -> None:
    picture = busy_picture(number)
    frame_code.draw(picture, number)
    coded = simplejpeg.encode_jpeg(picture, quality=quality, colorsubsampling="420")
    assert frame_code.read(simplejpeg.decode_jpeg(coded)) == number


@pytest.mark.parametrize("size_wh", [(320, 240), (480, 360), (480, 640), (1280, 720)])
def test_scaled_copies_read_the_same(size_wh: tuple[int, int]) -> None:
    picture = busy_picture(7)
    frame_code.draw(picture, 12_345)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    scaled = frame.reformat(width=size_wh[0], height=size_wh[1], format="rgb24").to_ndarray()
    assert frame_code.read(np.asarray(scaled, np.uint8)) == 12_345


def test_vp8_at_a_low_bitrate() -> None:
    coder = av.CodecContext.create("libvpx", "w")
    coder.width, coder.height, coder.pix_fmt = 640, 480, "yuv420p"
    coder.time_base = Fraction(1, 30)
    coder.bit_rate = 500_000
    coder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    decoder = av.CodecContext.create("libvpx", "r")
    numbers: list[int | None] = []
    for number in range(30):
        picture = busy_picture(3)
        frame_code.draw(picture, number * 2_111)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts = number
        for packet in coder.encode(frame):
            numbers += [
                frame_code.read(np.asarray(each.to_ndarray(format="rgb24"), np.uint8))
                for each in decoder.decode(packet)
            ]
    assert numbers == [number * 2_111 for number in range(30)]
