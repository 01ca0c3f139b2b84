"""Waiting for another process, whose events cannot be awaited from here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest


def wait_until(condition: Callable[[], bool], *, what: str, timeout_s: float = 20) -> None:
    """Poll ``condition``, a look at another process, until it holds; fail after ``timeout_s``."""
    deadline_s = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline_s:
            pytest.fail(f"waited {timeout_s:.0f} s for {what}")
        pause.wait(0.05)
