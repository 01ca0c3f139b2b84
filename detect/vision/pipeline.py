"""One model, ready to look at pictures: preprocess → engine → postprocess."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detect.clock import NowNs, now_ns
from detect.errors import ModelError
from detect.geometry import SizeWh
from detect.types import Detections
from detect.vision.classes import CLASS_LISTS, class_names
from detect.vision.decoders import DecodeContext, Signature
from detect.vision.engine import DEFAULT_INPUT_WH, Engine, OrtEngine, concrete_shape
from detect.vision.postprocess import FAMILIES, decide, find_family
from detect.vision.preprocess import Picture, Preprocessor
from detect.zoo import MAX_INPUT_SIDE_PX, ModelEntry, VerifiedModel, find_model

_WARM_UP_RUNS = 3
"""The first run was the signature's; allocation and caches are settled after a few more."""

_SSD_INPUT_WH: SizeWh = (300, 300)
"""TensorFlow's SSD-MobileNet leaves its input size open and resizes to this inside the graph."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a loaded model is.

    Attributes
    ----------
    name : str
        In the registry, or the file's name without its ending.
    family : str
        Key of ``FAMILIES``.
    input_wh : tuple of int
        Size of its input in pixels.
    class_names : tuple of str
        By class id.
    sha256 : str
        Of the file; empty when there is none.
    path : Path
        Of the file.
    """

    name: str
    family: str
    input_wh: SizeWh
    class_names: tuple[str, ...]
    sha256: str
    path: Path


@dataclass(frozen=True, slots=True)
class PipelineOutput:
    """What one call saw, and when each step ended (``detect.clock`` nanoseconds).

    Attributes
    ----------
    detections : Detections
        In pixels of the picture, best score first.
    prepared_ns, inferred_ns, decided_ns : int
        The tensor was ready; the engine returned; the boxes were final.
    """

    detections: Detections
    prepared_ns: int
    inferred_ns: int
    decided_ns: int


class Pipeline:
    """Find objects in pictures with one model. Not thread-safe: one caller at a time.

    Parameters
    ----------
    spec : ModelSpec
        What the model is.
    engine : Engine
        What runs it; the pipeline closes it.
    input_shape : tuple of int
        Shape of the input tensor.
    notice : str or None
        For the user, when this is not the model that was asked for.
    now : callable
        The clock.
    """

    def __init__(
        self,
        spec: ModelSpec,
        engine: Engine,
        *,
        input_shape: tuple[int, ...] | None = None,
        notice: str | None = None,
        now: NowNs = now_ns,
    ) -> None:
        self.spec = spec
        self.notice = notice
        self._engine = engine
        self._family = FAMILIES[spec.family]
        self._now = now
        self._input_shape = input_shape or concrete_shape(engine.input, spec.input_wh)
        self._preprocess = Preprocessor(self._family.style, spec.input_wh, engine.input.dtype)

    @property
    def provider(self) -> str:
        """What computes, in one word."""
        return self._engine.provider

    @property
    def threads(self) -> int:
        """Threads of one inference."""
        return self._engine.threads

    def __call__(
        self, picture: Picture, *, score_threshold: float, iou_threshold: float
    ) -> PipelineOutput:
        """Look at one picture.

        Parameters
        ----------
        picture : av.VideoFrame or ndarray, shape (H, W, 3), uint8
            A decoded frame, or RGB.
        score_threshold : float
            Boxes must score higher, in [0, 1].
        iou_threshold : float
            Overlap above which the weaker of two boxes of a class goes, in [0, 1].

        Raises
        ------
        EngineError
            If the engine fails or the pipeline is closed.
        """
        tensor, placement = self._preprocess(picture)
        prepared_ns = self._now()
        outputs = self._engine.run(tensor)
        inferred_ns = self._now()
        context = DecodeContext(
            self.spec.input_wh,
            len(self.spec.class_names),
            score_threshold,
            self._engine.output_names,
        )
        detections = decide(self._family, outputs, context, placement, iou_threshold)
        return PipelineOutput(detections, prepared_ns, inferred_ns, self._now())

    def warm_up(self) -> None:
        """Run a few empty pictures, so that the first real one is not slow."""
        tensor = np.zeros(self._input_shape, self._engine.input.dtype)
        for _ in range(_WARM_UP_RUNS):
            self._engine.run(tensor)

    def close(self) -> None:
        """Let go of the engine; may be called twice."""
        self._engine.close()


