"""One decoder per family: raw outputs → candidate boxes in pixels of the model's input.

Each takes the outputs and a :class:`DecodeContext` and knows nothing of pictures, suppression or
other families. Cheap tests come first: only rows that can still reach the threshold are touched
again. ``tests/vectors/decode_<family>.json`` hold what each must give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detect.geometry import SizeWh, cxcywh_to_xyxy
from detect.vision.classes import COCO_IDS

STRIDES = (8, 16, 32)
"""Pixels per cell of the three grids that all anchor-free families here share."""

_MAX_LOG_SIDE = 10.0
"""``exp`` of a raw side is cut here (22 000 cells), so that a broken model cannot overflow."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What can be known of a model without knowing its family.

    Attributes
    ----------
    input_shape : tuple of int
        Of the tensor it was run with.
    input_dtype : dtype
        Of that tensor.
    output_names : tuple of str
        As in the file.
    output_shapes : tuple of tuple of int
        What a run really gave; files are known to declare others.
    metadata : mapping of str to str
        Custom metadata of the file.
    """

    input_shape: tuple[int, ...]
    input_dtype: np.dtype[Any]
    output_names: tuple[str, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_packed(self) -> bool:
        """Whether the input is (1, H, W, 3) instead of (1, 3, H, W)."""
        return self.input_shape[3] == 3

    @property
    def input_wh(self) -> SizeWh:
        """Width and height of the input in pixels."""
        _, a, b, c = self.input_shape
        return (b, a) if self.is_packed else (c, b)


@dataclass(frozen=True, slots=True)
class DecodeContext:
    """What a decoder needs besides the outputs.

    Attributes
    ----------
    input_wh : tuple of int
        Size of the model's input in pixels.
    n_classes : int
        How many classes it knows.
    score_threshold : float
        Boxes must score higher.
    output_names : tuple of str
        Names of the outputs, for families that tell them apart by name.
    """

    input_wh: SizeWh
    n_classes: int
    score_threshold: float
    output_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Boxes before suppression, in no order.

    Attributes
    ----------
    xyxy_px : ndarray, shape (N, 4), float32
        In pixels of the model's input.
    score : ndarray, shape (N,), float32
        In [0, 1].
    class_id : ndarray, shape (N,), int32
        Index into the model's class names.
    """

    xyxy_px: NDArray[np.float32]
    score: NDArray[np.float32]
    class_id: NDArray[np.int32]


Decoder: TypeAlias = Callable[[Sequence[NDArray[Any]], DecodeContext], Candidates]


def decode_yolox(outputs: Sequence[NDArray[Any]], context: DecodeContext) -> Candidates:
    """YOLOX (https://arxiv.org/abs/2107.08430): raw (1, cells, 5 + classes).

    A row is ``dx, dy, log w, log h`` in cells, objectness, class scores (both already sigmoid).
    """
    rows = outputs[0][0]
    at = np.flatnonzero(rows[:, 4] > context.score_threshold)
    rows = rows[at].astype(np.float32, copy=False)
    best = _best_class(rows[:, 5:], context.score_threshold, weight=rows[:, 4])
    rows, cells = rows[best.rows], _grid(context.input_wh)[at[best.rows]]
    stride = cells[:, 2:]
    centre = (rows[:, :2] + cells[:, :2]) * stride
    side = np.exp(np.minimum(rows[:, 2:4], _MAX_LOG_SIDE)) * stride
    return best.candidates(cxcywh_to_xyxy(np.concatenate([centre, side], axis=1)))


def decode_yolov5(outputs: Sequence[NDArray[Any]], context: DecodeContext) -> Candidates:
    """YOLOv5: (1, anchors, 5 + classes), rows ``cx, cy, w, h`` in pixels, objectness, classes.

    Further outputs (the raw heads some exporters leave in) are ignored.
    """
    rows = _first_3d(outputs)[0]
    rows = rows[rows[:, 4] > context.score_threshold].astype(np.float32, copy=False)
    best = _best_class(rows[:, 5:], context.score_threshold, weight=rows[:, 4])
    return best.candidates(cxcywh_to_xyxy(rows[best.rows, :4]))


def decode_yolov8(outputs: Sequence[NDArray[Any]], context: DecodeContext) -> Candidates:
    """YOLOv8 and YOLO11: (1, 4 + classes, cells), columns ``cx, cy, w, h`` in pixels, classes."""
    columns = _first_3d(outputs)[0]
    at = np.flatnonzero(columns[4:].max(axis=0) > context.score_threshold)
    rows = columns[:, at].T.astype(np.float32, copy=False)
    best = _best_class(rows[:, 4:], context.score_threshold)
    return best.candidates(cxcywh_to_xyxy(rows[best.rows, :4]))


