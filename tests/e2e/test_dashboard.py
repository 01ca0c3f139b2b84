"""What one can do on the dashboard while a phone is live, in one page with one phone.

Every test here also checks that neither page complained on its console.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e import frame_code
from tests.e2e.conftest import LiveSystem, laptop_context, phone_context
from tests.e2e.live import (
    LIVE_TIMEOUT_MS,
    PageErrors,
    PictureTap,
    SeenPicture,
    open_dashboard,
    shown_pairing_url,
    start_phone,
    wait_phone_live,
    wait_pictures,
)

pytestmark = pytest.mark.e2e

HIGH_SCORE = 0.95
FAIR_SCORE = 0.5
"""Boxes above it are found again when the clip shows the same frame a second time."""

KEEP_TRACKS = """
  window.cameraTracks = [];
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (constraints) => {
    const stream = await ask(constraints);
    window.cameraTracks.push(...stream.getTracks());
    return stream;
  };
"""


@dataclass(frozen=True)
class LivePair:
    """A dashboard page that was open before its phone came, and that phone."""

    dashboard: Page
    phone: Page
    tap: PictureTap
    errors: PageErrors


@pytest.fixture(scope="module")
def pair(
    live_system: LiveSystem, laptop_browser: Browser, launch: Callable[..., Browser]
) -> Iterator[LivePair]:
    laptop, phone_browser = laptop_context(laptop_browser), launch()
    live = LivePair(
        laptop.new_page(), phone_context(phone_browser).new_page(), PictureTap(), PageErrors()
    )
    live.dashboard.add_init_script(KEEP_TRACKS)
    live.tap.attach(live.dashboard)
    for page in (live.dashboard, live.phone):
        live.errors.attach(page)
    open_dashboard(live.dashboard, live_system.dashboard_url)
    start_phone(live.phone, shown_pairing_url(live.dashboard))
    wait_pictures(live.dashboard)
    yield live
    phone_browser.close()
    laptop.close()


@pytest.fixture(autouse=True)
def no_complaints(pair: LivePair) -> Iterator[None]:
    yield
    assert pair.errors.texts == []


def scores(picture: SeenPicture) -> list[float]:
    return [box[4] for box in picture.header["boxes"]]


def set_score(dashboard: Page, value: float) -> None:
    """Type into the slider's figure, which acts like dragging it there."""
    figure = dashboard.locator(".detect-controls .widget-readout").first
    figure.fill(f"{value:.2f}")
    figure.press("Enter")


def test_score_acts_at_once_on_the_same_frames(pair: LivePair, models_dirs: list[Path]) -> None:
    def fair(picture: SeenPicture) -> bool:
        return any(FAIR_SCORE < score < HIGH_SCORE for score in scores(picture))

    known: set[int | None] = set()

    def is_enough(picture: SeenPicture) -> bool:
        if fair(picture):
            known.add(picture.number)
        return len(known - {None}) >= 50

    pair.tap.wait_for(is_enough)
    set_score(pair.dashboard, HIGH_SCORE)
    pair.tap.wait_for(lambda p: p.number in known and not fair(p))
    following = pair.tap.next_pictures(30)
    assert all(score >= HIGH_SCORE for picture in following for score in scores(picture))

    set_score(pair.dashboard, 0.3)
    pair.tap.wait_for(fair)


def test_another_model_takes_over_without_losing_the_phone(
    pair: LivePair, models_dirs: list[Path]
) -> None:
    (picture,) = pair.tap.next_pictures(1)
    before, stream_id = picture.header["model"], picture.header["stream_id"]
    choice = pair.dashboard.locator(".detect-controls select")
    other = "nanodet-m-320" if before != "nanodet-m-320" else "fastestdet"

    for name in (other, before):
        choice.select_option(label=choice.locator("option", has_text=name).inner_text())
        pair.tap.wait_for(lambda p, name=name: p.header["model"] == name)  # type: ignore[misc]  # the name is bound
        following = pair.tap.next_pictures(10)
        assert {p.header["model"] for p in following} == {name}
        assert {p.header["stream_id"] for p in following} == {stream_id}
    expect(pair.phone.locator("body")).to_have_attribute("data-kind", "live")


def test_a_recorded_still_is_the_annotated_picture(pair: LivePair) -> None:
    pair.dashboard.get_by_text("Record", exact=True).click()
    recorders = pair.dashboard.locator(".detect-recorders")
    recorders.locator("button:has(.fa-camera)").click()
    still = recorders.locator("img")
    expect(still).to_have_attribute("src", re.compile("^blob:"), timeout=LIVE_TIMEOUT_MS)
    still.evaluate("(image) => image.decode()")
    levels = still.evaluate(frame_code.CELL_LEVELS_JS)
    assert frame_code.decode(levels) is not None, "it must show a frame of the clip"


def test_this_computers_camera_is_a_source_until_it_is_stopped(pair: LivePair) -> None:
    (of_phone,) = pair.tap.next_pictures(1)
    pair.dashboard.get_by_role("button", name="Use this computer's camera").click()
    pair.tap.wait_for(lambda p: p.header["stream_id"] != of_phone.header["stream_id"])
    wait_pictures(pair.dashboard)
    watched = pair.dashboard.locator(".detect-device.is-watched")
    expect(watched).to_contain_text("This computer", timeout=LIVE_TIMEOUT_MS)
    expect(watched.locator(".detect-dot")).to_have_class(re.compile("is-live"))

    pair.dashboard.get_by_role("button", name="Stop this computer's camera").click()
    pair.tap.wait_for(lambda p: p.header["stream_id"] == of_phone.header["stream_id"])
    own = pair.dashboard.locator(".detect-device", has_text="This computer")
    expect(own.locator(".detect-dot")).to_have_class(re.compile("is-ended"))
    pair.dashboard.wait_for_function(
        "cameraTracks.length > 0 && cameraTracks.every((track) => track.readyState === 'ended')"
    )
    wait_phone_live(pair.phone)
