"""Reading what the two pages show, for the end-to-end tests."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import simplejpeg

from tests.e2e import frame_code

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from playwright.sync_api import Page, WebSocket

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

    def attach(self, page: Page) -> None:
        """Listen to every viewer socket the page opens from now on."""
        page.on("websocket", self._on_socket)

    def _on_socket(self, socket: WebSocket) -> None:
        if socket.url.endswith("/api/view"):
            socket.on("framereceived", self._on_frame)

    def _on_frame(self, payload: str | bytes) -> None:
        if isinstance(payload, bytes):
            self.messages.append(payload)
            del self.messages[: -self.capacity]

    def pictures(self) -> list[SeenPicture]:
        """Decode what was kept, oldest first."""
        return [_decode(message) for message in self.messages]


def _decode(message: bytes) -> SeenPicture:
    (length,) = struct.unpack_from("<I", message)
    header = json.loads(message[4 : 4 + length])
    return SeenPicture(header, simplejpeg.decode_jpeg(message[4 + length :], colorspace="RGB"))


def start_phone(page: Page, pairing_url: str) -> None:
    """Open the address of the QR code, press Start, wait until the phone says it is live."""
    page.goto(pairing_url)
    page.get_by_role("button", name="Start").click()
    wait_phone_live(page)


def wait_phone_live(page: Page) -> None:
    """Wait until the phone page says that it is live."""
    page.wait_for_selector('body[data-kind="live"]', timeout=LIVE_TIMEOUT_MS)


def wait_pictures(page: Page) -> None:
    """Wait until the dashboard draws pictures whose frame number changes and can be read."""
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
