"""Python's side of tests/vectors/protocol.json; the TypeScript side is in detect/frontend/tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detect import protocol
from detect.errors import ProtocolError

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "protocol.json").read_text(encoding="utf-8")
)

Reader = Callable[[object], object]


def of_text(parse: Reader) -> Reader:
    return lambda message: parse(json.dumps(message))


READERS: dict[str, Reader] = {
    "control": of_text(protocol.parse_control_message),
    "results": of_text(protocol.parse_results),
    "viewer": of_text(protocol.parse_server_message),
    "welcome": protocol.parse_welcome,
    "offer_answer": protocol.parse_answer,
}


def cases(verdict: str) -> list[Any]:
    return [
        pytest.param(name, message, id=f"{name}-{i}")
        for name in READERS
        for i, message in enumerate(VECTORS[name][verdict])
    ]


@pytest.mark.parametrize(("reader", "message"), cases("valid"))
def test_taken(reader: str, message: object) -> None:
    READERS[reader](message)


@pytest.mark.parametrize(("reader", "message"), cases("invalid"))
def test_refused(reader: str, message: object) -> None:
    with pytest.raises(ProtocolError):
        READERS[reader](message)