def load_pipeline(
    model: str,
    *,
    family: str | None = None,
    threads: int = 1,
    allow_download: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> Pipeline:
    """Get a model by name or path, verify it, and make it ready.

    Parameters
    ----------
    model : str
        Name in the registry, or path of an ONNX file.
    family : str or None
        Key of ``FAMILIES`` for a file that does not tell its own.
    threads : int
        Threads of one inference.
    allow_download : bool
        Whether the network may be used.
    on_progress : callable or None
        Called with bytes had and bytes wanted while downloading.

    Returns
    -------
    Pipeline
        With the next best model when the one asked for cannot be had: ``spec.name`` tells which,
        ``notice`` why.

    Raises
    ------
    ModelError
        If no file can be had, or it is not a detector of a known family.
    EngineError
        If the runtime refuses it.
    """
    found = find_model(model, allow_download=allow_download, on_progress=on_progress)
    return open_model(found, family=family, threads=threads)


def open_model(found: VerifiedModel, *, family: str | None = None, threads: int = 1) -> Pipeline:
    """Make a verified file ready; parameters and errors as :func:`load_pipeline`."""
    entry = found.entry
    dynamic_wh = entry.input_wh if entry else DEFAULT_INPUT_WH
    engine = OrtEngine(found.content, threads=threads, dynamic_wh=dynamic_wh)
    try:
        signature = _signature(engine, entry)
        family, n_classes = find_family(signature, family or (entry.family if entry else None))
        spec = ModelSpec(
            name=entry.name if entry else found.path.stem,
            family=family,
            input_wh=signature.input_wh,
            class_names=_class_names(entry, signature, n_classes),
            sha256=found.sha256,
            path=found.path,
        )
        return Pipeline(spec, engine, input_shape=signature.input_shape, notice=found.notice)
    except BaseException:
        engine.close()
        raise


def _signature(engine: Engine, entry: ModelEntry | None) -> Signature:
    """Run the model once: files declare shapes they do not keep, so only a run tells."""
    is_packed = len(engine.input.shape) == 4 and engine.input.shape[3] == 3
    fallback_wh = _SSD_INPUT_WH if is_packed else DEFAULT_INPUT_WH
    dynamic_wh = entry.input_wh if entry else _size_in_metadata(engine, fallback_wh)
    shape = concrete_shape(engine.input, dynamic_wh)
    outputs = engine.run(np.zeros(shape, engine.input.dtype))
    return Signature(
        input_shape=shape,
        input_dtype=engine.input.dtype,
        output_names=engine.output_names,
        output_shapes=tuple(_shape_of(output) for output in outputs),
        metadata=engine.metadata,
    )


def _shape_of(output: Any) -> tuple[int, ...]:  # noqa: ANN401 - a model may output a sequence
    if not isinstance(output, np.ndarray):
        raise ModelError(
            f"expected outputs that are tensors, got {type(output).__name__}. Is this a detector?"
        )
    return tuple(output.shape)


def _size_in_metadata(engine: Engine, fallback_wh: SizeWh) -> SizeWh:
    """Input size as Ultralytics' exporter writes it: ``imgsz`` = ``[height, width]``."""
    match = re.fullmatch(r"\[(\d{1,4}), (\d{1,4})\]", engine.metadata.get("imgsz", ""))
    if match is None:
        return fallback_wh
    height, width = int(match[1]), int(match[2])
    if not 0 < min(height, width) <= max(height, width) <= MAX_INPUT_SIDE_PX:
        raise ModelError(f"the file's metadata names an input of {width} x {height} pixels")
    return width, height


def _class_names(entry: ModelEntry | None, signature: Signature, n_classes: int) -> tuple[str, ...]:
    names = CLASS_LISTS[entry.classes] if entry else class_names(signature.metadata, n_classes)
    if len(names) != n_classes:
        raise ModelError(f"expected {len(names)} classes, the model has {n_classes}")
    return names
