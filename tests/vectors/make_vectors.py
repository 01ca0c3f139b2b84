"""Write the vectors that every implementation must reproduce: Python's, later the browser's.

Expected values come from one-number-at-a-time arithmetic below, not from ``detect``. Run it after a
change, and look at the difference::

    python tests/vectors/make_vectors.py

A tensor is ``{"shape": [...], "data": [...]}`` in C order; a box is ``[x1, y1, x2, y2, score,
class_id]`` in pixels of the model's input; boxes are sorted by falling score.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

FOLDER = Path(__file__).parent
SIDE = 32  # of the made-up models' inputs: grids of 4x4, 2x2 and 1x1 cells
STRIDES = (8, 16, 32)
N_CELLS = 21
N_CLASSES = 3
THRESHOLD = 0.35
Row: TypeAlias = list[float]
Nested: TypeAlias = "float | list[Nested]"


def save(name: str, about: str, cases: list[dict[str, Any]]) -> None:
    text = json.dumps({"about": about, "cases": cases}, separators=(",", ":"))
    (FOLDER / f"{name}.json").write_text(text.replace('{"name"', '\n{"name"') + "\n")


def flat(value: Nested) -> list[float]:
    return [item for part in value for item in flat(part)] if isinstance(value, list) else [value]


def tensor(value: Nested) -> dict[str, Any]:
    shape: list[int] = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0]
    return {"shape": shape, "data": flat(value)}


def corners(cx: float, cy: float, w: float, h: float) -> Row:
    return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def best(scores: Row) -> tuple[float, int]:
    label = max(range(len(scores)), key=lambda i: scores[i])
    return scores[label], label


def cells() -> list[tuple[int, int, int]]:
    return [
        (column, row, stride)
        for stride in STRIDES
        for row in range(SIDE // stride)
        for column in range(SIDE // stride)
    ]


def decoded(found: list[tuple[Row, float, int]]) -> list[Row]:
    passing = [[*xyxy, score, label] for xyxy, score, label in found if score > THRESHOLD]
    return sorted(passing, key=lambda box: -box[4])


class Numbers:
    """Repeatable numbers of three decimals, so that float32 and float64 agree on which pass."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def between(self, low: float, high: float) -> float:
        return round(self._random.uniform(low, high), 3)

    def row(self, n: int, low: float, high: float) -> Row:
        return [self.between(low, high) for _ in range(n)]


def yolox(n: Numbers) -> tuple[list[Any], list[Row]]:
    rows = [[*n.row(2, -1, 1), *n.row(2, -1, 1.5), *n.row(4, 0, 1)] for _ in range(N_CELLS)]
    found = []
    for row, (column, line, stride) in zip(rows, cells(), strict=True):
        score, label = best(row[5:])
        x, y = (row[0] + column) * stride, (row[1] + line) * stride
        w, h = math.exp(row[2]) * stride, math.exp(row[3]) * stride
        found.append((corners(x, y, w, h), score * row[4], label))
    return [[rows]], decoded(found)


def yolov5(n: Numbers) -> tuple[list[Any], list[Row]]:
    rows = [[*n.row(2, 0, SIDE), *n.row(2, 1, 20), *n.row(4, 0, 1)] for _ in range(3 * N_CELLS)]
    found = []
    for row in rows:
        score, label = best(row[5:])
        found.append((corners(*row[:4]), score * row[4], label))
    return [[rows]], decoded(found)


def yolov8(n: Numbers) -> tuple[list[Any], list[Row]]:
    rows = [[*n.row(2, 0, SIDE), *n.row(2, 1, 20), *n.row(3, 0, 0.7)] for _ in range(N_CELLS)]
    found = [(corners(*row[:4]), *best(row[4:])) for row in rows]
    columns = [list(column) for column in zip(*rows, strict=True)]
    return [[columns]], decoded(found)


def yolov10(n: Numbers) -> tuple[list[Any], list[Row]]:
    rows = []
    for label in (2, 0, 1, 0, 2, 1):
        x, y = n.row(2, 0, 16)
        w, h = n.row(2, 1, 16)
        rows.append([x, y, round(x + w, 3), round(y + h, 3), n.between(0, 1), float(label)])
    return [[rows]], decoded([(row[:4], row[4], int(row[5])) for row in rows])


