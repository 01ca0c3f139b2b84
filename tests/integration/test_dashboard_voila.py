"""The dashboard in real Chromium, through Voila and the Jupyter proxy, on a fake media server."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import httpx
import pytest

import detect.dashboard
from detect.config import SERVER_URL_ENV, TOKEN_ENV
from detect.dashboard.view import bundle_name
from detect.resources import notebooks_dir
from tests.integration.fake_server import Fake, ServerThread

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not bundle_name(), reason="the front-end is not built: npm run build"),
]

LIVE_MS = 60_000
"""A kernel, a page and a bundle on a busy two-core machine."""

JUPYTER_TOKEN = "dashboard-test-token"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def jupyter_config(fake: Fake, server_port: int, port: int) -> str:
    headers = {"Authorization": f"Bearer {fake.token}"}
    proxy = {"command": [], "port": server_port, "request_headers_override": headers}
    values = {
        "ServerProxy.servers": {"detect": proxy},
        "IdentityProvider.token": JUPYTER_TOKEN,
        "ServerApp.root_dir": str(notebooks_dir()),
        "ServerApp.port": port,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "VoilaConfiguration.template": "detect",
        "VoilaConfiguration.extension_denylist": ["@jupyterhub/jupyter-server-proxy"],
    }
    return "c = get_config()\n" + "".join(
        f"c.{name} = {value!r}\n" for name, value in values.items()
    )


def wait_until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + 60
    transport = httpx.HTTPTransport(retries=5)  # waits longer after each refusal
    with httpx.Client(transport=transport, timeout=5) as http:
        while process.poll() is None and time.monotonic() < deadline_s:
            try:
                http.get(url)
            except httpx.TransportError:
                continue
            return
    raise TimeoutError(f"no Jupyter server at {url}")


@pytest.fixture(scope="module")
def fake() -> Fake:
    return Fake()


@pytest.fixture(scope="module")
def page_url(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    port = free_port()
    with ServerThread(fake) as server_port:
        config = home / "jupyter_config.py"
        config.write_text(jupyter_config(fake, server_port, port))
        data = Path(detect.dashboard.__file__).parent / "jupyter_data"
        environment = os.environ | {
            "JUPYTER_PATH": str(data),
            "DETECT_HOME": str(home),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            SERVER_URL_ENV: f"http://127.0.0.1:{server_port}",
            TOKEN_ENV: fake.token,
        }
        command = [sys.executable, "-m", "jupyter", "server", f"--config={config}"]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            base = f"http://127.0.0.1:{port}"
            wait_until_up(f"{base}/api", process)
            yield f"{base}/voila/render/dashboard.ipynb?token={JUPYTER_TOKEN}"
        finally:
            process.terminate()
            process.wait(20)


def test_from_waiting_to_live_and_back(
    fake: Fake, page_url: str, browser: Browser, tmp_path: Path
) -> None:
    fake.state = None
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("requestfailed", lambda r: errors.append(r.url) if "127.0.0.1" not in r.url else None)

    page.goto(page_url)
    page.wait_for_selector(".is-waiting .detect-qr svg", timeout=LIVE_MS)
    assert page.title() == "Detect live"
    assert "https://192.0.2.7:8765/#" in page.inner_text(".detect-address")

    fake.state = "live"
    page.wait_for_selector(".is-live .detect-badge-latency:not([hidden])", timeout=LIVE_MS)
    badge = page.inner_text(".detect-badge-latency")
    assert re.fullmatch(r"\d+ ms ± \d+", badge), badge
    # Boxes are drawn: the overlay has opaque pixels.
    assert page.evaluate(
        """() => { const c = document.querySelector(".detect-overlay");
        const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
        return data.some((value, i) => i % 4 === 3 && value === 255); }"""
    )
    page.wait_for_selector(".detect-figure svg path.line", state="attached", timeout=LIVE_MS)

    # Every picture is answered once, in order, and drawn after it arrived.
    fake.wait_for(lambda f: sum(m["type"] == "drawn" for m in f.heard) > 5)
    answers = [m for m in list(fake.heard) if m["type"] in ("ack", "drawn")]
    first = answers[0]["seq"]
    assert [m["seq"] for m in answers] == list(range(first, first + len(answers)))
    assert all(m["arrived_ms"] <= m["drawn_ms"] for m in answers if m["type"] == "drawn")
    assert any(m["type"] == "pong" for m in fake.heard)

    with page.expect_download() as download:
        page.click("text=Export metrics.json")
    saved = tmp_path / download.value.suggested_filename
    download.value.save_as(saved)
    assert saved.name == "metrics.json"
    assert json.loads(saved.read_text())["benchmark_info"] == {"stream_id": "s1"}

    page.click("text=Remove")
    fake.wait_for(lambda f: bool(f.removed))
    page.wait_for_selector(".is-waiting .detect-qr svg", timeout=LIVE_MS)
    assert errors == []
    page.close()


@pytest.mark.parametrize(("width", "theme"), [(1280, "dark"), (390, "light")])
def test_it_fits_its_screen(
    fake: Fake, page_url: str, browser: Browser, width: int, theme: Literal["dark", "light"]
) -> None:
    fake.state = "live"
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=theme)
    page = context.new_page()
    page.goto(page_url)
    page.wait_for_selector(".is-live .detect-badge-latency:not([hidden])", timeout=LIVE_MS)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    is_dark = max(map(int, re.findall(r"\d+", background)[:3])) < 80
    assert is_dark == (theme == "dark")
    context.close()


def test_without_a_clock_it_says_processing(fake: Fake, page_url: str, browser: Browser) -> None:
    fake.state, fake.is_synchronised = "live", False
    page = browser.new_page()
    page.goto(page_url)
    page.wait_for_selector("text=processing 24 ms", timeout=LIVE_MS)
    fake.state = "stalled"
    page.wait_for_selector("text=No pictures from Pixel 9", timeout=LIVE_MS)
    page.wait_for_selector("text=/stale \\d+\\.\\d s/", timeout=LIVE_MS)
    fake.is_synchronised = True
    page.close()
