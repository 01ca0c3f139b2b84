"""Live object detection from a phone's camera, in a notebook, with honest latency.

The library face of the package::

    from detect import load_pipeline

    pipeline = load_pipeline("yolox-nano")
    output = pipeline(rgb, score_threshold=0.35, iou_threshold=0.5)
    print(output.detections.xyxy_px)

Importing it is cheap: what needs onnxruntime or PyAV is loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detect.types import Detections, Frame, FrameResult
    from detect.vision.pipeline import Pipeline, load_pipeline

__all__ = ["Detections", "Frame", "FrameResult", "Pipeline", "load_pipeline"]

_HOMES = {
    "Detections": "detect.types",
    "Frame": "detect.types",
    "FrameResult": "detect.types",
    "Pipeline": "detect.vision.pipeline",
    "load_pipeline": "detect.vision.pipeline",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - each name has its own type, see above
    """Load a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
