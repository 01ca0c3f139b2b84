"""Look at a model file before anything loads it: size, kind, hash, outside references.

The bytes that were hashed are the bytes that are loaded, so a file swapped in between changes
nothing. Why the walk over the file is our own: docs/decisions/0003-check-model-files.md.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from detect.errors import ModelError

MAX_MODEL_BYTES = 512 * 2**20
"""Largest model file read: far above any detector that runs live on a laptop."""

_MAX_DEPTH = 32
"""Nesting of subgraphs (``If``, ``Loop``) followed; real models have one or two."""
_MAX_FIELDS = 2_000_000
"""Fields looked at in one file; a model of 100 MB has some ten thousand."""

# Wire types and field numbers: https://protobuf.dev/programming-guides/encoding/ and onnx.proto
# (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_MODEL_IR_VERSION, _MODEL_GRAPH = 1, 7

# Which fields of a message lead to tensors, and to what kind of message.
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}


def read_model(path: Path, *, max_bytes: int = MAX_MODEL_BYTES) -> bytes:
    """Read a regular file of bounded size.

    Raises
    ------
    ModelError
        If it is missing, not a regular file, empty or larger than ``max_bytes``.
    """
    try:
        # Non-blocking: opening a named pipe would otherwise wait for a writer for ever.
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise ModelError(f"{path}: cannot be opened ({error.strerror}).") from error
    try:
        # Of the open file, not of the path: what is checked is what is read.
        _check_status(path, os.fstat(fd), max_bytes)
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(max_bytes)
    finally:
        os.close(fd)


def _check_status(path: Path, status: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path}: expected a regular file, got a folder, pipe or device.")
    if not 0 < status.st_size <= max_bytes:
        raise ModelError(
            f"{path}: expected 1 to {max_bytes:,} bytes, got {status.st_size:,}. "
            "Is it really the ONNX file of a detector?"
        )


def sha256_hex(content: bytes) -> str:
    """SHA-256 as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def check_onnx(content: bytes, name: str) -> None:
    """Make sure these bytes are an ONNX model that needs no other file.

    Weights outside the file would not be covered by its hash, and their path may lead anywhere
    (CVE-2022-25882, CVE-2024-27318).

    Parameters
    ----------
    content : bytes
        The whole file.
    name : str
        How to call it in messages.

    Raises
    ------
    ModelError
        If it is not ONNX, is cut off, or refers to external data.
    """
    try:
        _OnnxWalk().check_model(memoryview(content))
    except _ExternalDataError:
        raise ModelError(
            f"{name}: keeps weights in another file (external data), which this package refuses. "
            "Save it as one file, for example with onnx.save(onnx.load(path), new_path)."
        ) from None
    except ValueError as error:
        raise ModelError(
            f"{name}: is not a readable ONNX model ({error}). Expected an .onnx file as written by "
            "torch.onnx.export; a .pt, .tflite or .engine file must be exported first."
        ) from None


class _ExternalDataError(Exception):
    """A tensor's data lies outside the file."""


class _OnnxWalk:
    """Visit every tensor of a model without reading its data, in bounded time."""

    def __init__(self) -> None:
        self._fields_left = _MAX_FIELDS

    def check_model(self, model: memoryview) -> None:
        numbers = {number for number, _ in self._fields(model)}
        if not {_MODEL_IR_VERSION, _MODEL_GRAPH} <= numbers:
            raise ValueError("no format version or no graph in it")
        self._check("model", model, depth=0)

    def _check(self, kind: str, message: memoryview, depth: int) -> None:
        if depth > _MAX_DEPTH * 3:  # each subgraph is three messages: graph, node, attribute
            raise ValueError("graphs nested too deep")
        for number, value in self._fields(message):
            if kind == "tensor":
                _check_tensor_field(number, value)
            child = _CHILDREN[kind].get(number)
            if child is not None:
                if isinstance(value, int):
                    raise ValueError("a message expected, a number found")
                self._check(child, value, depth + 1)

    def _fields(self, message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
        at = 0
        while at < len(message):
            self._fields_left -= 1
            if self._fields_left < 0:
                raise ValueError("more fields than any real model has")
            key, at = _read_varint(message, at)
            value, at = _read_value(message, at, key & 7)
            yield key >> 3, value


def _check_tensor_field(number: int, value: memoryview | int) -> None:
    if number == _TENSOR_EXTERNAL_DATA or (number == _TENSOR_DATA_LOCATION and value != 0):
        raise _ExternalDataError


def _read_value(message: memoryview, at: int, wire_type: int) -> tuple[memoryview | int, int]:
    if wire_type == _VARINT:
        return _read_varint(message, at)
    if wire_type == _BYTES:
        length, at = _read_varint(message, at)
    elif wire_type in (_FIXED64, _FIXED32):
        length = 8 if wire_type == _FIXED64 else 4
    else:
        raise ValueError(f"unknown wire type {wire_type}")
    end = at + length
    if end > len(message):
        raise ValueError("cut off")
    return message[at:end], end


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("cut off")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number longer than 64 bits")
