"""Fixtures that every kind of test may ask for: real models, real media, a browser."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from detect.launcher.browser import find_chromium

# Helpers are imported as `tests.e2e.frame_code`; --import-mode=importlib leaves sys.path alone. Put
# last, so that an installed `detect` is tested rather than the checkout's.
sys.path.append(str(Path(__file__).parents[1]))

CHROMIUM_FLAGS = (
    "--no-sandbox",  # in containers the user namespaces it needs are not there
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
FAKE_CAMERA_FLAGS = (
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)


@pytest.fixture(scope="session")
def models_dirs() -> list[Path]:
    """Folders with real model files, from ``DETECT_MODELS``; skips without."""
    named = [Path(name) for name in os.environ.get("DETECT_MODELS", "").split(os.pathsep) if name]
    folders = [folder for folder in named if folder.is_dir()]
    if not folders:
        pytest.skip("no real models: set DETECT_MODELS to folders with ONNX files")
    return folders


@pytest.fixture(scope="session")
def test_media() -> Path:
    """Folder with real pictures and clips, from ``DETECT_TEST_MEDIA``; skips without."""
    folder = Path(os.environ.get("DETECT_TEST_MEDIA", ""))
    if not os.environ.get("DETECT_TEST_MEDIA") or not folder.is_dir():
        pytest.skip("no real media: set DETECT_TEST_MEDIA to a folder with pictures and clips")
    return folder


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Path of a Chromium; skips without. ``CHROMIUM`` names one."""
    path = find_chromium() or _playwright_chromium()
    if path is None:
        pytest.skip(
            "no Chromium: install one, or set CHROMIUM, or run `playwright install chromium`"
        )
    return path


def _playwright_chromium() -> str | None:
    """The browser that `playwright install chromium` brings, where it was run."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).is_file() else None
