"""The product's accuracy, against what the same files reach by a slow independent reading.

``accuracy_reference.json`` was printed by ``reference_evaluation.py`` (89 photographs of COCO
val2017, score threshold 0.001, onnxruntime 1.32 on a CPU). Both take the best class per box.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from detect.vision.pipeline import Pipeline, load_pipeline
from detect.zoo import load_registry

pytest.importorskip("pycocotools")

from pycocotools.coco import COCO

from tests.integration.reference_evaluation import average_precision, coco_row, open_coco

REFERENCE = json.loads(Path(__file__).with_name("accuracy_reference.json").read_text())

pytestmark = [pytest.mark.model, pytest.mark.integration]


@pytest.fixture(scope="module")
def media() -> Path:
    folder = os.environ.get("DETECT_TEST_MEDIA")
    if not folder or not (Path(folder) / "coco_val" / "instances.json").is_file():
        pytest.skip("DETECT_TEST_MEDIA names no folder with coco_val")
    return Path(folder)


@pytest.fixture(scope="module")
def coco(media: Path) -> COCO:
    return open_coco(media)


@pytest.fixture(scope="module")
def pictures(media: Path, coco: COCO) -> dict[int, NDArray[np.uint8]]:
    folder = media / "coco_val" / "images"
    return {
        image["id"]: np.asarray(Image.open(folder / image["file_name"]).convert("RGB"))
        for image in coco.imgs.values()
    }


def rows_of(pipeline: Pipeline, image_id: int, picture: NDArray[np.uint8], coco: COCO) -> list[Any]:
    categories = sorted(coco.cats)
    found = pipeline(picture, score_threshold=0.001, iou_threshold=0.65).detections
    boxes = zip(found.xyxy_px.tolist(), found.score.tolist(), found.class_id.tolist(), strict=True)
    return [
        coco_row(image_id, categories[label], (*xyxy, score, label)) for xyxy, score, label in boxes
    ]


@pytest.mark.parametrize("name", load_registry())
def test_accuracy_is_that_of_the_reference(
    name: str, coco: COCO, pictures: dict[int, NDArray[np.uint8]]
) -> None:
    entry = load_registry()[name]
    pipeline = _open(name)
    rows = [
        row
        for image_id, picture in pictures.items()
        for row in rows_of(pipeline, image_id, picture, coco)
    ]
    ap50_95, ap50 = average_precision(coco, rows)
    reference = REFERENCE[entry.file]
    assert abs(ap50_95 - reference["ap50_95"]) < 0.01
    assert abs(ap50 - reference["ap50"]) < 0.02
    assert entry.measured_ap50_95 == pytest.approx(ap50_95, abs=0.005)
    assert entry.measured_ap50 == pytest.approx(ap50, abs=0.005)


def _open(name: str) -> Pipeline:
    pipeline = load_pipeline(name, allow_download=False)
    if pipeline.spec.name != name:
        pytest.skip(f"{name} is not in the folders of DETECT_MODELS")
    return pipeline
