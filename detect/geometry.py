"""Boxes, and where a picture lies inside a model's input.

``tests/vectors/box_iou.json`` and ``letterbox.json`` hold it to answers computed elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

SizeWh = tuple[int, int]


def box_area(xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Area of each box; 0 where a side is negative.

    Parameters
    ----------
    xyxy : ndarray, shape (N, 4), float32
        Corners ``x1, y1, x2, y2``.

    Returns
    -------
    ndarray, shape (N,), float32
    """
    wh = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0)
    area: NDArray[np.float32] = wh[:, 0] * wh[:, 1]
    return area


def box_iou(a_xyxy: NDArray[np.float32], b_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of every box of ``a`` with every box of ``b``.

    Parameters
    ----------
    a_xyxy, b_xyxy : ndarray, shapes (N, 4) and (M, 4), float32
        Corners ``x1 <= x2, y1 <= y2``, both in the same unit.

    Returns
    -------
    ndarray, shape (N, M), float32
        Values in [0, 1]; 0 where both boxes are empty.
    """
    top_left = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])  # (N, M, 2)
    bottom_right = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])  # (N, M, 2)
    wh = np.maximum(bottom_right - top_left, 0)  # (N, M, 2)
    inter = wh[..., 0] * wh[..., 1]
    union = box_area(a_xyxy)[:, None] + box_area(b_xyxy)[None, :] - inter
    iou: NDArray[np.float32] = np.zeros_like(inter)
    np.divide(inter, union, out=iou, where=union > 0)
    return iou


def cxcywh_to_xyxy(cxcywh: NDArray[np.float32]) -> NDArray[np.float32]:
    """Corners of boxes given by centre and size, shapes (N, 4) → (N, 4), float32."""
    half = cxcywh[:, 2:] * np.float32(0.5)
    return np.concatenate([cxcywh[:, :2] - half, cxcywh[:, :2] + half], axis=1)


def clip_boxes(xyxy_px: NDArray[np.float32], size_wh: SizeWh) -> NDArray[np.float32]:
    """Boxes cut at the edges of a picture of ``size_wh``, shape (N, 4), float32."""
    limit = np.array([*size_wh, *size_wh], np.float32)
    clipped: NDArray[np.float32] = np.clip(xyxy_px, np.float32(0), limit)
    return clipped


class Fit(StrEnum):
    """How a picture is made to fill a model's input."""

    TOP_LEFT = "top_left"
    """Aspect ratio kept, padding right and below."""
    CENTRE = "centre"
    """Aspect ratio kept, padding on both sides."""
    STRETCH = "stretch"
    """Both sides scaled to fill the input."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a source picture lies inside a model's input.

    Attributes
    ----------
    source_wh, input_wh : tuple of int
        Sizes of the picture and of the input, in pixels.
    content_wh : tuple of int
        Size of the scaled picture inside the input.
    offset_xy_px : tuple of int
        Its top left corner inside the input.
    """

    source_wh: SizeWh
    input_wh: SizeWh
    content_wh: SizeWh
    offset_xy_px: tuple[int, int]

    def to_source(self, xyxy_px: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take boxes from input pixels to source pixels, cut at the picture's edges.

        The scale of each axis is that of the rounded content, so a box around the whole content
        comes back as the whole picture exactly.

        Parameters
        ----------
        xyxy_px : ndarray, shape (N, 4), float32
            In pixels of the model's input.

        Returns
        -------
        ndarray, shape (N, 4), float32
            In pixels of the source.
        """
        scale = np.array(
            [s / c for s, c in zip(self.source_wh, self.content_wh, strict=True)] * 2, np.float32
        )
        offset = np.array(self.offset_xy_px * 2, np.float32)
        return clip_boxes((xyxy_px - offset) * scale, self.source_wh)


def place(source_wh: SizeWh, input_wh: SizeWh, fit: Fit) -> Placement:
    """Find where a picture of ``source_wh`` lies inside an input of ``input_wh``.

    Raises
    ------
    ValueError
        If a side is not positive.
    """
    if min(*source_wh, *input_wh) < 1:
        raise ValueError(f"sizes must be positive, got source {source_wh} and input {input_wh}")
    if fit is Fit.STRETCH:
        return Placement(source_wh, input_wh, input_wh, (0, 0))
    scale = min(input_wh[0] / source_wh[0], input_wh[1] / source_wh[1])
    content_wh = (
        _scaled_side(source_wh[0], scale, input_wh[0]),
        _scaled_side(source_wh[1], scale, input_wh[1]),
    )
    offset = (0, 0)
    if fit is Fit.CENTRE:
        offset = ((input_wh[0] - content_wh[0]) // 2, (input_wh[1] - content_wh[1]) // 2)
    return Placement(source_wh, input_wh, content_wh, offset)


def _scaled_side(side_px: int, scale: float, limit_px: int) -> int:
    """Round half up (Python's ``round`` goes to even, JavaScript's does not), within the input."""
    return max(1, min(limit_px, math.floor(side_px * scale + 0.5)))
