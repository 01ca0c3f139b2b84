"""Families, suppression, and the way back; decoding itself is in contract/test_vectors.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detect.errors import ModelError
from detect.geometry import Fit, box_iou, place
from detect.vision.classes import COCO_80, COCO_IDS, class_names, names_in_metadata
from detect.vision.decoders import Candidates, DecodeContext, Signature, decode_nanodet
from detect.vision.postprocess import (
    FAMILIES,
    MAX_BOXES,
    Family,
    batched_nms,
    decide,
    find_family,
)
from detect.vision.preprocess import InputStyle

F32 = np.dtype(np.float32)


# --- classes


def test_coco_has_80_classes_in_model_order() -> None:
    assert len(COCO_80) == len(set(COCO_80)) == len(COCO_IDS) == 80
    assert (COCO_80[0], COCO_80[39], COCO_80[79]) == ("person", "bottle", "toothbrush")
    assert list(COCO_IDS) == sorted(COCO_IDS)
    assert (COCO_IDS[0], COCO_IDS[79]) == (1, 90)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{0: 'cat', 1: 'dog'}", ("cat", "dog")),
        ("{1: 'dog', 0: 'cat'}", ("cat", "dog")),  # any order
        ("['cat', 'dog']", ("cat", "dog")),
        ("{0: 'cat', 2: 'dog'}", ()),  # a hole
        ("__import__('os').getcwd()", ()),  # code is not run
        ("{0: 'cat'", ()),
        ("7", ()),
        ("", ()),
        ("[" * 200_000, ()),
        (f"{{0: '{'x' * 100}'}}", ("x" * 64,)),  # a name of bounded length
    ],
)
def test_names_in_metadata(text: str, names: tuple[str, ...]) -> None:
    assert names_in_metadata({"names": text}) == names


def test_class_names_fall_back() -> None:
    assert class_names({"names": "['cat']"}, 1) == ("cat",)
    assert class_names({"names": "['cat']"}, 80) == COCO_80  # a count that does not fit
    assert class_names({}, 2) == ("class 0", "class 1")


# --- recognising a family


def signature(
    *output_shapes: tuple[int, ...],
    input_shape: tuple[int, ...] = (1, 3, 640, 640),
    **metadata: str,
) -> Signature:
    names = tuple(f"o{i}" for i in range(len(output_shapes)))
    return Signature(input_shape, F32, names, output_shapes, metadata)


NANODET = [(1600, 80), (400, 80), (100, 80), (1600, 32), (400, 32), (100, 32)]


@pytest.mark.parametrize(
    ("seen", "family", "n_classes"),
    [
        (signature((1, 3549, 85), input_shape=(1, 3, 416, 416)), "yolox", 80),
        (signature((1, 25200, 85)), "yolov5", 80),
        (signature((1, 25200, 6)), "yolov5", 1),  # one class looks like a row of YOLOv10
        (signature((1, 25200, 85), (1, 3, 80, 80, 85)), "yolov5", 80),  # raw heads left in
        (signature((1, 84, 8400)), "yolov8", 80),
        (signature((1, 6, 8400)), "yolov8", 2),
        (signature((1, 6, 5040), input_shape=(1, 3, 384, 640)), "yolov8", 2),
        (signature((1, 300, 6)), "yolov10", 80),
        (signature((1, 300, 6), names="['a', 'b']"), "yolov10", 2),
        (signature(*NANODET, input_shape=(1, 3, 320, 320)), "nanodet", 80),
        (signature((1, 85, 22, 22), input_shape=(1, 3, 352, 352)), "fastestdet", 80),
        (
            signature((1, 9, 4), (1, 9), (1, 9), (1,), input_shape=(1, 300, 300, 3)),
            "ssd",
            80,
        ),
    ],
)
def test_families_are_recognised(seen: Signature, family: str, n_classes: int) -> None:
    assert find_family(seen) == (family, n_classes)
    assert find_family(seen, family) == (family, n_classes)


@pytest.mark.parametrize(
    "seen",
    [
        signature((1, 1000)),  # a classifier
        signature((1, 21, 640, 640)),  # segmentation
        signature(),
        signature((1, 12345, 85)),  # no grid has so many cells
    ],
)
def test_what_is_no_detector_is_refused(seen: Signature) -> None:
    with pytest.raises(ModelError, match="Known families: yolox"):
        find_family(seen)


def test_the_wrong_family_is_refused() -> None:
    with pytest.raises(ModelError, match="does not look like yolox"):
        find_family(signature((1, 84, 8400)), "yolox")
    with pytest.raises(ModelError, match="expected one of yolox"):
        find_family(signature((1, 84, 8400)), "yolo9000")


def test_more_than_one_fitting_family_asks_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    twins = {"one": FAMILIES["yolov8"], "two": FAMILIES["yolov8"]}
    monkeypatch.setattr("detect.vision.postprocess.FAMILIES", twins)
    with pytest.raises(ModelError, match=r"fits one, two .* choose with --family"):
        find_family(signature((1, 84, 8400)))


# --- suppression


crowds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def crowd(
    random: np.random.Generator, n: int = 60
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    corner = random.uniform(0, 80, (n, 2))
    xyxy = np.concatenate([corner, corner + random.uniform(5, 40, (n, 2))], axis=1)
    score = random.uniform(0, 1, n)
    class_id = random.integers(0, 3, n)
    return xyxy.astype(np.float32), score.astype(np.float32), class_id.astype(np.int32)


@given(random=crowds, iou_threshold=st.floats(0.1, 0.9))
def test_survivors_are_sorted_and_apart(random: np.random.Generator, iou_threshold: float) -> None:
    xyxy, score, class_id = crowd(random)
    kept = batched_nms(xyxy, score, class_id, iou_threshold)
    assert (np.diff(score[kept]) <= 0).all()
    iou = box_iou(xyxy[kept], xyxy[kept])
    same_class = class_id[kept][:, None] == class_id[kept]
    np.fill_diagonal(same_class, False)
    assert (iou[same_class] <= iou_threshold + 1e-5).all()


@given(random=crowds)
def test_every_suppressed_box_overlaps_a_better_survivor(random: np.random.Generator) -> None:
    xyxy, score, class_id = crowd(random)
    kept = batched_nms(xyxy, score, class_id, 0.5)
    for gone in set(range(len(score))) - set(kept.tolist()):
        rivals = kept[(class_id[kept] == class_id[gone]) & (score[kept] >= score[gone])]
        assert (box_iou(xyxy[[gone]], xyxy[rivals]) > 0.5 - 1e-5).any()


def test_the_number_of_boxes_is_bounded() -> None:
    n = 2000
    x = np.arange(n, dtype=np.float32) * 10
    xyxy = np.stack([x, x * 0, x + 5, x * 0 + 5], axis=1)
    kept = batched_nms(xyxy, np.ones(n, np.float32), np.zeros(n, np.int32), 0.5)
    assert kept.tolist() == list(range(MAX_BOXES))


# --- all together


def family_that_finds(
    *rows: tuple[float, float, float, float, float, int], suppresses_itself: bool = False
) -> Family:
    array = np.array(rows, np.float32).reshape(-1, 6)
    found = Candidates(array[:, :4], array[:, 4], array[:, 5].astype(np.int32))
    return Family(
        "made up",
        InputStyle(Fit.CENTRE),
        lambda outputs, context: found,
        lambda signature: 2,
        suppresses_itself,
    )


CONTEXT = DecodeContext((64, 64), n_classes=2, score_threshold=0.1)
PLACEMENT = place((128, 64), (64, 64), Fit.CENTRE)  # half size, 16 pixels down


def test_boxes_come_back_in_source_pixels_best_first() -> None:
    family = family_that_finds((0, 16, 10, 26, 0.5, 0), (10, 20, 20, 30, 0.9, 1))
    found = decide(family, [], CONTEXT, PLACEMENT, 0.5)
    assert found.xyxy_px.tolist() == [[20, 8, 40, 28], [0, 0, 20, 20]]
    assert found.class_id.tolist() == [1, 0]


@pytest.mark.parametrize("suppresses_itself", [False, True])
def test_doubles_go_unless_the_model_suppresses_them_itself(suppresses_itself: bool) -> None:
    box = (0, 16, 10, 26, 0.5, 0)
    family = family_that_finds(box, box, suppresses_itself=suppresses_itself)
    found = decide(family, [], CONTEXT, PLACEMENT, 0.5)
    assert len(found) == (2 if suppresses_itself else 1)


@pytest.mark.parametrize(
    "row",
    [
        (0, 0, 60, 15, 0.9, 0),  # in the padding
        (5, 20, 5, 30, 0.9, 0),  # no width
        (9, 20, 5, 30, 0.9, 0),  # inside out
        (np.nan, 20, 5, 30, 0.9, 0),
        (5, 20, 9, 30, 0.9, 7),  # a class there is not
        (5, 20, 9, 30, 0.9, -1),
    ],
)
def test_what_is_no_box_is_left_out(row: tuple[float, float, float, float, float, int]) -> None:
    assert len(decide(family_that_finds(row), [], CONTEXT, PLACEMENT, 0.5)) == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_that_sees_nothing_gives_no_boxes(name: str) -> None:
    shapes: dict[str, list[tuple[int, ...]]] = {
        "yolox": [(1, 84, 85)],
        "yolov5": [(1, 252, 85)],
        "yolov8": [(1, 84, 84)],
        "yolov10": [(1, 300, 6)],
        "nanodet": [(64, 80), (16, 80), (4, 80), (64, 32), (16, 32), (4, 32)],
        "fastestdet": [(1, 85, 4, 4)],
        "ssd": [(1, 9, 4), (1, 9), (1, 9), (1,)],
    }
    outputs = [np.zeros(shape, np.float32) for shape in shapes[name]]
    context = DecodeContext((64, 64), 80, 0.35)
    assert len(decide(FAMILIES[name], outputs, context, PLACEMENT, 0.5)) == 0


@pytest.mark.parametrize("name", ["yolox", "yolov5", "yolov8", "yolov10", "fastestdet"])
def test_half_precision_outputs_are_decoded(name: str) -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "yolox": (1, 84, 85),
        "yolov5": (1, 252, 85),
        "yolov8": (1, 84, 84),
        "yolov10": (1, 300, 6),
        "fastestdet": (1, 85, 4, 4),
    }
    output = np.random.default_rng(1).uniform(0, 1, shapes[name]).astype(np.float16)
    found = FAMILIES[name].decode([output], DecodeContext((64, 64), 80, 0.2))
    assert found.xyxy_px.dtype == found.score.dtype == np.float32
    assert len(found.score) > 0


def test_nanodet_classes_that_are_logits_go_through_a_sigmoid() -> None:
    outputs: list[NDArray[Any]] = []
    for n in (64, 16, 4):
        outputs += [np.full((n, 3), -9, np.float32), np.zeros((n, 32), np.float32)]
    outputs[0][5, 1] = 2.0
    found = decode_nanodet(outputs, DecodeContext((64, 64), 3, 0.35))
    assert found.class_id.tolist() == [1]
    np.testing.assert_allclose(found.score, 1 / (1 + np.exp(-2)), rtol=1e-5)


def test_ssd_outputs_are_told_apart_by_name() -> None:
    outputs = {
        "detection_scores:0": np.array([[0.9]], np.float32),
        "num_detections:0": np.array([1], np.float32),
        "detection_boxes:0": np.array([[[0.25, 0, 0.75, 0.5]]], np.float32),
        "detection_classes:0": np.array([[3]], np.float32),
    }
    context = DecodeContext((100, 100), 80, 0.35, tuple(outputs))
    found = FAMILIES["ssd"].decode(list(outputs.values()), context)
    assert found.xyxy_px.tolist() == [[0, 25, 50, 75]]
    assert COCO_80[found.class_id[0]] == "car"


def test_huge_raw_sides_do_not_overflow() -> None:
    output = np.full((1, 84, 85), 1e4, np.float32)
    found = FAMILIES["yolox"].decode([output], DecodeContext((64, 64), 80, 0.35))
    assert np.isfinite(found.xyxy_px).all()
    assert (found.score <= 1).all()
