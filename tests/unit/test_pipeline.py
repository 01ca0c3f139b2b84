from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from detect.errors import EngineError, ModelError
from detect.geometry import box_iou
from detect.vision.engine import NullEngine, TensorSpec
from detect.vision.pipeline import ModelSpec, Pipeline, load_pipeline
from tests.unit.onnx_files import constant_model, save

F32 = np.dtype(np.float32)


def yolox_output() -> NDArray[np.float32]:
    """One box of class 1 in the only cell of stride 32: centre (16, 16), 32 pixels wide."""
    output = np.zeros((1, 21, 7), np.float32)
    output[0, 20] = [0.5, 0.5, 0, 0, 0.9, 0.1, 0.8]
    return output


def made_up_pipeline() -> tuple[Pipeline, NullEngine]:
    engine = NullEngine([yolox_output()], TensorSpec("images", (1, 3, 32, 32), F32))
    spec = ModelSpec("made-up", "yolox", (32, 32), ("cat", "dog"), "", Path())
    ticks = count(1)
    return Pipeline(spec, engine, now=lambda: next(ticks)), engine


@pytest.mark.parametrize("kind", ["array", "frame"])
def test_boxes_are_in_pixels_of_the_picture(kind: str) -> None:
    pipeline, _ = made_up_pipeline()
    rgb = np.zeros((64, 64, 3), np.uint8)
    picture = rgb if kind == "array" else av.VideoFrame(64, 64, "yuv420p")
    output = pipeline(picture, score_threshold=0.3, iou_threshold=0.5)
    assert output.detections.xyxy_px.tolist() == [[0, 0, 64, 64]]
    assert output.detections.class_id.tolist() == [1]
    np.testing.assert_allclose(output.detections.score, [0.72], rtol=1e-6)


def test_steps_are_timed_in_order() -> None:
    pipeline, _ = made_up_pipeline()
    output = pipeline(np.zeros((64, 64, 3), np.uint8), score_threshold=0.3, iou_threshold=0.5)
    assert (output.prepared_ns, output.inferred_ns, output.decided_ns) == (1, 2, 3)


def test_the_threshold_is_taken_at_each_call() -> None:
    pipeline, _ = made_up_pipeline()
    rgb = np.zeros((64, 64, 3), np.uint8)
    assert len(pipeline(rgb, score_threshold=0.73, iou_threshold=0.5).detections) == 0
    assert len(pipeline(rgb, score_threshold=0.71, iou_threshold=0.5).detections) == 1


def test_pictures_may_change_their_size() -> None:
    pipeline, _ = made_up_pipeline()
    for width, height in ((64, 64), (128, 64), (48, 96)):
        found = pipeline(
            np.zeros((height, width, 3), np.uint8), score_threshold=0.3, iou_threshold=0.5
        ).detections
        assert (found.xyxy_px <= [width, height, width, height]).all()


def test_warm_up_runs_and_close_closes() -> None:
    pipeline, engine = made_up_pipeline()
    pipeline.warm_up()
    assert engine.n_runs > 0
    pipeline.close()
    pipeline.close()
    with pytest.raises(EngineError, match="closed"):
        pipeline(np.zeros((8, 8, 3), np.uint8), score_threshold=0.3, iou_threshold=0.5)


def test_a_users_own_file_is_recognised(tmp_path: Path) -> None:
    model = constant_model({"output": yolox_output()}, metadata={"names": "['cat', 'dog']"})
    path = save(tmp_path / "pets.onnx", model)

    pipeline = load_pipeline(str(path), threads=1)

    spec = pipeline.spec
    assert (spec.name, spec.family, spec.input_wh) == ("pets", "yolox", (32, 32))
    assert (spec.class_names, spec.path) == (("cat", "dog"), path)
    assert len(spec.sha256) == 64
    assert (pipeline.provider, pipeline.threads, pipeline.notice) == ("cpu", 1, None)
    rgb = np.zeros((64, 64, 3), np.uint8)
    assert len(pipeline(rgb, score_threshold=0.3, iou_threshold=0.5).detections) == 1


