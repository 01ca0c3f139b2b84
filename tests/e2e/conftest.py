"""The whole product, running: `detect up`, a Chromium that is the phone, one that is the laptop.

Nothing here waits by sleeping: processes say when they are ready, pages are polled by Playwright.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import av
import httpx
import numpy as np
import psutil
import pytest
import simplejpeg
from numpy.typing import NDArray
from playwright.sync_api import Browser, BrowserContext, Playwright, sync_playwright

from tests.conftest import CHROMIUM_FLAGS, FAKE_CAMERA_FLAGS
from tests.e2e import frame_code

CLIP_WH = (640, 480)
CLIP_FRAMES = 300
READY_TIMEOUT_S = 60
END_TIMEOUT_S = 5
"""The promise is 2 s; a machine busy with two browsers gets more before the test fails."""


@dataclass(frozen=True)
class LiveSystem:
    """One running `detect up`."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]
    home: Path
    stderr_path: Path

    @property
    def dashboard_url(self) -> str:
        """Address of the dashboard with Jupyter's token."""
        return str(self.ready["dashboard_url"])

    @property
    def pairing_url(self) -> str:
        """Address in the QR code; it lets one phone in."""
        return str(self.ready["pairing_url"])

    @property
    def lab_url(self) -> str:
        """Address of the dashboard's notebook in JupyterLab, with Jupyter's token."""
        return urlsplit(self.dashboard_url)._replace(path="/lab/tree/dashboard.ipynb").geturl()

    @property
    def access_token(self) -> str:
        """Token of the media server's loopback listener."""
        return (self.home / "data" / "access-token").read_text("utf-8").strip()

    def kernel_ids(self) -> set[str]:
        """Kernels that run now, asked of Jupyter's own API."""
        token = parse_qs(urlsplit(self.dashboard_url).query)["token"][0]
        response = httpx.get(
            f"http://127.0.0.1:{self.ready['jupyter_port']}/api/kernels",
            headers={"Authorization": f"token {token}"},
            trust_env=False,
        )
        response.raise_for_status()
        return {kernel["id"] for kernel in response.json()}


def start_system(home: Path, *options: str) -> LiveSystem:
    """Run `detect up --json` on free ports with its data under ``home`` until it is ready."""
    stderr_path = home / "up.err"
    arguments = ["up", "--json", "--no-browser", "--lan-port", "0", "--local-port", "0"]
    # A copy: JupyterLab saves what it runs, and the checkout's notebook must stay as it is.
    arguments += ["--notebooks", str(home / "notebooks")]
    with stderr_path.open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "detect", *arguments, "--jupyter-port", "0", *options],
            env={**os.environ, "DETECT_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    watchdog = threading.Timer(READY_TIMEOUT_S, process.kill)  # ends the blocking read below
    watchdog.start()
    assert process.stdout is not None
    line = process.stdout.readline()
    watchdog.cancel()
    if not line:
        process.wait()
        process.stdout.close()
        pytest.fail(f"detect up ended with {process.returncode}:\n{stderr_path.read_text()}")
    return LiveSystem(process, json.loads(line), home, stderr_path)


def end_system(system: LiveSystem) -> None:
    """End it as a user does and check that no process, port or runtime file is left."""
    family = psutil.Process(system.process.pid).children(recursive=True)
    system.process.terminate()
    try:
        system.process.wait(END_TIMEOUT_S)
        _, alive = psutil.wait_procs(family, timeout=END_TIMEOUT_S)
    finally:
        system.process.kill()
        if system.process.stdout is not None:
            system.process.stdout.close()
    assert not alive, f"left running: {alive}"
    assert system.process.returncode == 0, system.stderr_path.read_text()
    assert not list((system.home / "data" / "run").iterdir())
    ports = {system.ready[name] for name in ("lan_port", "local_port", "jupyter_port")}
    assert not ports & listening_ports()


def listening_ports() -> set[int]:
    """Ports somebody on this machine listens on."""
    return {
        connection.laddr.port
        for connection in psutil.net_connections(kind="tcp")
        if connection.laddr and connection.status == psutil.CONN_LISTEN
    }


@pytest.fixture(scope="module")
def live_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSystem]:
    """`detect up` with the default model; without models it runs and shows the picture alone."""
    system = start_system(tmp_path_factory.mktemp("home"), "--offline")
    try:
        yield system
    finally:
        end_system(system)


