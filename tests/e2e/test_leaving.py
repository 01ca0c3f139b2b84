"""Those who go without a word: a phone's tab, a phone out of battery, the media server itself."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.conftest import LiveSystem, laptop_context
from tests.e2e.live import (
    LIVE_TIMEOUT_MS,
    open_dashboard,
    shown_pairing_url,
    start_phone,
    wait_phone_live,
    wait_pictures,
)

pytestmark = pytest.mark.e2e

STAGE = ".detect-view .detect-stage"
HEADER = ".detect-header [role=status]"


@pytest.fixture(scope="module")
def dashboard(live_system: LiveSystem, laptop_browser: Browser) -> Iterator[Page]:
    laptop = laptop_context(laptop_browser)
    page = laptop.new_page()
    open_dashboard(page, live_system.dashboard_url)
    yield page
    laptop.close()


@pytest.fixture
def phone(dashboard: Page, open_phone: Callable[..., BrowserContext]) -> Page:
    page = open_phone().new_page()
    start_phone(page, shown_pairing_url(dashboard))
    wait_pictures(dashboard)
    return page


def kill_browser(browser: Browser | None) -> None:
    """End all its processes at once, as an empty battery does: nobody says goodbye."""
    assert browser is not None
    info = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
    for process in info["processInfo"]:
        if psutil.pid_exists(process["id"]):
            os.kill(process["id"], signal.SIGKILL)


def test_a_closed_tab_is_an_ended_phone(dashboard: Page, phone: Page) -> None:
    phone.close()
    expect(dashboard.locator(HEADER)).to_contain_text("ended", timeout=LIVE_TIMEOUT_MS)
    expect(dashboard.locator(STAGE)).to_have_attribute("data-state", "ended")
    expect(dashboard.locator(".detect-qr svg")).to_be_visible()


def test_a_phone_out_of_battery_stalls_and_then_ends(dashboard: Page, phone: Page) -> None:
    kill_browser(phone.context.browser)
    words = dashboard.locator(".detect-view .detect-words")
    expect(words).to_contain_text("No pictures from", timeout=LIVE_TIMEOUT_MS)
    expect(dashboard.locator(".detect-badge-stale")).to_have_text(re.compile(r"stale \d+\.\d s"))
    expect(dashboard.locator(HEADER)).to_contain_text("ended", timeout=LIVE_TIMEOUT_MS)


def test_a_killed_media_server_comes_back_and_so_does_the_phone(
    dashboard: Page, phone: Page, live_system: LiveSystem
) -> None:
    old_code = shown_pairing_url(dashboard)
    os.kill(live_system.ready["pids"]["media_server"], signal.SIGKILL)
    dashboard.wait_for_selector("text=The media server is gone", timeout=LIVE_TIMEOUT_MS)
    dashboard.wait_for_selector("text=media server missing", timeout=LIVE_TIMEOUT_MS)

    expect(dashboard.locator(HEADER)).not_to_contain_text("missing", timeout=LIVE_TIMEOUT_MS)
    expect(dashboard.get_by_text("The media server is gone")).to_be_hidden(timeout=LIVE_TIMEOUT_MS)
    expect(dashboard.locator(".detect-address")).not_to_have_text(old_code)
    wait_pictures(dashboard)
    wait_phone_live(phone)
