"""Raw outputs → ``Detections``: the table of families, suppression, back to source pixels.

A new family is one decoder in ``decoders.py`` and one line of :data:`FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect.errors import ModelError
from detect.geometry import Fit, Placement
from detect.types import Detections
from detect.vision import decoders
from detect.vision.classes import COCO_80, names_in_metadata
from detect.vision.decoders import Candidates, DecodeContext, Decoder, Signature
from detect.vision.preprocess import InputStyle

MAX_BOXES = 300
"""Boxes reported per frame, as the models' own evaluations limit them."""
MAX_CANDIDATES = 1000
"""Best candidates that enter suppression: bounds its time when a threshold is very low."""


def batched_nms(
    xyxy_px: NDArray[np.float32],
    score: NDArray[np.float32],
    class_id: NDArray[np.int32],
    iou_threshold: float,
    max_boxes: int = MAX_BOXES,
) -> NDArray[np.intp]:
    """Greedy non-maximum suppression, each class by itself.

    Of two boxes of a class that overlap by more than ``iou_threshold`` the one with the lower
    score goes; of equal scores the later one.

    Parameters
    ----------
    xyxy_px : ndarray, shape (N, 4), float32
        Corners ``x1 <= x2, y1 <= y2``.
    score : ndarray, shape (N,), float32
    class_id : ndarray, shape (N,), int32
    iou_threshold : float
        In [0, 1].
    max_boxes : int
        Stop after so many.

    Returns
    -------
    ndarray, shape (M,), intp
        Indices of the boxes kept, best score first.
    """
    left = np.argsort(-score, kind="stable")[:MAX_CANDIDATES]
    # (6, N), one row per quantity: a box is compared with all others in contiguous operations.
    x1, y1, x2, y2 = xyxy_px[left].T
    columns = np.stack([x1, y1, x2, y2, (x2 - x1) * (y2 - y1), class_id[left]])
    kept: list[int] = []
    while len(left) and len(kept) < max_boxes:
        kept.append(int(left[0]))
        rest = columns[:, 1:]
        survives = _overlap_at_most(columns[:, :1], rest, iou_threshold)
        columns, left = rest[:, survives], left[1:][survives]
    return np.array(kept, np.intp)


def _overlap_at_most(
    one: NDArray[np.float32], others: NDArray[np.float32], iou_threshold: float
) -> NDArray[np.bool_]:
    """Which of ``others`` are of another class, or overlap ``one`` by no more than this."""
    width = np.minimum(one[2], others[2]) - np.maximum(one[0], others[0])
    height = np.minimum(one[3], others[3]) - np.maximum(one[1], others[1])
    inter = np.maximum(width, 0) * np.maximum(height, 0)
    union = one[4] + others[4] - inter
    survives: NDArray[np.bool_] = (inter <= iou_threshold * union) | (one[5] != others[5])
    return survives


@dataclass(frozen=True, slots=True)
class Family:
    """How a kind of model wants its pictures and writes its boxes.

    Attributes
    ----------
    title : str
        Name for people.
    style : InputStyle
        Preprocessing.
    decode : callable
        Raw outputs → candidates.
    count_classes : callable
        Number of classes of a model with this signature, None if it is not of this family.
    suppresses_itself : bool
        Whether the boxes come out already suppressed.
    """

    title: str
    style: InputStyle
    decode: Decoder
    count_classes: Callable[[Signature], int | None]
    suppresses_itself: bool = False


def _classes_of_yolox(signature: Signature) -> int | None:
    return _classes_of_rows(signature, decoders.n_cells(signature.input_wh))


def _classes_of_yolov5(signature: Signature) -> int | None:
    return _classes_of_rows(signature, 3 * decoders.n_cells(signature.input_wh))  # three anchors


def _classes_of_rows(signature: Signature, n_rows: int) -> int | None:
    shape = _first_3d(signature)
    return shape[2] - 5 if shape[:2] == (1, n_rows) and shape[2] > 5 else None


def _classes_of_yolov8(signature: Signature) -> int | None:
    shape = _first_3d(signature)
    fits = shape[::2] == (1, decoders.n_cells(signature.input_wh)) and shape[1] > 4
    return shape[1] - 4 if fits else None


def _classes_of_yolov10(signature: Signature) -> int | None:
    """A list of at most 1000 boxes; its shape does not tell the classes, its metadata may."""
    shape = _first_3d(signature)
    if len(signature.output_shapes) != 1 or shape[2] != 6 or shape[1] > 1000:
        return None
    if _classes_of_yolov5(signature) or _classes_of_yolox(signature):
        return None
    return len(names_in_metadata(signature.metadata)) or len(COCO_80)


def _classes_of_nanodet(signature: Signature) -> int | None:
    """Two matrices per stride: distances of 4 x 8 bins, and classes."""
    flat = [shape[-2:] for shape in signature.output_shapes if len(shape) in (2, 3)]
    if len(flat) != 2 * len(decoders.STRIDES) or len(flat) != len(signature.output_shapes):
        return None
    rows = {n for n, _ in flat}
    widths = {columns for _, columns in flat} - {32}
    expected = {decoders.n_cells_of(signature.input_wh, stride) for stride in decoders.STRIDES}
    return widths.pop() if rows == expected and len(widths) == 1 else None


