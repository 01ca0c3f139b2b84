from __future__ import annotations

import inspect

import pytest

from detect import errors

PARENTS = {
    "DetectError": Exception,
    "ConfigError": errors.DetectError,
    "ModelError": errors.DetectError,
    "EngineError": errors.DetectError,
    "MediaError": errors.DetectError,
    "TransportError": errors.DetectError,
    "PairingError": errors.TransportError,
    "ProtocolError": errors.DetectError,
    "ServerError": errors.DetectError,
}


def test_the_tree_is_the_one_the_module_draws() -> None:
    found = {name: member.__base__ for name, member in inspect.getmembers(errors, inspect.isclass)}

    assert found == PARENTS
    assert all(name in str(errors.__doc__) for name in found)


@pytest.mark.parametrize("name", sorted(PARENTS))
def test_the_text_is_for_the_user(name: str) -> None:
    error = getattr(errors, name)("port 8765: expected a free one; close the other program")

    assert isinstance(error, errors.DetectError)
    assert str(error) == "port 8765: expected a free one; close the other program"
