from __future__ import annotations

import struct
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from detect.errors import MediaError
from detect.geometry import SizeWh
from detect.types import Detections
from detect.vision.annotate import class_colour, draw_detections, label_text
from detect.vision.media import VideoWriter, open_video, read_picture, write_picture

NAMES = ("person", "bicycle")


def grey(size_wh: SizeWh = (200, 150)) -> NDArray[np.uint8]:
    return np.full((size_wh[1], size_wh[0], 3), 128, np.uint8)


def found(
    *boxes: tuple[float, float, float, float], score: float = 0.87, track_id: int = -1
) -> Detections:
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(n, score, np.float32),
        np.zeros(n, np.int32),
        np.full(n, track_id, np.int32),
    )


def test_the_frame_of_a_box_has_the_colour_of_its_class() -> None:
    rgb = draw_detections(grey(), found((50, 60, 120, 140)), NAMES)
    for x, y in ((50, 100), (120, 100), (85, 60), (85, 140)):
        assert tuple(rgb[y, x]) == class_colour(0)
    assert tuple(rgb[100, 85]) == (128, 128, 128)  # the inside is untouched


def test_a_label_is_written_above_the_box() -> None:
    rgb = draw_detections(grey(), found((50, 60, 120, 140)), NAMES)
    label = rgb[48:59, 50:110].reshape(-1, 3)
    assert (label == class_colour(0)).all(axis=1).any()
    assert len(np.unique(label, axis=0)) > 2  # ground, ink and the edges of letters


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 60, 60),  # no room above
        (190, 60, 199, 140),  # no room to the right
        (-50, -50, 300, 300),  # larger than the picture
        (10, 140, 12, 149),  # tiny
    ],
)
def test_labels_at_the_edges_are_fine(box: tuple[float, float, float, float]) -> None:
    rgb = draw_detections(grey(), found(box), NAMES)
    assert rgb.shape == (150, 200, 3)
    assert (rgb == class_colour(0)).all(axis=2).any()


def test_the_original_is_not_drawn_on() -> None:
    rgb = grey()
    draw_detections(rgb, found((50, 60, 120, 140)), NAMES)
    assert (rgb == 128).all()


def test_nothing_found_changes_nothing() -> None:
    assert (draw_detections(grey(), Detections.empty(), NAMES) == 128).all()


@pytest.mark.parametrize(
    ("track_id", "names", "text"),
    [
        (-1, NAMES, "person 87%"),
        (3, NAMES, "person 87% #3"),
        (-1, (), "class 0 87%"),
    ],
)
def test_labels_say_class_score_and_track(track_id: int, names: tuple[str, ...], text: str) -> None:
    assert label_text(found((0, 0, 1, 1), track_id=track_id), 0, names) == text


def test_neighbouring_classes_have_different_colours() -> None:
    colours = [class_colour(class_id) for class_id in range(80)]
    assert len(set(colours)) > 70
    for one, other in pairwise(colours):
        assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 60


# --- files


def test_pictures_are_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "grey.png"
    write_picture(path, grey())
    np.testing.assert_array_equal(read_picture(path), grey())


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    path = tmp_path / "sideways.jpg"
    image = Image.fromarray(grey((200, 100)))
    exif = image.getexif()
    exif[0x0112] = 6  # orientation: turn by a quarter
    image.save(path, exif=exif)
    assert read_picture(path).shape == (200, 100, 3)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "picture.tiff"
    Image.new(mode, (8, 6)).save(path)
    assert read_picture(path).shape == (6, 8, 3)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff\xe0 not a whole JPEG"])
def test_what_is_no_picture_is_a_media_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"picture\.jpg"):
        read_picture(path)


def test_a_missing_picture_is_a_media_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="No such file"):
        read_picture(tmp_path / "none.jpg")


def test_an_unknown_ending_is_a_media_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="cannot be written"):
        write_picture(tmp_path / "picture.nothing", grey())


def write_video(path: Path, size_wh: SizeWh, n_frames: int) -> None:
    with VideoWriter(path, size_wh, Fraction(10)) as writer:
        for i in range(n_frames):
            writer.write(np.full((size_wh[1], size_wh[0], 3), 20 * i, np.uint8))


@pytest.mark.parametrize("size_wh", [(64, 48), (65, 49)])
def test_videos_are_written_and_read(tmp_path: Path, size_wh: SizeWh) -> None:
    path = tmp_path / "new" / "clip.mp4"
    write_video(path, size_wh, 12)
    with open_video(path) as (info, pictures):
        items = list(pictures)
    assert info.frame_rate == 10
    assert info.n_frames == 12
    assert [item.index for item in items] == list(range(12))
    np.testing.assert_allclose([item.time_s for item in items], np.arange(12) / 10, atol=1e-3)
    picture = items[5].picture
    assert isinstance(picture, av.VideoFrame)
    assert (picture.width, picture.height) == (64, 48)
    np.testing.assert_allclose(picture.to_ndarray(format="rgb24")[20, 20], 100, atol=6)


def test_videos_filmed_sideways_are_turned_upright(tmp_path: Path) -> None:
    path = tmp_path / "phone.mp4"
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:24, :32] = 255  # top left
    with VideoWriter(path, (64, 48), Fraction(10)) as writer:
        writer.write(rgb)
    # The track header's matrix (ISO/IEC 14496-12 §8.3.2), from identity to a quarter clockwise.
    one = 1 << 16
    identity = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    clockwise = struct.pack(">9i", 0, one, 0, -one, 0, 0, 48 * one, 0, 1 << 30)
    content = path.read_bytes()
    at = content.index(identity, content.index(b"tkhd"))
    path.write_bytes(content[:at] + clockwise + content[at + len(identity) :])

    with open_video(path) as (_, pictures):
        picture = next(pictures).picture

    assert isinstance(picture, np.ndarray)
    assert picture.shape == (64, 48, 3)
    assert picture[10, 40].min() > 240  # what was top left is now top right
    assert picture[10, 8].max() < 15


@pytest.mark.parametrize("content", [b"", b"hello"])
def test_what_is_no_video_is_a_media_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match="cannot be read as a video"), open_video(path):
        pass


def test_sound_alone_is_a_media_error(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", 8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(MediaError, match="without one"), open_video(path):
        pass


def test_a_writer_may_be_closed_twice(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "clip.mp4", (64, 48), Fraction(30000, 1001))
    writer.write(grey((64, 48)))
    writer.close()
    writer.close()
