"""Tensors in, tensors out. Nothing outside this module knows which runtime does it, or where.

:class:`OrtEngine` is the runtime in this process; another engine (remote, pooled) needs the methods
of :class:`Engine` and nothing else of this package.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detect.errors import EngineError, ModelError
from detect.geometry import SizeWh
from detect.zoo import MAX_INPUT_SIDE_PX

CPU = "CPUExecutionProvider"
PREFERRED_PROVIDERS = (
    "CUDAExecutionProvider",
    "MIGraphXExecutionProvider",
    "CoreMLExecutionProvider",
    "DmlExecutionProvider",
    "OpenVINOExecutionProvider",
    CPU,
)
"""Providers worth probing. TensorRT is left out: it compiles for minutes at first use."""

DEFAULT_INPUT_WH: SizeWh = (640, 640)
"""Input size of a file that leaves it open and names none: what most exporters use."""

_PROBE_RUNS = 5
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(uint8)": np.dtype(np.uint8),
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and element type of a model's input; None where a side is free."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


def concrete_shape(spec: TensorSpec, dynamic_wh: SizeWh) -> tuple[int, int, int, int]:
    """Shape of the input tensor: the file's, ``dynamic_wh`` where it leaves a side free.

    Raises
    ------
    ModelError
        If it is not one picture of three channels with believable sides.
    """
    width, height = dynamic_wh
    is_packed = spec.shape[3:] == (3,)
    wanted = (1, height, width, 3) if is_packed else (1, 3, height, width)
    sides = [side or want for side, want in zip(spec.shape, wanted, strict=False)]
    fixed = (0, 3) if is_packed else (0, 1)  # where batch and channels are
    is_picture = len(spec.shape) == 4 and [sides[i] for i in fixed] == [wanted[i] for i in fixed]
    if not is_picture or max(sides) > MAX_INPUT_SIDE_PX:
        raise ModelError(
            f"input {spec.name}: expected one picture, (1, 3, height, width) or (1, height, width, "
            f"3) with sides up to {MAX_INPUT_SIDE_PX}, got {spec.shape}. Is this a detector?"
        )
    return sides[0], sides[1], sides[2], sides[3]


class Engine(Protocol):
    """Runs one model. It may live in this process or elsewhere; calls come one at a time."""

    @property
    def provider(self) -> str:
        """What computes, in one word."""

    @property
    def threads(self) -> int:
        """Threads of one run; 0 where that means nothing."""

    @property
    def input(self) -> TensorSpec:
        """The one input."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in the order :meth:`run` returns them."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the model file says about itself."""

    def run(self, tensor: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """Compute the outputs; raises :class:`EngineError` when the runtime fails."""

    def close(self) -> None:
        """Let go of memory and threads; may be called twice."""


class OrtEngine:
    """onnxruntime in this process.

    The fastest of the installed providers is found by trying them, not by their names. Threads do
    not spin while they wait for work: with frames that come 8 ms after the last result, spinning
    costs the machine a core and wins nothing. yolox-nano at 416x416 on a shared 2-core AMD EPYC,
    p50 / p95 of 250 runs in ms:

    ===========================  ===========  ===========================
    threads                      idle         one core busy with other work
    ===========================  ===========  ===========================
    1                            17.1 / 19.2  16.6 / 18.6
    2, spinning                  19.6 / 23.1  32.6 / 39.1
    2, not spinning (as here)    14.2 / 24.5  16.8 / 19.7
    ===========================  ===========  ===========================

    Parameters
    ----------
    content : bytes
        The verified model file.
    threads : int
        Threads of one run, at least 1.
    providers : sequence of str or None
        Try only these; None: those of :data:`PREFERRED_PROVIDERS` that are installed.
    dynamic_wh : tuple of int
        Size of the input for timing providers, where the file leaves it open.

    Raises
    ------
    EngineError
        If onnxruntime refuses the model or its input is not one picture.
    """

    def __init__(
        self,
        content: bytes,
        *,
        threads: int = 1,
        providers: Sequence[str] | None = None,
        dynamic_wh: SizeWh = DEFAULT_INPUT_WH,
    ) -> None:
        if threads < 1:
            raise ValueError(f"threads: expected at least 1, got {threads}")
        self._threads = threads
        candidates = list(providers) if providers is not None else _installed_providers()
        session, self._provider = _fastest_session(content, threads, candidates, dynamic_wh)
        self._session: _Session | None = session
        self._input = _input_spec(session)
        self._output_names = tuple(output.name for output in session.get_outputs())
        self._metadata = dict(session.get_modelmeta().custom_metadata_map)

    @property
    def provider(self) -> str:
        """Such as ``cpu`` or ``cuda``."""
        return self._provider.removesuffix("ExecutionProvider").lower()

    @property
    def threads(self) -> int:
        """Threads of one run."""
        return self._threads

    @property
    def input(self) -> TensorSpec:
        """The one input."""
        return self._input

    @property
    def output_names(self) -> tuple[str, ...]:
        """In the order of :meth:`run`."""
        return self._output_names

    @property
    def metadata(self) -> Mapping[str, str]:
        """Custom metadata of the file."""
        return self._metadata

    def run(self, tensor: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """Compute the outputs; onnxruntime releases the GIL meanwhile."""
        if self._session is None:
            raise EngineError("the engine is closed: load the model again")
        try:
            outputs: list[NDArray[Any]] = self._session.run(None, {self._input.name: tensor})
        except Exception as error:  # onnxruntime's exceptions share no base but this
            raise EngineError(f"{self.provider}: the model failed to run: {error}") from error
        return outputs

    def close(self) -> None:
        """Drop the session and its threads."""
        self._session = None


def _installed_providers() -> list[str]:
    import onnxruntime  # 0.2 s and 40 MB: only where inference happens

    available = onnxruntime.get_available_providers()
    return [provider for provider in PREFERRED_PROVIDERS if provider in available]


class _NodeArg(Protocol):
    """Of onnxruntime, which publishes no types."""

    name: str
    shape: list[int | str | None]
    type: str


class _ModelMeta(Protocol):
    custom_metadata_map: dict[str, str]


class _Session(Protocol):
    def get_inputs(self) -> list[_NodeArg]: ...
    def get_outputs(self) -> list[_NodeArg]: ...
    def get_modelmeta(self) -> _ModelMeta: ...
    def get_providers(self) -> list[str]: ...
    def run(self, output_names: None, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]: ...


def _make_session(content: bytes, threads: int, provider: str) -> _Session:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # wrong shapes declared in a file are no news to the user
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session: _Session = onnxruntime.InferenceSession(content, options, providers=[provider])
    except Exception as error:  # onnxruntime's exceptions share no base but this
        raise EngineError(f"{provider} refuses the model: {error}") from error
    return session


def _fastest_session(
    content: bytes, threads: int, providers: list[str], dynamic_wh: SizeWh
) -> tuple[_Session, str]:
    if len(providers) == 1:
        return _make_session(content, threads, providers[0]), providers[0]
    timed: list[tuple[float, str, _Session]] = []
    failures = []
    for provider in providers:
        try:
            session = _make_session(content, threads, provider)
            if provider in session.get_providers():  # onnxruntime falls back to CPU quietly
                timed.append((_median_run_ms(session, dynamic_wh), provider, session))
        except EngineError as error:
            failures.append(str(error))
    if not timed:
        raise EngineError("; ".join(failures) or "no execution provider is installed")
    _, provider, session = min(timed, key=lambda row: row[0])
    return session, provider


def _median_run_ms(session: _Session, dynamic_wh: SizeWh) -> float:
    spec = _input_spec(session)
    tensor = np.zeros(concrete_shape(spec, dynamic_wh), spec.dtype)
    times_ms = []
    try:
        for _ in range(_PROBE_RUNS + 1):
            start = time.perf_counter()
            session.run(None, {spec.name: tensor})
            times_ms.append((time.perf_counter() - start) * 1e3)
    except Exception as error:  # onnxruntime's exceptions share no base but this
        raise EngineError(f"{session.get_providers()[0]} failed: {error}") from error
    return statistics.median(times_ms[1:])


def _input_spec(session: _Session) -> TensorSpec:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise EngineError(
            f"expected a model with one input (the picture), got {len(inputs)}: "
            f"{', '.join(item.name for item in inputs)}"
        )
    (only,) = inputs
    dtype = _DTYPES.get(only.type)
    if dtype is None:
        raise EngineError(f"input {only.name}: expected {', '.join(_DTYPES)}, got {only.type}")
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in only.shape)
    return TensorSpec(only.name, shape, dtype)


@dataclass
class NullEngine:
    """Gives the same outputs at every run: for tests, and for measuring everything but inference.

    Attributes
    ----------
    outputs : sequence of ndarray
        What :meth:`run` returns.
    input : TensorSpec
        What it claims to want.
    """

    outputs: Sequence[NDArray[Any]]
    input: TensorSpec = field(
        default_factory=lambda: TensorSpec("images", (1, 3, 416, 416), np.dtype(np.float32))
    )
    metadata: Mapping[str, str] = field(default_factory=dict)
    provider: str = "null"
    threads: int = 0
    n_runs: int = 0
    is_closed: bool = False

    @property
    def output_names(self) -> tuple[str, ...]:
        """Numbered."""
        return tuple(f"output{i}" for i in range(len(self.outputs)))

    def run(self, tensor: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """Check the tensor, count the run."""
        if self.is_closed:
            raise EngineError("the engine is closed: load the model again")
        wanted = self.input
        if tensor.dtype != wanted.dtype or tensor.ndim != len(wanted.shape):
            raise EngineError(f"expected {wanted}, got {tensor.dtype} {tensor.shape}")
        self.n_runs += 1
        return self.outputs

    def close(self) -> None:
        """Remember that it was closed."""
        self.is_closed = True
