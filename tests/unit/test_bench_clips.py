"""The clip the benchmark's camera plays: read back as ``pages/camera.js`` reads it."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import av
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from bench.clips import packed_frames

SIZE_WH = (64, 48)


def unpacked(packed: bytes) -> list[NDArray[np.uint8]]:
    (count,) = struct.unpack_from("<I", packed)
    pictures, at = [], 4
    for _ in range(count):
        (length,) = struct.unpack_from("<I", packed, at)
        jpeg = packed[at + 4 : at + 4 + length]
        assert len(jpeg) == length
        pictures.append(np.asarray(simplejpeg.decode_jpeg(jpeg), np.uint8))
        at += 4 + length
    assert at == len(packed), "nothing lies behind the last frame"
    return pictures


def write_clip(path: Path, levels: list[int]) -> None:
    """A video of plain grey frames, one per level, larger than the camera."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for level in levels:
            grey = np.full((96, 128, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))


def test_the_pattern_moves() -> None:
    pictures = unpacked(packed_frames(None, SIZE_WH, n_frames=3))
    assert [picture.shape for picture in pictures] == [(48, 64, 3)] * 3
    for before, after in itertools.pairwise(pictures):
        moved = np.roll(before, 4, axis=1)
        assert np.abs(moved.astype(int) - after).mean() < np.abs(before.astype(int) - after).mean()


def test_every_step_th_frame_of_a_clip_in_the_cameras_size(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    levels = [20, 50, 80, 110, 140, 170, 200]
    write_clip(clip, levels)
    pictures = unpacked(packed_frames(clip, SIZE_WH, n_frames=3, step=2))
    assert [picture.shape for picture in pictures] == [(48, 64, 3)] * 3
    assert np.allclose([picture.mean() for picture in pictures], levels[:6:2], atol=6)


def test_a_short_clip_gives_what_it_has(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    write_clip(clip, [60, 120])
    assert len(unpacked(packed_frames(clip, SIZE_WH, n_frames=10))) == 2
