"""Clips for the benchmark camera."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import av
import numpy as np
import simplejpeg

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def packed_frames(
    clip: Path | None, size_wh: tuple[int, int], *, n_frames: int, step: int = 1
) -> bytes:
    """JPEG frames of a clip in one buffer, as ``pages/camera.js`` reads it.

    Parameters
    ----------
    clip : Path or None
        Video file; None makes a moving test pattern.
    size_wh : tuple of int
        Frames are stretched to it, in pixels.
    n_frames, step : int
        Take every ``step``-th frame until there are ``n_frames``.

    Returns
    -------
    bytes
        ``uint32`` count, then per frame ``uint32`` length and JPEG; little-endian.
    """
    pictures = _pattern(size_wh, n_frames) if clip is None else _read(clip, size_wh, n_frames, step)
    parts = [struct.pack("<I", len(pictures))]
    for picture in pictures:
        parts += [struct.pack("<I", len(picture)), picture]
    return b"".join(parts)


def _read(clip: Path, size_wh: tuple[int, int], n_frames: int, step: int) -> list[bytes]:
    pictures: list[bytes] = []
    with av.open(str(clip)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if len(pictures) == n_frames:
                break
            if index % step == 0:
                rgb = frame.reformat(*size_wh, format="rgb24").to_ndarray()
                pictures.append(_jpeg(rgb.astype(np.uint8, copy=False)))
    return pictures


def _pattern(size_wh: tuple[int, int], n_frames: int) -> list[bytes]:
    width, height = size_wh
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=2).astype(np.uint8)
    return [_jpeg(np.ascontiguousarray(np.roll(rgb, 4 * k, axis=1))) for k in range(n_frames)]


def _jpeg(rgb: NDArray[np.uint8]) -> bytes:
    return bytes(simplejpeg.encode_jpeg(rgb, quality=92))
