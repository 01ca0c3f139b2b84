"""Boxes as the wire has them: ``[x1, y1, x2, y2, score, class_id, track_id]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
from pydantic import Field

from detect.protocol.wire import MAX_BOXES

if TYPE_CHECKING:
    from detect.types import Detections

Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class Box(NamedTuple):
    """One detection; corners in pixels of the ``size_wh`` of its message, origin top left."""

    x1: Coordinate
    y1: Coordinate
    x2: Coordinate
    y2: Coordinate
    score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    class_id: Annotated[int, Field(ge=0, le=65_535)]
    track_id: Annotated[int, Field(ge=-1, le=2**31 - 1)]


Boxes = Annotated[tuple[Box, ...], Field(max_length=MAX_BOXES)]


def wire_boxes(detections: Detections) -> tuple[Box, ...]:
    """Boxes of a frame, best first, at most :data:`MAX_BOXES`.

    Coordinates are rounded to 0.1 px and scores to 3 digits: a third of the text, and less than the
    eye or any threshold can tell.
    """
    kept = slice(MAX_BOXES)
    # float64 first: rounded float32 values print with nine digits.
    corners = detections.xyxy_px[kept].astype(np.float64).round(1).tolist()
    scores = detections.score[kept].astype(np.float64).round(3).tolist()
    class_ids = detections.class_id[kept].tolist()
    track_ids = detections.track_id[kept].tolist()
    return tuple(
        Box(x1, y1, x2, y2, score, class_id, track_id)
        for (x1, y1, x2, y2), score, class_id, track_id in zip(
            corners, scores, class_ids, track_ids, strict=True
        )
    )
