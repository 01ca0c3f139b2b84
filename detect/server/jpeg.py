"""JPEG straight from the decoder's YUV planes.

A decoded frame is already what JPEG stores: luma and two quarter-size colour planes. Encoding
them directly skips the way through RGB and back. What does differ is the *range*: video uses luma
16 to 235, JPEG 0 to 255. Left alone, black turns grey (mean error 8.8 grey levels against 1.7,
measured on a 640x480 camera picture), so one libswscale pass (0.6 ms) widens it; the same pass
shrinks pictures larger than a page shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

if TYPE_CHECKING:
    import av
    from numpy.typing import NDArray

QUALITY = 78
"""Artefacts are not visible at the size a page shows; 25 to 50 KB at 640x480."""

MAX_SIDE_PX = 1280
"""Longer sides are shrunk to this: a 1080p picture would cost three times the time and bytes."""


class JpegEncoder:
    """Frames to JPEG. Keeps libswscale's context; use one per thread."""

    def __init__(self, *, quality: int = QUALITY, max_side_px: int = MAX_SIDE_PX) -> None:
        self._quality = quality
        self._max_side_px = max_side_px
        self._reformatter = VideoReformatter()

    def encode(self, picture: av.VideoFrame) -> bytes:
        """JPEG (JFIF, 4:2:0) of ``picture``, which may have any pixel format and size."""
        full = self._full_range(picture)
        y, u, v = (_plane(plane) for plane in full.planes[:3])
        data: bytes = simplejpeg.encode_jpeg_yuv_planes(y, u, v, quality=self._quality)
        return data

    def _full_range(self, picture: av.VideoFrame) -> av.VideoFrame:
        """``picture`` as full-range BT.601 ``yuv420p`` of at most ``max_side_px``."""
        width, height = shrunk_wh(picture.width, picture.height, self._max_side_px)
        is_full = picture.color_range == ColorRange.JPEG
        # JFIF knows one matrix only, BT.601; high-definition H264 may come in BT.709.
        is_709 = picture.colorspace == Colorspace.ITU709
        is_planar = picture.format.name in ("yuv420p", "yuvj420p")
        if is_full and is_planar and not is_709 and (width, height) == _size(picture):
            return picture
        return self._reformatter.reformat(
            picture,
            width=width,
            height=height,
            format="yuv420p",
            src_colorspace=Colorspace.ITU709 if is_709 else None,
            dst_colorspace=Colorspace.ITU601 if is_709 else None,
            src_color_range=ColorRange.JPEG if is_full else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
        )


def shrunk_wh(width: int, height: int, max_side_px: int) -> tuple[int, int]:
    """Even size with the same shape whose longer side is at most ``max_side_px``.

    Sizes that fit are returned as they are, odd ones too.
    """
    longer = max(width, height)
    if longer <= max_side_px:
        return width, height
    return tuple(  # type: ignore[return-value]  # two sides in, two sides out
        max(2, round(side * max_side_px / longer / 2) * 2) for side in (width, height)
    )


def _size(picture: av.VideoFrame) -> tuple[int, int]:
    return picture.width, picture.height


def _plane(plane: av.video.plane.VideoPlane) -> NDArray[np.uint8]:
    """View of one plane, shape (height, width): rows are longer in memory than the picture."""
    rows = np.frombuffer(memoryview(plane), np.uint8)[: plane.line_size * plane.height]
    view: NDArray[np.uint8] = rows.reshape(plane.height, plane.line_size)[:, : plane.width]
    return view
