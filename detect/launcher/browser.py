"""Finds a Chromium-like browser."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

BROWSER_ENV = "CHROMIUM"
"""Environment variable that names a Chromium to use, before any other is looked for."""

_BROWSER_NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "msedge",
)
_BROWSER_PATHS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)


def find_chromium() -> str | None:
    """Path of a Chromium-like browser: named by ``CHROMIUM``, on the PATH, or in a usual place."""
    if named := os.environ.get(BROWSER_ENV):
        return named if Path(named).is_file() else None
    for name in _BROWSER_NAMES:
        if path := shutil.which(name):
            return path
    return next((path for path in _BROWSER_PATHS if Path(path).is_file()), None)