def decode_yolov10(outputs: Sequence[NDArray[Any]], context: DecodeContext) -> Candidates:
    """YOLOv10 end to end (https://arxiv.org/abs/2405.14458): (1, boxes, 6), already suppressed.

    A row is ``x1, y1, x2, y2`` in pixels, score, class.
    """
    rows = outputs[0][0].astype(np.float32, copy=False)
    rows = rows[rows[:, 4] > context.score_threshold]
    return Candidates(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32))


def decode_nanodet(outputs: Sequence[NDArray[Any]], context: DecodeContext) -> Candidates:
    """NanoDet: per stride class scores (cells, classes) and distances (cells, 4 x bins).

    A side's distance from the cell's centre is the mean of a distribution over bins, in cells
    (Generalized Focal Loss, https://arxiv.org/abs/2006.04388). Outputs are told apart by their
    shapes, since exporters mix the names up. Class scores that are still logits are recognised by
    negative values.
    """
    parts = []
    by_shape = {array.shape[-2:]: array.reshape(array.shape[-2:]) for array in outputs}
    for stride in STRIDES:
        n_cells = n_cells_of(context.input_wh, stride)
        scores = by_shape[n_cells, context.n_classes]
        distances = next(
            array
            for (rows, columns), array in by_shape.items()
            if rows == n_cells and columns != context.n_classes
        )
        parts.append(_decode_nanodet_level(scores, distances, stride, context))
    return _joined(parts)