def test_a_free_input_takes_the_size_in_the_metadata(tmp_path: Path) -> None:
    model = constant_model(
        {"output": np.zeros((1, 6, 42), np.float32)},  # cells of 64 x 32
        input_shape=("batch", 3, "height", "width"),
        metadata={"imgsz": "[32, 64]"},
    )
    spec = load_pipeline(str(save(tmp_path / "free.onnx", model))).spec
    assert (spec.family, spec.input_wh) == ("yolov8", (64, 32))
    assert spec.class_names == ("class 0", "class 1")


def test_an_absurd_size_in_the_metadata_is_refused(tmp_path: Path) -> None:
    model = constant_model(
        {"output": np.zeros((1, 6, 42), np.float32)},
        input_shape=(1, 3, "height", "width"),
        metadata={"imgsz": "[9999, 9999]"},
    )
    with pytest.raises(ModelError, match="9999 x 9999"):
        load_pipeline(str(save(tmp_path / "huge.onnx", model)))


def test_rows_of_bytes_are_an_ssd(tmp_path: Path) -> None:
    model = constant_model(
        {
            "detection_boxes": np.array([[[0.25, 0, 0.75, 0.5]]], np.float32),
            "detection_classes": np.array([[18]], np.float32),
            "detection_scores": np.array([[0.9]], np.float32),
            "num_detections": np.array([1], np.float32),
        },
        input_shape=(1, "height", "width", 3),
        dtype="uint8",
    )
    pipeline = load_pipeline(str(save(tmp_path / "ssd.onnx", model)))
    assert (pipeline.spec.family, pipeline.spec.input_wh) == ("ssd", (300, 300))
    found = pipeline(
        np.zeros((100, 200, 3), np.uint8), score_threshold=0.3, iou_threshold=0.5
    ).detections
    np.testing.assert_allclose(found.xyxy_px, [[0, 25, 100, 75]], rtol=1e-5)
    assert pipeline.spec.class_names[found.class_id[0]] == "dog"


def test_half_precision_files_run(tmp_path: Path) -> None:
    model = constant_model({"output": yolox_output().astype(np.float16)}, dtype="float16")
    pipeline = load_pipeline(str(save(tmp_path / "half.onnx", model)))
    rgb = np.zeros((64, 64, 3), np.uint8)
    assert len(pipeline(rgb, score_threshold=0.3, iou_threshold=0.5).detections) == 1


def test_a_classifier_is_refused(tmp_path: Path) -> None:
    model = constant_model({"output": np.zeros((1, 1000), np.float32)})
    with pytest.raises(ModelError, match="Known families"):
        load_pipeline(str(save(tmp_path / "classifier.onnx", model)))


def test_the_family_can_be_named(tmp_path: Path) -> None:
    path = save(tmp_path / "x.onnx", constant_model({"output": yolox_output()}))
    assert load_pipeline(str(path), family="yolox").spec.family == "yolox"
    with pytest.raises(ModelError, match="yolov8"):
        load_pipeline(str(path), family="yolov8")


# --- real models


REAL = {
    "yolox-nano": (416, 416),
    "nanodet-m-320": (320, 320),
    "fastestdet": (352, 352),
    "yolov5n-fp16": (640, 640),
    "yolov5n-int8": (640, 640),
    "yolov8n-int8": (640, 640),
}


@pytest.mark.model
@pytest.mark.parametrize("by", ["name", "path"])
@pytest.mark.parametrize("name", REAL)
def test_real_models_see_the_bus_and_its_people(
    name: str, by: str, models_dirs: list[Path], test_media: Path
) -> None:
    from PIL import Image

    from detect.zoo import load_registry, local_file

    entry = load_registry()[name]
    path = local_file(entry)
    if path is None:
        pytest.skip(f"{entry.file} is not in {os.environ['DETECT_MODELS']}")
    pipeline = load_pipeline(name if by == "name" else str(path))
    assert pipeline.spec.name == name
    assert pipeline.spec.input_wh == REAL[name]

    rgb = np.asarray(Image.open(test_media / "bus.jpg").convert("RGB"))
    found = pipeline(rgb, score_threshold=0.35, iou_threshold=0.5).detections

    labels = [pipeline.spec.class_names[class_id] for class_id in found.class_id]
    assert labels.count("bus") == 1
    assert labels.count("person") >= 3
    bus = np.array([[12, 230, 806, 738]], np.float32)
    assert box_iou(bus, found.xyxy_px)[0, labels.index("bus")] > 0.8
    pipeline.close()
