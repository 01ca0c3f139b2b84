"""`detect up` with everything real: a phone joins, its frames are themselves, all of it ends.

The end is part of the `live_system` fixture: no process, port or runtime file may be left.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e import frame_code
from tests.e2e.conftest import CLIP_FRAMES, LiveSystem

pytestmark = pytest.mark.e2e

NUMBER_ON_PAGE = f"""
() => {{
  const video = document.querySelector("video");
  return video && video.videoWidth ? ({frame_code.CELL_LEVELS_JS})(video) : null;
}}
"""


def start_camera(phone: Page, url: str) -> None:
    """Open the address of the QR code and press the one big button."""
    phone.goto(url)
    phone.get_by_role("button", name="Start camera").click()
    expect(phone.locator("#status")).to_have_text("Live", timeout=30_000)


def test_a_phone_joins_by_the_code_and_only_once(
    live_system: LiveSystem, open_phone: Callable[..., BrowserContext]
) -> None:
    phone = open_phone().new_page()
    start_camera(phone, live_system.pairing_url)

    levels = phone.evaluate(NUMBER_ON_PAGE)
    number = frame_code.decode(levels)
    assert number is not None
    assert number < CLIP_FRAMES

    second = open_phone().new_page()
    second.goto(live_system.pairing_url)
    second.get_by_role("button", name="Start camera").click()
    expect(second.get_by_text("used", exact=False).first).to_be_visible(timeout=15_000)


def test_the_dashboard_page_is_isolated_and_runs(
    live_system: LiveSystem, laptop: BrowserContext
) -> None:
    page = laptop.new_page()
    page.goto(live_system.dashboard_url)
    assert page.evaluate("crossOriginIsolated") is True
    expect(page.get_by_text("Where the time goes")).to_be_visible(timeout=30_000)


def test_the_phones_listener_serves_nothing_but_the_phones_page(live_system: LiveSystem) -> None:
    base = live_system.ready["phone_url"]
    with httpx.Client(base_url=base, verify=False, trust_env=False) as stranger:
        assert stranger.get("/").status_code == 200
        for path in ("/api/status", "/api/settings", "/metrics", "/api/pairing"):
            assert stranger.get(path).status_code in {401, 403, 404}, path