def _decode_nanodet_level(
    scores: NDArray[Any], distances: NDArray[Any], stride: int, context: DecodeContext
) -> Candidates:
    if scores.min() < 0:
        scores = _sigmoid(scores)
    at = np.flatnonzero(scores.max(axis=1) > context.score_threshold)
    best = _best_class(scores[at].astype(np.float32, copy=False), context.score_threshold)
    at = at[best.rows]
    bins = distances[at].astype(np.float32, copy=False).reshape(len(at), 4, distances.shape[1] // 4)
    weights = np.exp(bins - bins.max(axis=2, keepdims=True))
    steps = np.arange(bins.shape[2], dtype=np.float32)
    mean = (weights @ steps) / weights.sum(axis=2) * np.float32(stride)  # (N, 4): l, t, r, b
    n_columns = -(-context.input_wh[0] // stride)
    centre = np.stack([at % n_columns, at // n_columns], axis=1).astype(np.float32)
    centre = (centre + np.float32(0.5)) * np.float32(stride)
    return best.candidates(np.concatenate([centre - mean[:, :2], centre + mean[:, 2:]], axis=1))


def decode_fastestdet(outputs: Sequence[NDArray[Any]], context: DecodeContext) -> Candidates:
    """FastestDet (https://github.com/dog-qiuqiu/FastestDet): (1, 5 + classes, rows, columns).

    Score is ``objectness^0.6 · class^0.4``; offsets from the cell go through tanh, sides (as a
    share of the input) through a sigmoid.
    """
    maps = outputs[0][0]
    n_columns = maps.shape[2]
    columns = maps.reshape(len(maps), -1)
    # class ≤ 1, so objectness^0.6 bounds the score
    at = np.flatnonzero(columns[0] > context.score_threshold ** (1 / 0.6))
    rows = columns[:, at].T.astype(np.float32, copy=False)
    best = _best_class(rows[:, 5:] ** 0.4, context.score_threshold, weight=rows[:, 0] ** 0.6)
    rows, at = rows[best.rows], at[best.rows]
    size = np.array(context.input_wh, np.float32)
    cell = np.stack([at % n_columns, at // n_columns], axis=1).astype(np.float32)
    centre = (cell + np.tanh(rows[:, 1:3])) * (size / np.array(maps.shape[:0:-1], np.float32))
    side = _sigmoid(rows[:, 3:5]) * size
    return best.candidates(cxcywh_to_xyxy(np.concatenate([centre, side], axis=1)))


def decode_ssd(outputs: Sequence[NDArray[Any]], context: DecodeContext) -> Candidates:
    """SSD-MobileNet as exported from TensorFlow's detection API: four outputs, already suppressed.

    Boxes (1, N, 4) are ``y1, x1, y2, x2`` as shares of the picture, classes (1, N) are COCO's
    annotation numbers 1-90, then scores (1, N) and their count (1,).
    """
    boxes, classes, scores, n_valid = _ssd_outputs(outputs, context.output_names)
    n = int(n_valid.reshape(-1)[0])
    score = scores.reshape(-1)[:n].astype(np.float32, copy=False)
    class_id = _coco_index(classes.reshape(-1)[:n])
    keep = (score > context.score_threshold) & (class_id >= 0)
    size = np.array([*context.input_wh, *context.input_wh], np.float32)
    xyxy_norm = boxes.reshape(-1, 4)[:n][keep][:, [1, 0, 3, 2]].astype(np.float32, copy=False)
    return Candidates(xyxy_norm * size, score[keep], class_id[keep])


_SSD_ORDER = ("boxes", "classes", "scores", "num")


def _ssd_outputs(
    outputs: Sequence[NDArray[Any]], names: tuple[str, ...]
) -> tuple[NDArray[Any], ...]:
    """Boxes, classes, scores, count: by their names, else in TensorFlow's order."""
    by_word = {
        word: array
        for word in _SSD_ORDER
        for name, array in zip(names, outputs, strict=False)
        if word in name.lower()
    }
    if len(by_word) == len(_SSD_ORDER):
        return tuple(by_word[word] for word in _SSD_ORDER)
    return tuple(outputs[:4])


def _coco_index(numbers: NDArray[Any]) -> NDArray[np.int32]:
    """Annotation numbers → indices into ``COCO_80``; -1 where there is no such class."""
    table = np.full(COCO_IDS[-1] + 2, -1, np.int32)
    table[list(COCO_IDS)] = np.arange(len(COCO_IDS), dtype=np.int32)
    wanted = np.clip(np.rint(numbers), 0, len(table) - 1).astype(np.intp)
    indices: NDArray[np.int32] = table[wanted]
    return indices


@dataclass(frozen=True, slots=True, eq=False)
class _Best:
    """Rows that reach the threshold, with their best class."""

    rows: NDArray[np.intp]
    score: NDArray[np.float32]
    class_id: NDArray[np.int32]

    def candidates(self, xyxy_px: NDArray[np.float32]) -> Candidates:
        return Candidates(xyxy_px.astype(np.float32, copy=False), self.score, self.class_id)


def _best_class(
    scores: NDArray[np.float32], threshold: float, weight: NDArray[np.float32] | None = None
) -> _Best:
    """Best class per row of (N, classes), its score times ``weight``, above the threshold only."""
    class_id = scores.argmax(axis=1)
    score = np.take_along_axis(scores, class_id[:, None], axis=1)[:, 0]
    if weight is not None:
        score = score * weight
    rows = np.flatnonzero(score > threshold)
    return _Best(rows, np.minimum(score[rows], 1), class_id[rows].astype(np.int32))


def _first_3d(outputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return next(array for array in outputs if array.ndim == 3)


def _joined(parts: Sequence[Candidates]) -> Candidates:
    return Candidates(
        np.concatenate([part.xyxy_px for part in parts]),
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.class_id for part in parts]),
    )


def _sigmoid(x: NDArray[Any]) -> NDArray[np.float32]:
    clipped = np.clip(x.astype(np.float32, copy=False), np.float32(-80), np.float32(80))
    result: NDArray[np.float32] = np.float32(1) / (np.float32(1) + np.exp(-clipped))
    return result


def n_cells_of(input_wh: SizeWh, stride: int) -> int:
    """Cells of the grid of one stride; a part of a cell at the edge counts as one."""
    return -(-input_wh[0] // stride) * -(-input_wh[1] // stride)


def n_cells(input_wh: SizeWh) -> int:
    """Cells of all three grids together."""
    return sum(n_cells_of(input_wh, stride) for stride in STRIDES)


@lru_cache(maxsize=8)
def _grid(input_wh: SizeWh) -> NDArray[np.float32]:
    """Column, row and stride of every cell, shape (cells, 3), float32, in output order."""
    levels = []
    for stride in STRIDES:
        n_columns, n_rows = -(-input_wh[0] // stride), -(-input_wh[1] // stride)
        row, column = np.divmod(np.arange(n_columns * n_rows), n_columns)
        levels.append(np.stack([column, row, np.full_like(row, stride)], axis=1))
    grid = np.concatenate(levels).astype(np.float32)
    grid.flags.writeable = False
    return grid
