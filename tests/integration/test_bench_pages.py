"""The benchmark's ground truth: its reader reads from pixels what its camera wrote there."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from bench.browsers import CLIP_PATH, PAGES, page_script
from bench.clips import packed_frames

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.integration

ORIGIN = "https://bench.invalid/"  # never asked for: every request is answered here
SIZE_WH = (640, 480)
FPS = 30.0
N_SHOTS = 30
VP8_BITS_PER_S = 300_000
JPEG_QUALITY = 75

CATCH_CAMERA_CANVAS = """
const create = document.createElement.bind(document);
document.createElement = (name) => (window.cameraCanvas = create(name));
"""
TAKE_SHOTS = """
async (count) => {
  await navigator.mediaDevices.getUserMedia({ video: true });
  const shots = [];
  while (shots.length < count) {
    const before = window.__benchFramesDrawn;
    while (window.__benchFramesDrawn === before) await new Promise((go) => setTimeout(go));
    shots.push(window.cameraCanvas.toDataURL("image/png"));
  }
  return shots;
}
"""
SHOW = """
async ([urls, width, height]) => {
  const view = Object.assign(document.createElement("div"), { className: "detect-view" });
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  document.body.append(view);
  view.append(canvas);
  const context = canvas.getContext("2d");
  const first = window.__benchReadings.length;
  for (const src of urls) {
    const image = Object.assign(new Image(), { src });
    await image.decode();
    context.drawImage(image, 0, 0, width, height);
    await new Promise((go) => setTimeout(go)); // the reading is a microtask of the drawing
  }
  view.remove();
  return window.__benchReadings.slice(first);
}
"""


def open_page(browser: Browser, script: str) -> Page:
    page = browser.new_page()
    clip = packed_frames(None, SIZE_WH, n_frames=N_SHOTS)
    page.route(f"**{CLIP_PATH}", lambda route: route.fulfill(body=clip))
    page.route(ORIGIN, lambda route: route.fulfill(body="<body>", content_type="text/html"))
    page.add_init_script(script)
    page.goto(ORIGIN)
    return page


@pytest.fixture(scope="module")
def shots(browser: Browser) -> list[NDArray[np.uint8]]:
    """Pictures of the camera's canvas, as RGB."""
    page = open_page(browser, CATCH_CAMERA_CANVAS + page_script("camera.js", SIZE_WH, FPS))
    urls = page.evaluate(TAKE_SHOTS, N_SHOTS)
    page.close()
    files = [io.BytesIO(base64.b64decode(url.partition(",")[2])) for url in urls]
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


@pytest.fixture(scope="module")
def reader(browser: Browser) -> Iterator[Page]:
    page = open_page(browser, page_script("reader.js", SIZE_WH, FPS))
    yield page
    page.close()


def read_times_ms(
    reader: Page, jpegs: list[bytes], size_wh: tuple[int, int] = SIZE_WH
) -> list[int | None]:
    """Times the reader sees in pictures shown on the dashboard's canvas; None: unreadable."""
    urls = ["data:image/jpeg;base64," + base64.b64encode(jpeg).decode() for jpeg in jpegs]
    readings = reader.evaluate(SHOW, [urls, *size_wh])
    assert len(readings) == len(jpegs)
    # The page rounds halves up; Python's round() would not.
    return [
        None if reading is None else (math.floor(reading[0] + 0.5) - reading[1]) % (1 << 24)
        for reading in readings
    ]


def jpegs(pictures: list[NDArray[np.uint8]], quality: int) -> list[bytes]:
    return [
        bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(each), quality=quality))
        for each in pictures
    ]


def through_vp8(pictures: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    coder = av.CodecContext.create("libvpx", "w")
    assert isinstance(coder, av.VideoCodecContext)
    coder.width, coder.height, coder.pix_fmt = *SIZE_WH, "yuv420p"
    coder.time_base = Fraction(1, round(FPS))
    coder.bit_rate = VP8_BITS_PER_S
    coder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    decoder = av.CodecContext.create("libvpx", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoded = []
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts = index
        for packet in coder.encode(frame):
            decoded += [each.to_ndarray(format="rgb24") for each in decoder.decode(packet)]
    return [np.asarray(each, np.uint8) for each in decoded]


@pytest.mark.parametrize("name", sorted(page.name for page in PAGES.glob("*.js")))
def test_every_placeholder_is_filled_in(name: str) -> None:
    raw = (PAGES / name).read_text(encoding="utf-8")
    placeholder = re.compile(r"__[A-Z_]+__")
    assert placeholder.search(raw), "else this test looks for the wrong thing"
    assert placeholder.findall(page_script(name, SIZE_WH, FPS)) == []


def test_times_are_read_as_they_were_drawn(shots: list[NDArray[np.uint8]], reader: Page) -> None:
    times_ms = read_times_ms(reader, jpegs(shots, 98))
    assert None not in times_ms
    known = [time for time in times_ms if time is not None]
    assert len(set(known)) == N_SHOTS, "every frame has its own time"
    assert known == sorted(known) or max(known) - min(known) > 1 << 23, "or the time wrapped"


def test_times_survive_vp8_and_jpeg(shots: list[NDArray[np.uint8]], reader: Page) -> None:
    drawn_ms = read_times_ms(reader, jpegs(shots, 98))
    shown = through_vp8(shots)
    assert len(shown) == N_SHOTS
    assert read_times_ms(reader, jpegs(shown, JPEG_QUALITY)) == drawn_ms


def test_times_survive_a_smaller_picture(shots: list[NDArray[np.uint8]], reader: Page) -> None:
    smaller = jpegs(shots, JPEG_QUALITY)
    assert read_times_ms(reader, smaller, (480, 360)) == read_times_ms(reader, smaller)


def test_a_picture_without_a_code_is_not_read(reader: Page) -> None:
    plain = [np.full((480, 640, 3), level, np.uint8) for level in (0, 255)]
    assert read_times_ms(reader, jpegs(plain, JPEG_QUALITY)) == [None, None]
