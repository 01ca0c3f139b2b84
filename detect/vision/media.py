"""Read and write picture and video files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from detect.errors import MediaError
from detect.geometry import SizeWh
from detect.vision.preprocess import Picture, to_rgb

_ENCODERS = ("libx264", "mpeg4")
"""Tried in this order; the second is in every build of FFmpeg."""


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture as people see it: RGB, turned as its EXIF data says.

    Returns
    -------
    ndarray, shape (H, W, 3), uint8

    Raises
    ------
    MediaError
        If it cannot be read, or is no picture.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            return np.array(upright.convert("RGB"))
    except UnidentifiedImageError:
        raise MediaError(f"{path}: expected a picture (JPEG, PNG, WebP, …), got none.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{path}: cannot be read as a picture: {reason}.") from error


def write_picture(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write RGB in the format the ending of ``path`` names; makes its folder.

    Raises
    ------
    MediaError
        If the ending is unknown or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgb).save(path, quality=92)
    except (OSError, ValueError) as error:
        raise MediaError(f"{path}: cannot be written: {error}.") from error


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video file says about itself.

    Attributes
    ----------
    frame_rate : Fraction
        Frames per second on average.
    n_frames : int or None
        How many frames there are, about; None where the file does not tell.
    """

    frame_rate: Fraction
    n_frames: int | None


@dataclass(frozen=True, slots=True)
class VideoPicture:
    """One frame of a video.

    Attributes
    ----------
    index : int
        Counts from 0.
    time_s : float
        From the start of the video.
    picture : av.VideoFrame or ndarray
        Upright: an RGB array when the file asks for a rotation.
    """

    index: int
    time_s: float
    picture: Picture


@contextmanager
def open_video(path: Path) -> Iterator[tuple[VideoInfo, Iterator[VideoPicture]]]:
    """Open a video and decode it picture by picture.

    Raises
    ------
    MediaError
        If it cannot be opened, has no video, or breaks while it is decoded.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise MediaError(f"{path}: expected a video, got a file without one.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            info = _info(stream)
            yield info, _pictures(container.decode(stream), info.frame_rate)
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: cannot be read as a video: {error.strerror}.") from error


def _info(stream: VideoStream) -> VideoInfo:
    rate = stream.average_rate or stream.guessed_rate or Fraction(30)
    duration_s = (stream.duration or 0) * (stream.time_base or 0)
    from_duration = int(duration_s * rate)
    return VideoInfo(rate, stream.frames or from_duration or None)


def _pictures(frames: Iterable[av.VideoFrame], frame_rate: Fraction) -> Iterator[VideoPicture]:
    start_s: float | None = None
    for index, frame in enumerate(frames):
        time_s = float(index / frame_rate) if frame.pts is None else frame.time
        if start_s is None:
            start_s = time_s
        yield VideoPicture(index, time_s - start_s, _upright(frame))


def _upright(frame: av.VideoFrame) -> Picture:
    """Turn a picture as its display matrix says (phones film sideways and say so)."""
    quarter_turns = round(frame.rotation / 90) % 4
    if not quarter_turns:
        return frame
    return np.ascontiguousarray(np.rot90(to_rgb(frame), quarter_turns))


class VideoWriter:
    """Write RGB pictures of one size as an MP4 file. Close it, or use it in a ``with``.

    Parameters
    ----------
    path : Path
        Of the file; its folder is made.
    size_wh : tuple of int
        Of the pictures. An odd last column or row is left out: H.264 halves the colours.
    frame_rate : Fraction
        Pictures per second.

    Raises
    ------
    MediaError
        If the file cannot be made.
    """

    def __init__(self, path: Path, size_wh: SizeWh, frame_rate: Fraction) -> None:
        self._path = path
        self._is_closed = False
        self._even_wh = size_wh[0] // 2 * 2, size_wh[1] // 2 * 2
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(path), "w")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise MediaError(f"{path}: cannot be written: {error}.") from error
        name = next(name for name in _ENCODERS if name in av.codecs_available)
        rate = frame_rate.limit_denominator(1001)
        # PyAV types the result by the codec name, which is not a literal here.
        self._stream = cast(VideoStream, self._container.add_stream(name, rate))
        self._stream.width, self._stream.height = self._even_wh
        self._stream.pix_fmt = "yuv420p"

    def __enter__(self) -> Self:
        return self

    def write(self, rgb: NDArray[np.uint8]) -> None:
        """Append one picture, shape (H, W, 3)."""
        width, height = self._even_wh
        cut = np.ascontiguousarray(rgb[:height, :width])
        self._encode(av.VideoFrame.from_ndarray(cut, format="rgb24"))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what the encoder still holds and finish the file; may be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._encode(None)
        finally:
            self._container.close()

    def _encode(self, frame: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (av.error.FFmpegError, OSError) as error:
            raise MediaError(f"{self._path}: cannot be written: {error}.") from error
