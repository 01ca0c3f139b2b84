"""JPEG from YUV planes: right colours, right size, every stride."""

from __future__ import annotations

import av
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from detect.server.jpeg import JpegEncoder, shrunk_wh


def gradient(width: int, height: int) -> NDArray[np.uint8]:
    """Smooth colours over the whole range: what JPEG keeps almost exactly."""
    x = np.linspace(0, 255, width)[None, :] * np.ones((height, 1))
    y = np.linspace(0, 255, height)[:, None] * np.ones((1, width))
    return np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)


def frame(rgb: NDArray[np.uint8], pixel_format: str = "yuv420p") -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pixel_format)


@pytest.mark.parametrize("size_wh", [(640, 480), (480, 640), (638, 362), (641, 479), (16, 16)])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "nv12", "rgb24", "yuv422p"])
def test_colours_survive(size_wh: tuple[int, int], pixel_format: str) -> None:
    rgb = gradient(*size_wh)
    jpeg = JpegEncoder(quality=90).encode(frame(rgb, pixel_format))
    decoded = simplejpeg.decode_jpeg(jpeg)
    assert decoded.shape == rgb.shape
    # 4:2:0 colour and quality 90: a few levels. Wrong range or matrix: more than 8.
    assert np.abs(decoded.astype(int) - rgb).mean() < 4


@pytest.mark.parametrize("level", [0, 255])
def test_black_is_black_and_white_is_white(level: int) -> None:
    rgb = np.full((48, 64, 3), level, np.uint8)
    decoded = simplejpeg.decode_jpeg(JpegEncoder().encode(frame(rgb)))
    assert np.abs(decoded.astype(int) - level).max() <= 2


def test_a_size_that_changes_from_frame_to_frame() -> None:
    encoder = JpegEncoder()
    for size_wh in [(640, 480), (320, 240), (480, 640), (640, 480)]:
        decoded = simplejpeg.decode_jpeg(encoder.encode(frame(gradient(*size_wh))))
        assert decoded.shape[1::-1] == size_wh


def test_large_pictures_shrink() -> None:
    jpeg = JpegEncoder().encode(frame(gradient(1920, 1080)))
    assert simplejpeg.decode_jpeg(jpeg).shape == (720, 1280, 3)


@pytest.mark.parametrize(
    ("size_wh", "expected"),
    [
        ((640, 480), (640, 480)),
        ((1280, 720), (1280, 720)),
        ((641, 479), (641, 479)),
        ((1920, 1080), (1280, 720)),
        ((1080, 1920), (720, 1280)),
        ((4000, 3), (1280, 2)),
    ],
)
def test_shrunk_wh(size_wh: tuple[int, int], expected: tuple[int, int]) -> None:
    assert shrunk_wh(*size_wh, 1280) == expected