@pytest.fixture(scope="module")
def playwright_driver() -> Iterator[Playwright]:
    """One Playwright for all browsers of a module.

    Not longer: while it runs, its event loop keeps pytest-asyncio's from running in this thread.
    """
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def launch(
    playwright_driver: Playwright, chromium_path: str, numbered_clip: Path
) -> Callable[..., Browser]:
    """Start a Chromium whose camera plays a clip in a loop: the numbered one if none is given."""

    def make(clip: Path | None = None) -> Browser:
        camera = f"--use-file-for-fake-video-capture={clip or numbered_clip}"
        return playwright_driver.chromium.launch(
            executable_path=chromium_path, args=[*CHROMIUM_FLAGS, *FAKE_CAMERA_FLAGS, camera]
        )

    return make


@pytest.fixture
def open_phone(launch: Callable[..., Browser]) -> Iterator[Callable[..., BrowserContext]]:
    """Make a browser context that is a phone: small, touch, its camera plays a clip in a loop.

    Each is a browser of its own, as each phone is. ``open_phone(clip=None)``: another MJPEG or Y4M
    file instead of the numbered one.
    """
    browsers: list[Browser] = []

    def make(clip: Path | None = None) -> BrowserContext:
        browser = launch(clip)
        browsers.append(browser)
        return phone_context(browser)

    yield make
    for browser in browsers:
        browser.close()


def phone_context(browser: Browser) -> BrowserContext:
    """A context with a phone's screen, that has accepted certificate and camera."""
    return browser.new_context(
        ignore_https_errors=True,  # the certificate is self-signed
        viewport={"width": 390, "height": 844},
        device_scale_factor=2,
        is_mobile=True,
        has_touch=True,
        permissions=["camera"],
    )


@pytest.fixture(scope="module")
def laptop_browser(launch: Callable[..., Browser]) -> Iterator[Browser]:
    """The laptop's Chromium; its own camera plays the numbered clip too."""
    browser = launch()
    yield browser
    browser.close()


@pytest.fixture
def laptop(laptop_browser: Browser) -> Iterator[BrowserContext]:
    """A browser context for dashboard pages, 1280 pixels wide, that may use the camera."""
    context = laptop_context(laptop_browser)
    yield context
    context.close()


def laptop_context(browser: Browser) -> BrowserContext:
    """A context with a laptop's screen."""
    return browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["camera"])


@pytest.fixture(scope="session")
def numbered_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip for the fake camera with a frame number drawn into every picture (MJPEG, 640 by 480).

    Real people from ``DETECT_TEST_MEDIA`` where that is set, else a generated picture that moves.
    """
    path = tmp_path_factory.mktemp("clip") / "numbered.mjpeg"
    with path.open("wb") as file:
        for number, picture in enumerate(_source_pictures()):
            frame_code.draw(picture, number)
            file.write(
                simplejpeg.encode_jpeg(
                    picture, quality=92, colorspace="RGB", colorsubsampling="420"
                )
            )
    return path


def _source_pictures() -> Iterator[NDArray[np.uint8]]:
    """:data:`CLIP_FRAMES` pictures, shape (480, 640, 3) RGB, each one's own array."""
    folder = os.environ.get("DETECT_TEST_MEDIA")
    clip = Path(folder) / "one-by-one-person-detection.mp4" if folder else None
    if clip is None or not clip.is_file():
        yield from (_generated_picture(number) for number in range(CLIP_FRAMES))
        return
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == CLIP_FRAMES:
                return
            scaled = frame.reformat(width=CLIP_WH[0], height=CLIP_WH[1], format="rgb24")
            yield np.array(scaled.to_ndarray())  # a copy: it is drawn into


def _generated_picture(number: int) -> NDArray[np.uint8]:
    """Grey ramp with a bright disc that goes round once in three seconds."""
    width, height = CLIP_WH
    y, x = np.mgrid[0:height, 0:width]
    angle = 2 * np.pi * number / 90
    centre_xy = width / 2 + 180 * np.cos(angle), height / 2 + 120 * np.sin(angle)
    disc = np.hypot(x - centre_xy[0], y - centre_xy[1]) < 60
    ramp = (x * 160 // width).astype(np.uint8)
    return np.ascontiguousarray(np.stack([np.where(disc, 240, ramp)] * 3, axis=-1), dtype=np.uint8)