def nanodet(n: Numbers) -> tuple[list[Any], list[Row]]:
    outputs, found = [], []
    for stride in STRIDES:
        columns = SIDE // stride
        scores = [n.row(N_CLASSES, 0, 0.7) for _ in range(columns**2)]
        bins = [n.row(32, -2, 2) for _ in range(columns**2)]
        outputs += [scores, bins]
        for i in range(columns**2):
            left, top, right, bottom = (
                mean_bin(bins[i][side * 8 : side * 8 + 8]) * stride for side in range(4)
            )
            x, y = (i % columns + 0.5) * stride, (i // columns + 0.5) * stride
            found.append(([x - left, y - top, x + right, y + bottom], *best(scores[i])))
    return outputs, decoded(found)


def mean_bin(logits: Row) -> float:
    weights = [math.exp(value) for value in logits]
    return sum(i * weight for i, weight in enumerate(weights)) / sum(weights)


def fastestdet(n: Numbers) -> tuple[list[Any], list[Row]]:
    side = SIDE // 16
    rows = [[n.between(0.2, 1), *n.row(4, -2, 2), *n.row(3, 0, 1)] for _ in range(side**2)]
    found = []
    for i, row in enumerate(rows):
        score, label = best(row[5:])
        x = (i % side + math.tanh(row[1])) * 16
        y = (i // side + math.tanh(row[2])) * 16
        w, h = sigmoid(row[3]) * SIDE, sigmoid(row[4]) * SIDE
        found.append((corners(x, y, w, h), row[0] ** 0.6 * score**0.4, label))
    maps = [
        [[rows[y * side + x][channel] for x in range(side)] for y in range(side)]
        for channel in range(8)
    ]
    return [[maps]], decoded(found)


def ssd(n: Numbers) -> tuple[list[Any], list[Row]]:
    # Annotation numbers: person, stop sign, one that COCO never used, toothbrush, person (too weak)
    numbers, labels = [1.0, 13.0, 12.0, 90.0, 1.0], [0, 11, None, 79, 0]
    scores = [0.9, 0.8, 0.7, 0.6, 0.2]
    boxes = [[*n.row(2, 0, 0.4), *n.row(2, 0.5, 1)] for _ in numbers]
    found = [
        ([x1 * SIDE, y1 * SIDE, x2 * SIDE, y2 * SIDE], score, label)
        for (y1, x1, y2, x2), score, label in zip(boxes, scores, labels, strict=True)
        if label is not None
    ]
    return [[boxes], [numbers], [scores], [float(len(numbers))]], decoded(found)


DECODERS: dict[str, Callable[[Numbers], tuple[list[Any], list[Row]]]] = {
    "yolox": yolox,
    "yolov5": yolov5,
    "yolov8": yolov8,
    "yolov10": yolov10,
    "nanodet": nanodet,
    "fastestdet": fastestdet,
    "ssd": ssd,
}


def decode_case(family: str, seed: int) -> dict[str, Any]:
    outputs, boxes = DECODERS[family](Numbers(seed))
    return {
        "name": f"{family}, seed {seed}",
        "input_wh": [SIDE, SIDE],
        "n_classes": 80 if family == "ssd" else N_CLASSES,
        "score_threshold": THRESHOLD,
        "outputs": [tensor(output) for output in outputs],
        "boxes": boxes,
    }


def iou(a: Row, b: Row) -> float:
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union if union > 0 else 0.0


def iou_case(name: str, a: list[Row], b: list[Row]) -> dict[str, Any]:
    return {"name": name, "a": a, "b": b, "iou": [[iou(p, q) for q in b] for p in a]}


def nms_case(name: str, boxes: list[Row], iou_threshold: float) -> dict[str, Any]:
    order = sorted(range(len(boxes)), key=lambda i: -boxes[i][4])  # stable: earlier first on ties
    kept: list[int] = []
    for i in order:
        if all(
            boxes[i][5] != boxes[k][5] or iou(boxes[i], boxes[k]) <= iou_threshold for k in kept
        ):
            kept.append(i)
    return {"name": name, "boxes": boxes, "iou_threshold": iou_threshold, "kept": kept}


def crowd(seed: int) -> list[Row]:
    n = Numbers(seed)
    boxes = []
    for i in range(40):
        x, y = n.row(2, 0, 60)
        w, h = n.row(2, 15, 40)
        boxes.append([x, y, round(x + w, 3), round(y + h, 3), n.between(0.1, 1), i % 3])
    return boxes


def letterbox_case(name: str, source: Row, target: Row, fit: str) -> dict[str, Any]:
    content = list(target)
    if fit != "stretch":
        scale = min(target[0] / source[0], target[1] / source[1])
        content = [max(1, min(t, math.floor(s * scale + 0.5))) for s, t in zip(source, target)]  # noqa: B905
    offset = [(t - c) // 2 if fit == "centre" else 0 for t, c in zip(target, content, strict=True)]
    box = [target[0] * 0.25, target[1] * 0.25, target[0] * 0.5, target[1] * 2]
    back = [
        min(max((box[i] - offset[i % 2]) * source[i % 2] / content[i % 2], 0), source[i % 2])
        for i in range(4)
    ]
    return {
        "name": name,
        "source_wh": source,
        "input_wh": target,
        "fit": fit,
        "content_wh": content,
        "offset_xy_px": offset,
        "input_box": box,
        "source_box": back,
    }


def main() -> None:
    for family in DECODERS:
        about = f"Raw outputs of a made-up {family} model and its boxes before suppression."
        save(f"decode_{family}", about, [decode_case(family, seed) for seed in (1, 2)])
    save(
        "box_iou",
        "Intersection over union of every box of a with every box of b.",
        [
            iou_case("apart, touching, nested, same", [[0, 0, 10, 10]], [
                [20, 20, 30, 30], [10, 0, 20, 10], [2, 2, 4, 4], [0, 0, 10, 10],
            ]),
            iou_case("empty boxes", [[5, 5, 5, 5]], [[5, 5, 5, 5], [0, 0, 10, 10]]),
            iou_case("two by two", [[0, 0, 4, 4], [2, 2, 6, 6]], [[1, 1, 5, 5], [0, 3, 9, 4]]),
        ],
    )  # fmt: skip
    save(
        "nms",
        "Greedy suppression per class; kept: indices, best score first.",
        [
            nms_case("same place, two classes", [[0, 0, 9, 9, 0.8, 0], [0, 0, 9, 9, 0.9, 1]], 0.5),
            nms_case("equal scores: the first wins", [[0, 0, 9, 9, 0.5, 0]] * 2, 0.5),
            nms_case("overlap of exactly the threshold stays", [
                [0, 0, 4, 4, 0.9, 0], [0, 0, 4, 2, 0.8, 0],
            ], 0.5),
            nms_case("a chain: the middle goes, both ends stay", [
                [0, 0, 10, 10, 0.9, 0], [4, 0, 14, 10, 0.8, 0], [8, 0, 18, 10, 0.7, 0],
            ], 0.3),
            nms_case("no boxes", [], 0.5),
            nms_case("a crowd", crowd(1), 0.5),
            nms_case("a crowd, strict", crowd(2), 0.2),
        ],
    )  # fmt: skip
    save(
        "letterbox",
        "Where a picture lies inside a model's input, and a box taken back to the picture.",
        [
            letterbox_case("landscape, top left", [640, 480], [416, 416], "top_left"),
            letterbox_case("portrait, centred", [480, 640], [640, 640], "centre"),
            letterbox_case("odd remainder", [333, 251], [320, 320], "centre"),
            letterbox_case("half a pixel rounds up", [640, 427], [320, 320], "centre"),
            letterbox_case("smaller than the input", [100, 50], [416, 416], "top_left"),
            letterbox_case("very thin", [2000, 1], [416, 416], "centre"),
            letterbox_case("stretched", [640, 480], [352, 352], "stretch"),
        ],
    )


if __name__ == "__main__":
    main()
