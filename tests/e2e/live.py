"""Reading what the two pages show, for the end-to-end tests."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import simplejpeg
from playwright.sync_api import expect

from tests.e2e import frame_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from playwright.sync_api import ConsoleMessage, Page, WebSocket

LIVE_TIMEOUT_MS = 60_000
"""From opening to live pictures; a machine busy with two browsers and a server takes its time."""

PICTURE = ".detect-view canvas.detect-picture"


@dataclass(frozen=True, eq=False)
class SeenPicture:
    """One picture message as it reached the dashboard page."""

    header: dict[str, Any]
    rgb: NDArray[np.uint8]

    @property
    def number(self) -> int | None:
        """Frame number drawn into it."""
        return frame_code.read(self.rgb)


@dataclass
class PictureTap:
    """Keeps the newest picture messages of a page's viewer WebSockets."""

    capacity: int = 400
    messages: list[bytes] = field(default_factory=list)
    sockets: list[WebSocket] = field(default_factory=list)

    def attach(self, page: Page) -> None:
        """Listen to every viewer socket the page opens from now on."""
        page.on("websocket", self._on_socket)

    def _on_socket(self, socket: WebSocket) -> None:
        if socket.url.endswith("/api/view"):
            self.sockets.append(socket)
            socket.on("framereceived", self._on_frame)

    def _on_frame(self, payload: str | bytes) -> None:
        if isinstance(payload, bytes):
            self.messages.append(payload)
            del self.messages[: -self.capacity]

    def wait_for(self, is_right: Callable[[SeenPicture], bool]) -> SeenPicture:
        """Wait for a picture from now on that ``is_right``."""
        payload = self.sockets[-1].wait_for_event(
            "framereceived",
            lambda payload: isinstance(payload, bytes) and is_right(_decode(payload)),
            timeout=LIVE_TIMEOUT_MS,
        )
        assert isinstance(payload, bytes)
        return _decode(payload)

    def next_pictures(self, n: int) -> list[SeenPicture]:
        """The next ``n`` pictures from now on."""
        found: list[SeenPicture] = []

        def is_last(picture: SeenPicture) -> bool:
            found.append(picture)
            return len(found) >= n

        self.wait_for(is_last)
        return found

    def pictures(self) -> list[SeenPicture]:
        """Decode what was kept, oldest first."""
        return [_decode(message) for message in self.messages]


def _decode(message: bytes) -> SeenPicture:
    (length,) = struct.unpack_from("<I", message)
    header = json.loads(message[4 : 4 + length])
    return SeenPicture(header, simplejpeg.decode_jpeg(message[4 + length :], colorspace="RGB"))


@dataclass
class PageErrors:
    """What pages complain about: uncaught errors, and errors on their consoles."""

    texts: list[str] = field(default_factory=list)

    def attach(self, page: Page) -> None:
        """Listen to ``page`` from now on."""
        page.on("pageerror", lambda error: self.texts.append(f"uncaught: {error}"))
        page.on("console", self._on_console)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.texts.append(f"{message.text} ({message.location.get('url')})")


def open_dashboard(page: Page, url: str) -> None:
    """Open the dashboard and wait until its widgets are there."""
    page.goto(url)
    page.wait_for_selector(".detect-view canvas", state="attached", timeout=LIVE_TIMEOUT_MS)


def shown_pairing_url(dashboard: Page) -> str:
    """The address on the dashboard's card, as a phone would scan it."""
    link = dashboard.get_by_text(re.compile(r"https://\S+/#\S{16,}")).first
    expect(link).to_be_attached(timeout=LIVE_TIMEOUT_MS)
    return (link.text_content() or "").strip()


def start_phone(page: Page, pairing_url: str) -> None:
    """Open the address of the QR code, press Start, wait until the phone says it is live."""
    page.goto(pairing_url)
    page.get_by_role("button", name="Start").click()
    wait_phone_live(page)


def wait_phone_live(page: Page) -> None:
    """Wait until the phone page says that it is live."""
    page.wait_for_selector('body[data-kind="live"]', timeout=LIVE_TIMEOUT_MS)


def wait_pictures(page: Page) -> None:
    """Wait until the page's view draws pictures whose frame number changes and can be read."""
    first = _wait_number(page, other_than=None)
    _wait_number(page, other_than=first)


def _wait_number(page: Page, *, other_than: int | None) -> int:
    handle = page.wait_for_function(
        f"""([selector, known]) => {{
            const canvas = document.querySelector(selector);
            if (!canvas || canvas.clientWidth === 0 || canvas.width < 64) return null;
            const levels = ({frame_code.CELL_LEVELS_JS})(canvas);
            const bits = levels.slice(2, 18).map(l => l > (levels[0] + levels[1]) / 2 ? 1 : 0);
            const number = bits.reduce((sum, bit) => sum * 2 + bit, 0);
            return levels[0] - levels[1] > 60 && number !== known ? [number] : null;
        }}""",
        arg=[PICTURE, other_than],
        timeout=LIVE_TIMEOUT_MS,
    )
    return int(handle.json_value()[0])


def canvas_number(page: Page) -> int | None:
    """Frame number on the dashboard's canvas now."""
    levels = page.eval_on_selector(PICTURE, frame_code.CELL_LEVELS_JS)
    return frame_code.decode(levels)
