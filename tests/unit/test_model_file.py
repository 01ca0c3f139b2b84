from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from detect.errors import ModelError
from detect.model_file import check_onnx, read_model, sha256_hex
from tests.unit.onnx_files import external_tensor, weights_model


def test_a_file_with_its_weights_inside_passes() -> None:
    check_onnx(weights_model().SerializeToString(), "model.onnx")


def in_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(external_tensor())


def in_sparse_initializer(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add().values.CopyFrom(external_tensor())


def in_attribute(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["w"], value=external_tensor()))


def in_attribute_list(model: onnx.ModelProto) -> None:
    attribute = model.graph.node[0].attribute.add(name="ts", type=onnx.AttributeProto.TENSORS)
    attribute.tensors.append(external_tensor())


def in_subgraph(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [], initializer=[external_tensor()])
    model.graph.node.append(helper.make_node("If", ["c"], ["o"], then_branch=branch))


def in_function(model: onnx.ModelProto) -> None:
    function = model.functions.add(name="f")
    function.node.append(helper.make_node("Constant", [], ["w"], value=external_tensor()))


def in_training_info(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.initializer.append(external_tensor())


@pytest.mark.parametrize(
    "hide",
    [
        in_initializer,
        in_sparse_initializer,
        in_attribute,
        in_attribute_list,
        in_subgraph,
        in_function,
        in_training_info,
    ],
)
def test_external_data_is_found_wherever_it_hides(hide: Callable[[onnx.ModelProto], None]) -> None:
    model = weights_model()
    hide(model)
    with pytest.raises(ModelError, match="external data"):
        check_onnx(model.SerializeToString(), "model.onnx")


def test_a_location_without_the_flag_is_refused_too() -> None:
    tensor = external_tensor()
    tensor.ClearField("data_location")
    model = weights_model()
    model.graph.initializer.append(tensor)
    with pytest.raises(ModelError, match="external data"):
        check_onnx(model.SerializeToString(), "model.onnx")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04" + bytes(100),  # a .pt file is a zip archive
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"<!DOCTYPE html><html>not found</html>",
        b"\x08\x09",  # a format version and nothing else
        b"\xff" * 32,  # a number without an end
        b"\x3a\xff\xff\xff\x7f",  # a graph longer than the file
        b"\x08\x09\x38\x01",  # the graph is a number
    ],
)
def test_what_is_not_onnx_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match="not a readable ONNX model"):
        check_onnx(content, "model.onnx")


def test_a_file_that_was_cut_off_is_refused() -> None:
    content = weights_model().SerializeToString()
    with pytest.raises(ModelError, match="cut off"):
        check_onnx(content[:-20], "model.onnx")


def test_graphs_nested_without_end_are_refused() -> None:
    # By hand, since protobuf refuses to write it: graph.node.attribute.graph.node…
    graph = b""
    for _ in range(60):
        graph = field(1, field(5, field(6, graph)))
    with pytest.raises(ModelError, match="nested too deep"):
        check_onnx(b"\x08\x09" + field(7, graph), "model.onnx")


def field(number: int, content: bytes) -> bytes:
    """Encode one length-delimited protobuf field of less than 16 kB."""
    length = len(content)
    return bytes([number << 3 | 2, length & 0x7F | 0x80, length >> 7]) + content


@given(st.binary(max_size=200))
def test_any_bytes_are_judged_without_another_error(content: bytes) -> None:
    with suppress(ModelError):
        check_onnx(content, "model.onnx")


def test_files_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"abc")
    assert read_model(path) == b"abc"
    assert sha256_hex(b"abc").startswith("ba7816bf")


def test_a_missing_file_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be opened"):
        read_model(tmp_path / "no.onnx")


@pytest.mark.parametrize("size_bytes", [0, 11])
def test_empty_and_oversize_files_are_refused(tmp_path: Path, size_bytes: int) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(size_bytes))
    with pytest.raises(ModelError, match="expected 1 to 10 bytes"):
        read_model(path, max_bytes=10)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    os.mkfifo(path)
    with pytest.raises(ModelError, match="regular file"):
        read_model(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        read_model(tmp_path)
