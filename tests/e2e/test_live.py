"""The main job: a phone's camera on the dashboard with live, correct boxes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from jsonschema import validate
from numpy.typing import NDArray
from playwright.sync_api import BrowserContext, Page, expect

from detect.geometry import box_iou
from detect.vision.pipeline import Pipeline, load_pipeline
from tests.e2e.conftest import CLIP_FRAMES, LiveSystem
from tests.e2e.live import (
    LIVE_TIMEOUT_MS,
    PictureTap,
    SeenPicture,
    canvas_number,
    open_dashboard,
    shown_pairing_url,
    start_phone,
    wait_phone_live,
    wait_pictures,
)

pytestmark = pytest.mark.e2e

SCHEMA = Path(__file__).parents[2] / "bench" / "schema" / "metrics.schema.json"
SURE_SCORE = 0.8
"""Between a frame and its JPEG the score of half-hidden people differs by up to 0.3 (measured)."""
PERSON = 0


@pytest.fixture
def dashboard(laptop: BrowserContext, live_system: LiveSystem) -> Page:
    page = laptop.new_page()
    open_dashboard(page, live_system.dashboard_url)
    return page


@pytest.fixture
def pairing_url(dashboard: Page) -> str:
    return shown_pairing_url(dashboard)


@pytest.fixture
def phone(open_phone: Callable[..., BrowserContext], pairing_url: str) -> Iterator[Page]:
    page = open_phone().new_page()
    start_phone(page, pairing_url)
    yield page
    stop = page.get_by_role("button", name="Stop")
    if stop.is_visible():
        stop.click()


@pytest.fixture(scope="module")
def reference(models_dirs: list[Path]) -> Iterator[Pipeline]:
    pipeline = load_pipeline("yolox-nano", allow_download=False)
    yield pipeline
    pipeline.close()


@pytest.fixture(scope="session")
def clip_pictures(numbered_clip: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(numbered_clip), format="mjpeg") as container:
        return [np.asarray(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def test_boxes_belong_to_the_frame_they_come_with(
    dashboard: Page,
    open_phone: Callable[..., BrowserContext],
    pairing_url: str,
    reference: Pipeline,
    clip_pictures: list[NDArray[np.uint8]],
    test_media: Path,
) -> None:
    """A picture and its boxes arrive together, and the boxes are where its own people are."""
    tap = PictureTap()
    tap.attach(dashboard)
    dashboard.reload()  # so that the socket is opened while we listen
    phone = open_phone().new_page()
    start_phone(phone, pairing_url)
    wait_pictures(dashboard)
    tap.wait_for(lambda picture: bool(picture.header["model"]))  # it may still be loading
    tap.messages.clear()
    tap.next_pictures(CLIP_FRAMES)  # once through the clip, whatever part of it is empty
    assert canvas_number(dashboard) is not None
    phone.get_by_role("button", name="Stop").click()

    pictures = [p for p in tap.pictures() if p.number is not None and p.number < len(clip_pictures)]
    assert len(pictures) > 50, "most numbers must be readable"
    n_sure = sum(_check_boxes(picture, reference) for picture in pictures[::5])
    assert n_sure >= 5, "the clip must show people"
    in_clip = [_people(reference, clip_pictures[p.number or 0]) for p in pictures[::5]]
    assert sum(map(len, in_clip)) >= 5


def _check_boxes(picture: SeenPicture, reference: Pipeline) -> int:
    """Assert that every sure person of the very picture that came is boxed; return how many."""
    sure = _people(reference, picture.rgb)
    boxes = np.array(picture.header["boxes"], np.float32).reshape(-1, 7)
    people = boxes[boxes[:, 5] == PERSON][:, :4]
    for box, best in zip(sure, box_iou(sure, people).max(axis=1, initial=0), strict=True):
        assert best > 0.8, f"picture {picture.number}: no box at {box}, got {people}"
    return len(sure)


def _people(reference: Pipeline, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    found = reference(rgb, score_threshold=SURE_SCORE, iou_threshold=0.5).detections
    people: NDArray[np.float32] = found.xyxy_px[found.class_id == PERSON]
    return people


def test_live_page_moves_counts_and_exports(dashboard: Page, phone: Page) -> None:
    wait_pictures(dashboard)
    line = dashboard.locator(".detect-charts path.line").first
    expect(line).to_be_attached(timeout=LIVE_TIMEOUT_MS)
    before = line.get_attribute("d")
    expect(line).not_to_have_attribute("d", before or "", timeout=LIVE_TIMEOUT_MS)
    expect(dashboard.locator(".detect-badge-latency")).to_have_text(re.compile(r"\d+ ms"))
    with dashboard.expect_download() as download:
        dashboard.get_by_role("button", name=re.compile("metrics", re.IGNORECASE)).click()
    document = json.loads(Path(download.value.path()).read_text("utf-8"))
    validate(document, json.loads(SCHEMA.read_text("utf-8")))
    stages = document["stage_metrics"]
    total_ns = sum(stage["sum_ns"] for stage in stages["stages"].values())
    assert total_ns == stages["total"]["sum_ns"], "the stages sum to the total exactly"


def test_code_works_once(
    dashboard: Page, pairing_url: str, phone: Page, open_phone: Callable[..., BrowserContext]
) -> None:
    second = open_phone().new_page()
    second.goto(pairing_url)
    second.get_by_role("button", name="Start").click()
    expect(second.locator("#title")).to_contain_text(re.compile("code", re.IGNORECASE))
    expect(second.locator("body")).not_to_have_attribute("data-kind", "live")
    wait_pictures(dashboard)  # the first phone did not notice


def test_reload_finds_the_session(dashboard: Page, phone: Page) -> None:
    wait_pictures(dashboard)
    dashboard.reload()
    wait_pictures(dashboard)
    phone.reload()
    start = phone.get_by_role("button", name="Start")
    if start.is_visible():
        start.click()
    wait_phone_live(phone)
    wait_pictures(dashboard)


def test_two_pages_watch_one_phone(
    dashboard: Page, phone: Page, laptop: BrowserContext, live_system: LiveSystem
) -> None:
    assert laptop.browser is not None
    other = laptop.browser.new_context(viewport={"width": 390, "height": 844})
    page = other.new_page()
    page.goto(live_system.dashboard_url)  # opened after the phone
    wait_pictures(page)
    wait_pictures(dashboard)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, "no sideways scrolling on a small screen"
    other.close()


def test_removed_phone_is_told(dashboard: Page, phone: Page) -> None:
    wait_pictures(dashboard)
    row = dashboard.locator(".detect-device.is-watched:has(.detect-dot.is-live)")
    row.get_by_role("button", name="Remove").click()
    expect(phone.locator("body")).not_to_have_attribute(
        "data-kind", "live", timeout=LIVE_TIMEOUT_MS
    )
    expect(phone.locator("#title")).to_contain_text(re.compile("removed", re.IGNORECASE))
