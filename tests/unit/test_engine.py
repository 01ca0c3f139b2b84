from __future__ import annotations

import numpy as np
import pytest

from detect.errors import EngineError, ModelError
from detect.vision import engine as engine_module
from detect.vision.engine import CPU, NullEngine, OrtEngine, TensorSpec, concrete_shape
from tests.unit.onnx_files import constant_model

OUTPUT = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
CONTENT = constant_model({"boxes": OUTPUT}, metadata={"names": "{0: 'cat'}"}).SerializeToString()
F32 = np.dtype(np.float32)


def test_a_model_tells_what_it_is() -> None:
    engine = OrtEngine(CONTENT, threads=2)
    assert engine.input == TensorSpec("images", (1, 3, 32, 32), F32)
    assert engine.output_names == ("boxes",)
    assert engine.metadata == {"names": "{0: 'cat'}"}
    assert engine.threads == 2
    assert engine.provider == "cpu"


def test_a_model_runs() -> None:
    engine = OrtEngine(CONTENT)
    (output,) = engine.run(np.zeros((1, 3, 32, 32), np.float32))
    np.testing.assert_array_equal(output, OUTPUT)


def test_free_sides_are_none() -> None:
    model = constant_model({"boxes": OUTPUT}, input_shape=("batch", 3, "height", 64))
    assert OrtEngine(model.SerializeToString()).input.shape == (None, 3, None, 64)


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_other_element_types_are_known(dtype: str) -> None:
    model = constant_model({"boxes": OUTPUT}, dtype=dtype)
    assert OrtEngine(model.SerializeToString()).input.dtype == dtype


def test_a_wrong_tensor_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match="failed to run"):
        OrtEngine(CONTENT).run(np.zeros((1, 3, 16, 16), np.float32))


def test_a_broken_model_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match="refuses the model"):
        OrtEngine(CONTENT[: len(CONTENT) // 2])


def test_a_second_input_is_refused() -> None:
    model = constant_model({"boxes": OUTPUT})
    model.graph.input.add().CopyFrom(model.graph.input[0])
    model.graph.input[1].name = "scale"
    with pytest.raises(EngineError, match="one input"):
        OrtEngine(model.SerializeToString())


def test_a_closed_engine_says_so() -> None:
    engine = OrtEngine(CONTENT)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run(np.zeros((1, 3, 32, 32), np.float32))


def test_threads_must_be_positive() -> None:
    with pytest.raises(ValueError, match="threads"):
        OrtEngine(CONTENT, threads=0)


def test_a_provider_that_does_not_start_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    make = engine_module._make_session

    def broken_accelerator(content: bytes, threads: int, provider: str) -> object:
        if provider != CPU:
            raise EngineError(f"{provider}: no device")
        return make(content, threads, provider)

    monkeypatch.setattr(engine_module, "_make_session", broken_accelerator)
    assert OrtEngine(CONTENT, providers=["CUDAExecutionProvider", CPU]).provider == "cpu"
    with pytest.raises(EngineError, match="no device"):
        OrtEngine(CONTENT, providers=["CUDAExecutionProvider", "DmlExecutionProvider"])


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((1, 3, 416, 320), (1, 3, 416, 320)),
        ((None, 3, None, None), (1, 3, 480, 640)),
        ((1, None, None, 3), (1, 480, 640, 3)),  # rows of RGB
        ((None, None, None, 3), (1, 480, 640, 3)),
    ],
)
def test_free_sides_take_the_size_asked_for(
    shape: tuple[int | None, ...], wanted: tuple[int, ...]
) -> None:
    assert concrete_shape(TensorSpec("x", shape, F32), (640, 480)) == wanted


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 28, 28),  # one channel
        (8, 3, 64, 64),  # a batch
        (1, 3, 100_000, 64),  # absurd
        (1, 3, 224),  # no picture
        (),
        (1, 3, 16, 224, 224),  # a video
    ],
)
def test_what_is_not_one_believable_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="expected one picture"):
        concrete_shape(TensorSpec("x", shape, F32), (640, 640))


def test_the_null_engine_checks_counts_and_closes() -> None:
    engine = NullEngine([OUTPUT])
    assert engine.run(np.zeros((1, 3, 416, 416), np.float32)) == [OUTPUT]
    assert engine.n_runs == 1
    assert engine.output_names == ("output0",)
    with pytest.raises(EngineError, match="expected"):
        engine.run(np.zeros((1, 3, 416, 416), np.float16))
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run(np.zeros((1, 3, 416, 416), np.float32))
