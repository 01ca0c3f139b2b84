"""Geometry, suppression and decoders against answers that ``make_vectors.py`` computed apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detect.geometry import Fit, box_iou, place
from detect.vision.decoders import DecodeContext
from detect.vision.postprocess import FAMILIES, batched_nms

FOLDER = Path(__file__).parents[1] / "vectors"


def cases(name: str) -> list[Any]:
    content = json.loads((FOLDER / f"{name}.json").read_text())
    return [pytest.param(case, id=case["name"]) for case in content["cases"]]


def boxes_array(rows: list[list[float]], n_columns: int = 4) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, n_columns)


@pytest.mark.parametrize("case", cases("box_iou"))
def test_box_iou(case: dict[str, Any]) -> None:
    got = box_iou(boxes_array(case["a"]), boxes_array(case["b"]))
    np.testing.assert_allclose(got, case["iou"], atol=1e-6)


@pytest.mark.parametrize("case", cases("nms"))
def test_nms(case: dict[str, Any]) -> None:
    boxes = boxes_array(case["boxes"], 6)
    kept = batched_nms(
        boxes[:, :4], boxes[:, 4], boxes[:, 5].astype(np.int32), case["iou_threshold"]
    )
    assert kept.tolist() == case["kept"]


@pytest.mark.parametrize("case", cases("letterbox"))
def test_letterbox(case: dict[str, Any]) -> None:
    placement = place(tuple(case["source_wh"]), tuple(case["input_wh"]), Fit(case["fit"]))
    assert placement.content_wh == tuple(case["content_wh"])
    assert placement.offset_xy_px == tuple(case["offset_xy_px"])
    got = placement.to_source(boxes_array([case["input_box"]]))
    np.testing.assert_allclose(got[0], case["source_box"], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(
    ("family", "case"),
    [
        pytest.param(family, *param.values, id=param.id)
        for family in FAMILIES
        for param in cases(f"decode_{family}")
    ],
)
def test_decode(family: str, case: dict[str, Any]) -> None:
    outputs = [
        np.array(output["data"], np.float32).reshape(output["shape"]) for output in case["outputs"]
    ]
    context = DecodeContext(
        tuple(case["input_wh"]), case["n_classes"], score_threshold=case["score_threshold"]
    )
    found = FAMILIES[family].decode(outputs, context)
    order = np.argsort(-found.score, kind="stable")
    wanted = boxes_array(case["boxes"], 6)
    assert len(wanted) > 0
    np.testing.assert_allclose(found.xyxy_px[order], wanted[:, :4], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.score[order], wanted[:, 4], atol=1e-5)
    assert found.class_id[order].tolist() == wanted[:, 5].tolist()
    dtypes = [str(part.dtype) for part in (found.xyxy_px, found.score, found.class_id)]
    assert dtypes == ["float32", "float32", "int32"]