def _classes_of_fastestdet(signature: Signature) -> int | None:
    width, height = signature.input_wh
    match signature.output_shapes:
        case [(1, n_channels, rows, columns)] if n_channels > 5:
            return n_channels - 5 if (columns * 16, rows * 16) == (width, height) else None
    return None


def _classes_of_ssd(signature: Signature) -> int | None:
    is_ssd = len(signature.output_shapes) == 4 and any(
        len(shape) == 3 and shape[2] == 4 for shape in signature.output_shapes
    )
    return len(COCO_80) if is_ssd and signature.is_packed else None


def _first_3d(signature: Signature) -> tuple[int, ...]:
    return next((shape for shape in signature.output_shapes if len(shape) == 3), (0, 0, 0))


_SCALED_RGB = InputStyle(Fit.CENTRE, std=(255.0, 255.0, 255.0))

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "yolox": Family(
            "YOLOX",
            InputStyle(Fit.TOP_LEFT, "bgr"),
            decoders.decode_yolox,
            _classes_of_yolox,
        ),
        "yolov5": Family("YOLOv5", _SCALED_RGB, decoders.decode_yolov5, _classes_of_yolov5),
        "yolov8": Family("YOLOv8, YOLO11", _SCALED_RGB, decoders.decode_yolov8, _classes_of_yolov8),
        "yolov10": Family(
            "YOLOv10, end to end",
            _SCALED_RGB,
            decoders.decode_yolov10,
            _classes_of_yolov10,
            suppresses_itself=True,
        ),
        "nanodet": Family(
            "NanoDet",
            InputStyle(
                Fit.CENTRE,
                "bgr",
                pad=0.0,
                mean=(103.53, 116.28, 123.675),
                std=(57.375, 57.12, 58.395),
            ),
            decoders.decode_nanodet,
            _classes_of_nanodet,
        ),
        "fastestdet": Family(
            "FastestDet",
            InputStyle(Fit.STRETCH, "bgr", std=(255.0, 255.0, 255.0)),
            decoders.decode_fastestdet,
            _classes_of_fastestdet,
        ),
        "ssd": Family(
            "SSD-MobileNet",
            InputStyle(Fit.STRETCH),
            decoders.decode_ssd,
            _classes_of_ssd,
            suppresses_itself=True,
        ),
    }
)
"""Every family this package decodes, by the name the registry and ``--family`` use."""


def find_family(signature: Signature, wanted: str | None = None) -> tuple[str, int]:
    """Find the family of a model, and its number of classes.

    Parameters
    ----------
    signature : Signature
        Of the model.
    wanted : str or None
        Key of :data:`FAMILIES` the user or the registry names; None: recognise it.

    Raises
    ------
    ModelError
        If no family fits, more than one does, or the wanted one does not.
    """
    if wanted is not None and wanted not in FAMILIES:
        raise ModelError(f"family {wanted!r}: expected one of {', '.join(FAMILIES)}")
    names = FAMILIES if wanted is None else (wanted,)
    fitting = {
        name: n_classes
        for name in names
        if (n_classes := FAMILIES[name].count_classes(signature)) is not None
    }
    if len(fitting) == 1:
        return fitting.popitem()
    seen = f"input {signature.input_shape}, outputs {', '.join(map(str, signature.output_shapes))}"
    if fitting:
        raise ModelError(f"the model fits {', '.join(fitting)} ({seen}): choose with --family")
    raise ModelError(
        f"the model does not look like {wanted or 'any family this package decodes'} ({seen}). "
        f"Known families: {', '.join(FAMILIES)}."
    )


def decide(
    family: Family,
    outputs: Sequence[NDArray[Any]],
    context: DecodeContext,
    placement: Placement,
    iou_threshold: float,
) -> Detections:
    """Decode, suppress, and take the boxes back to the source picture.

    Parameters
    ----------
    family : Family
        Of the model.
    outputs : sequence of ndarray
        As the engine gave them.
    context : DecodeContext
        Of the model, with the score threshold.
    placement : Placement
        From preprocessing.
    iou_threshold : float
        For :func:`batched_nms`; unused by families that suppress their own boxes.

    Returns
    -------
    Detections
        In source pixels, best score first, at most :data:`MAX_BOXES`; boxes without area left out.
    """
    found = family.decode(outputs, context)
    if family.suppresses_itself:
        kept = np.argsort(-found.score, kind="stable")[:MAX_BOXES]
    else:
        kept = batched_nms(found.xyxy_px, found.score, found.class_id, iou_threshold)
    return _in_source(found, kept, context.n_classes, placement)


def _in_source(
    found: Candidates, kept: NDArray[np.intp], n_classes: int, placement: Placement
) -> Detections:
    xyxy_px = placement.to_source(found.xyxy_px[kept])
    class_id = found.class_id[kept]
    # Also false where a broken model gave NaN.
    is_box = (xyxy_px[:, 2] > xyxy_px[:, 0]) & (xyxy_px[:, 3] > xyxy_px[:, 1])
    is_box &= (class_id >= 0) & (class_id < n_classes)
    return Detections.untracked(xyxy_px[is_box], found.score[kept][is_box], class_id[is_box])
