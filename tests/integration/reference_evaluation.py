"""What a model file reaches on the test photographs, by a slow reading of the papers.

Nothing here is taken from ``detect``: pictures are read by Pillow, resized by a plain bilinear
formula without anti-aliasing (what the models' own evaluations do), decoded box by box and scored
by pycocotools. ``test_accuracy.py`` compares the product with the numbers this file printed into
``accuracy_reference.json``. To renew them::

    DETECT_MODELS=… DETECT_TEST_MEDIA=… python tests/integration/reference_evaluation.py
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Array = NDArray[Any]
Session: TypeAlias = ort.InferenceSession
Box: TypeAlias = tuple[
    float, float, float, float, float, int
]  # x1, y1, x2, y2 (source px), score, class

Decoder: TypeAlias = Callable[[Session, Array], tuple[Iterable[Box], Any]]

SCORE_THRESHOLD = 0.001
IOU_THRESHOLD = 0.65
MAX_BOXES = 100
STRIDES = (8, 16, 32)


def resize(picture: Array, width: int, height: int) -> Array:
    """Bilinear, pixel centres at half, no anti-aliasing."""

    def axis(n_out: int, n_in: int) -> tuple[Array, Array, Array]:
        at = np.clip((np.arange(n_out) + 0.5) * n_in / n_out - 0.5, 0, n_in - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, n_in - 1), at - low

    y0, y1, fy = axis(height, picture.shape[0])
    x0, x1, fx = axis(width, picture.shape[1])
    p = picture.astype(np.float32)
    top = p[y0][:, x0] * (1 - fx)[:, None] + p[y0][:, x1] * fx[:, None]
    bottom = p[y1][:, x0] * (1 - fx)[:, None] + p[y1][:, x1] * fx[:, None]
    blended: Array = top * (1 - fy)[:, None, None] + bottom * fy[:, None, None]
    return np.round(blended)


def letterbox(picture: Array, side: int, *, centred: bool, pad: float = 114) -> tuple[Array, Any]:
    """Square picture and the function that takes its points back."""
    h, w = picture.shape[:2]
    scale = min(side / h, side / w)
    new_w, new_h = round(w * scale), round(h * scale)
    left, top = ((side - new_w) // 2, (side - new_h) // 2) if centred else (0, 0)
    square = np.full((side, side, 3), pad, np.float32)
    square[top : top + new_h, left : left + new_w] = resize(picture, new_w, new_h)
    return square, lambda x, y: ((x - left) / scale, (y - top) / scale)


def stretch(picture: Array, side: int) -> tuple[Array, Any]:
    h, w = picture.shape[:2]
    return resize(picture, side, side), lambda x, y: (x * w / side, y * h / side)


def to_input(square: Array, dtype: type[np.generic] = np.float32) -> Array:
    return np.ascontiguousarray(square.transpose(2, 0, 1)[None]).astype(dtype)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def corners(cx: float, cy: float, w: float, h: float) -> tuple[float, float, float, float]:
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def yolox(session: Session, rgb: Array) -> tuple[Iterable[Box], Any]:
    square, back = letterbox(rgb, 416, centred=False)
    (out,) = session.run(None, {"images": to_input(square[..., ::-1])})
    return _yolox_boxes(out[0]), back


def _yolox_boxes(rows: Array) -> Iterator[Box]:
    index = 0
    for stride in STRIDES:
        for gy in range(416 // stride):
            for gx in range(416 // stride):
                row = rows[index]
                index += 1
                label = int(row[5:].argmax())
                score = float(row[4] * row[5 + label])
                if score > SCORE_THRESHOLD:
                    w, h = np.exp(row[2:4]) * stride
                    x, y = (row[0] + gx) * stride, (row[1] + gy) * stride
                    yield (*corners(x, y, w, h), score, label)


def yolov5(session: Session, rgb: Array) -> tuple[Iterable[Box], Any]:
    square, back = letterbox(rgb, 640, centred=True)
    kind = np.float16 if "16" in session.get_inputs()[0].type else np.float32
    out = session.run(None, {"images": to_input(square / 255, kind)})[0][0].astype(np.float32)
    return _yolov5_boxes(out), back


def _yolov5_boxes(rows: Array) -> Iterator[Box]:
    for row in rows[rows[:, 4] > SCORE_THRESHOLD]:
        label = int(row[5:].argmax())
        score = float(row[4] * row[5 + label])
        if score > SCORE_THRESHOLD:
            yield (*corners(*row[:4]), score, label)


def yolov8(session: Session, rgb: Array) -> tuple[Iterable[Box], Any]:
    square, back = letterbox(rgb, 640, centred=True)
    (out,) = session.run(None, {"images": to_input(square / 255)})
    return _yolov8_boxes(out[0].T), back


def _yolov8_boxes(rows: Array) -> Iterator[Box]:
    for row in rows[rows[:, 4:].max(axis=1) > SCORE_THRESHOLD]:
        label = int(row[4:].argmax())
        yield (*corners(*row[:4]), float(row[4 + label]), label)


def nanodet(session: Session, rgb: Array) -> tuple[Iterable[Box], Any]:
    square, back = letterbox(rgb, 320, centred=True, pad=0)
    mean, std = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
    bgr = (square[..., ::-1] - mean) / std
    by_shape = {out.shape: out for out in session.run(None, {"image": to_input(bgr)})}
    return _nanodet_boxes(by_shape), back


def _nanodet_boxes(by_shape: dict[tuple[int, ...], Array]) -> Iterator[Box]:
    for stride in STRIDES:
        side = 320 // stride
        scores, distances = by_shape[(side * side, 80)], by_shape[(side * side, 32)]
        for i in np.flatnonzero(scores.max(axis=1) > SCORE_THRESHOLD):
            bins = distances[i].reshape(4, 8).astype(np.float64)
            weights = np.exp(bins) / np.exp(bins).sum(axis=1, keepdims=True)
            left, top, right, bottom = weights @ np.arange(8) * stride
            cx, cy = (i % side + 0.5) * stride, (i // side + 0.5) * stride
            label = int(scores[i].argmax())
            yield cx - left, cy - top, cx + right, cy + bottom, float(scores[i, label]), label


def fastestdet(session: Session, rgb: Array) -> tuple[Iterable[Box], Any]:
    square, back = stretch(rgb, 352)
    (out,) = session.run(None, {"input.1": to_input(square[..., ::-1] / 255)})
    return _fastestdet_boxes(out[0]), back


def _fastestdet_boxes(maps: Array) -> Iterator[Box]:
    for gy in range(22):
        for gx in range(22):
            cell = maps[:, gy, gx]
            label = int(cell[5:].argmax())
            score = float(cell[0] ** 0.6 * cell[5 + label] ** 0.4)
            if score > SCORE_THRESHOLD:
                cx, cy = (gx + np.tanh(cell[1])) * 16, (gy + np.tanh(cell[2])) * 16
                w, h = sigmoid(cell[3:5]) * 352
                yield (*corners(cx, cy, w, h), score, label)


def overlap(a: Box, b: Box) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    inter = w * h
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def suppress(boxes: Iterable[Box]) -> list[Box]:
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda b: -b[4]):
        if all(box[5] != k[5] or overlap(box, k) <= IOU_THRESHOLD for k in kept):
            kept.append(box)
        if len(kept) == MAX_BOXES:
            break
    return kept


def detections_of(decoder: Decoder, session: Session, rgb: Array) -> list[Box]:
    boxes, back = decoder(session, rgb)
    h, w = rgb.shape[:2]
    found = []
    for x1, y1, x2, y2, score, label in suppress(boxes):
        (a, b), (c, d) = back(x1, y1), back(x2, y2)
        found.append((max(a, 0), max(b, 0), min(c, w), min(d, h), score, label))
    return found


def average_precision(coco: COCO, rows: list[dict[str, Any]]) -> tuple[float, float]:
    """AP50-95 and AP50 by pycocotools, quietly."""
    with redirect_stdout(StringIO()):
        evaluation = COCOeval(coco, coco.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def open_coco(media: Path) -> COCO:
    with redirect_stdout(StringIO()):
        return COCO(str(media / "coco_val" / "instances.json"))


def coco_row(image_id: int, category_id: int, box: Box) -> dict[str, Any]:
    x1, y1, x2, y2, score, _ = box
    bbox = [float(x1), float(y1), float(x2 - x1), float(y2 - y1)]
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score}


def evaluate(path: Path, decoder: Decoder, coco: COCO, media: Path) -> tuple[float, float]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    categories = sorted(coco.cats)
    rows = []
    for image in coco.imgs.values():
        rgb = np.asarray(
            Image.open(media / "coco_val" / "images" / image["file_name"]).convert("RGB")
        )
        rows += [
            coco_row(image["id"], categories[box[5]], box)
            for box in detections_of(decoder, session, rgb)
        ]
    return average_precision(coco, rows)


MODELS = {
    "yolox_nano.onnx": yolox,
    "yolov5n_fp16.onnx": yolov5,
    "yolov5n_quant_640.onnx": yolov5,
    "yolov8n_int8.onnx": yolov8,
    "nanodet_m_320.onnx": nanodet,
    "FastestDet.onnx": fastestdet,
}


def main() -> None:
    media = Path(os.environ["DETECT_TEST_MEDIA"])
    folder = Path(os.environ["DETECT_MODELS"].split(os.pathsep)[0])
    coco = open_coco(media)
    only = sys.argv[1:] or list(MODELS)
    result = {}
    for name in only:
        ap, ap50 = evaluate(folder / name, MODELS[name], coco, media)
        result[name] = {"ap50_95": round(ap, 4), "ap50": round(ap50, 4)}
        sys.stdout.write(f"{name} {ap:.4f} {ap50:.4f}\n")
    target = Path(__file__).with_name("accuracy_reference.json")
    if len(only) == len(MODELS):
        target.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
