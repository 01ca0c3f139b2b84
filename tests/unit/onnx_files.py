"""Small ONNX files for tests, made with the ``onnx`` package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

DTYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}


def constant_model(
    outputs: dict[str, NDArray[Any]],
    *,
    input_shape: tuple[int | str, ...] = (1, 3, 32, 32),
    dtype: str = "float32",
    metadata: dict[str, str] | None = None,
) -> onnx.ModelProto:
    """Model that answers every picture with the same outputs."""
    nodes, values = [], []
    for name, array in outputs.items():
        nodes.append(
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array, name))
        )
        element = helper.np_dtype_to_tensor_dtype(array.dtype)
        values.append(helper.make_tensor_value_info(name, element, array.shape))
    picture = helper.make_tensor_value_info("images", DTYPES[dtype], input_shape)
    graph = helper.make_graph(nodes, "constant", [picture], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    return model


def weights_model() -> onnx.ModelProto:
    """Model with one initialiser."""
    model = constant_model({"output": np.zeros((1, 21, 8), np.float32)})
    model.graph.initializer.append(numpy_helper.from_array(np.ones(64, np.float32), "weights"))
    return model


def external_tensor(name: str = "weights") -> TensorProto:
    """Tensor that says its data lies in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[64])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secrets.bin")
    return tensor


def save(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path
