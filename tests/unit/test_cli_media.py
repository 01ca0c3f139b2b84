from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from detect.cli import app
from detect.errors import MediaError
from detect.vision.annotate import class_colour
from detect.vision.media import VideoWriter, open_video, read_picture, write_picture
from tests.unit.onnx_files import constant_model, save


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A model that sees one dog in the middle quarter of every picture."""
    output = np.zeros((1, 21, 7), np.float32)
    output[0, 20] = [0.5, 0.5, np.log(0.5), np.log(0.5), 0.9, 0.1, 0.8]
    made = constant_model({"output": output}, metadata={"names": "['cat', '[b]dog[/b]']"})
    return str(save(tmp_path / "pets.onnx", made))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "grey.png"
    write_picture(path, np.full((128, 128, 3), 128, np.uint8))
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, (128, 128), Fraction(10)) as writer:
        for _ in range(7):
            writer.write(np.full((128, 128, 3), 128, np.uint8))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_image_shows_a_table(picture: Path, model: str) -> None:
    result = run("image", picture, "--model", model)
    assert result.exit_code == 0, result.output
    assert "1 objects" in " ".join(result.stdout.split())
    assert "[b]dog[/b]" in result.stdout  # a class name is no markup
    assert "0.72" in result.stdout


def test_image_writes_one_json_line_per_picture(picture: Path, model: str) -> None:
    result = run("image", picture, picture, "--model", model, "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(rows) == 2
    assert rows[0]["size_wh"] == [128, 128]
    (box,) = rows[0]["detections"]
    assert (box["class_id"], box["score"]) == (1, 0.72)
    np.testing.assert_allclose(box["xyxy_px"], [32, 32, 96, 96], atol=0.2)


def test_image_obeys_the_threshold(picture: Path, model: str) -> None:
    result = run("image", picture, "--model", model, "--json", "--score-threshold", "0.73")
    assert json.loads(result.stdout)["detections"] == []


def test_image_saves_a_picture_with_boxes(picture: Path, model: str, tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    result = run("image", picture, "--model", model, "--json", "--save", target)
    assert "saved" in result.stderr
    assert len(result.stdout.splitlines()) == 1
    assert tuple(read_picture(target)[64, 32]) == class_colour(1)


def test_image_saves_many_pictures_into_a_folder(picture: Path, model: str, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(picture.read_bytes())
    run("image", picture, other, "--model", model, "--save", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["grey.png", "other.png"]


@pytest.mark.parametrize(
    ("names", "save_as", "message"),
    [
        (["grey.png", "grey.png"], "out.png", "expected a folder"),
        (["grey.png", "grey.png"], "out", "the same name"),
        (["grey.png"], "grey.png", "overwrite"),
    ],
)
def test_image_refuses_to_overwrite(
    picture: Path, model: str, names: list[str], save_as: str, message: str
) -> None:
    files = [picture.parent / name for name in names]
    before = picture.read_bytes()
    result = run("image", *files, "--model", model, "--save", picture.parent / save_as)
    assert result.exit_code != 0
    assert message in result.output
    assert picture.read_bytes() == before


def test_image_of_no_picture_is_a_media_error(tmp_path: Path, model: str) -> None:
    result = run("image", tmp_path / "none.jpg", "--model", model)
    assert isinstance(result.exception, MediaError)


def test_video_shows_a_summary(clip: Path, model: str) -> None:
    result = run("video", clip, "--model", model)
    assert result.exit_code == 0, result.output
    assert "7 frames" in " ".join(result.stdout.split())
    assert "[b]dog[/b]" in result.stdout


def test_video_writes_json_lines_with_tracks(clip: Path, model: str) -> None:
    result = run("video", clip, "--model", model, "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["frame"] for row in rows] == list(range(7))
    assert {row["detections"][0]["track_id"] for row in rows} == {1}
    np.testing.assert_allclose([row["time_s"] for row in rows], np.arange(7) / 10, atol=1e-3)


def test_video_looks_at_every_nth_frame(clip: Path, model: str) -> None:
    result = run("video", clip, "--model", model, "--json", "--every", "3")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["frame"] for row in rows] == [0, 3, 6]


def test_video_keeps_tracks_when_it_looks_seldom(tmp_path: Path, model: str) -> None:
    path = tmp_path / "slow.mp4"
    with VideoWriter(path, (128, 128), Fraction(1, 2)) as writer:  # a frame every 2 s
        for _ in range(3):
            writer.write(np.full((128, 128, 3), 128, np.uint8))
    result = run("video", path, "--model", model, "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert {row["detections"][0]["track_id"] for row in rows} == {1}


def test_video_saves_an_mp4_with_boxes(clip: Path, model: str, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    result = run("video", clip, "--model", model, "--save", target, "--every", "2")
    assert result.exit_code == 0, result.output
    with open_video(target) as (info, pictures):
        n_frames = len(list(pictures))
    assert n_frames == 4
    assert info.frame_rate == 5  # half of the clip's: it plays at the same speed


def test_video_refuses_other_endings(clip: Path, model: str, tmp_path: Path) -> None:
    result = run("video", clip, "--model", model, "--save", tmp_path / "out.avi")
    assert result.exit_code != 0
    assert "ending in .mp4" in result.output


def test_video_of_no_video_is_a_media_error(tmp_path: Path, model: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_text("no video")
    result = run("video", path, "--model", model)
    assert isinstance(result.exception, MediaError)
