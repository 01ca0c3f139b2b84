"""Every integration test has a home folder of its own: none writes into the developer's."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DETECT_HOME", str(tmp_path))
    return tmp_path
