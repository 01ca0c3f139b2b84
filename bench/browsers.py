"""Real Chromium as the phone and as the dashboard."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bench.frame_code import FrameCode
from detect.launcher.browser import find_chromium

if TYPE_CHECKING:
    from types import TracebackType

    from playwright.sync_api import Browser, BrowserContext, Page, Route

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
)
CLIP_PATH = "/bench-clip.bin"
PAGES = Path(__file__).parent / "pages"


def chromium_path() -> str:
    """Path of a Chromium on this machine.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    if path := find_chromium():
        return path
    raise FileNotFoundError(
        "no Chromium found: install it (Debian: apt-get install chromium), or set CHROMIUM to it"
    )


def page_script(name: str, size_wh: tuple[int, int], fps: float) -> str:
    """Script of ``pages/`` with its placeholders filled in."""
    text = (PAGES / name).read_text(encoding="utf-8")
    values = {
        "__CLIP_URL__": CLIP_PATH,
        "__WIDTH__": str(size_wh[0]),
        "__HEIGHT__": str(size_wh[1]),
        "__FPS__": str(fps),
        "__CODE__": FrameCode().as_javascript(),
    }
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text


class Browsers:
    """A phone browser and a dashboard browser, two processes as in life.

    Use as a context manager; everything it opened is closed at the end.
    """

    def __init__(self, *, size_wh: tuple[int, int], fps: float, clip_bytes: bytes) -> None:
        self._size_wh = size_wh
        self._fps = fps
        self._clip_bytes = clip_bytes
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        from playwright.sync_api import sync_playwright

        playwright = self._stack.enter_context(sync_playwright())
        self._browsers: list[Browser] = []
        for _ in range(2):
            browser = playwright.chromium.launch(
                executable_path=chromium_path(), args=list(CHROMIUM_FLAGS)
            )
            self._stack.callback(browser.close)
            self._browsers.append(browser)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def version(self) -> str:
        """Version of the browser, for the metadata."""
        return self._browsers[0].version

    def open_phone(self, pairing_url: str) -> Page:
        """Open the phone page, with the benchmark camera, and press Start."""
        context = self._context(
            self._browsers[0], viewport={"width": 390, "height": 844}, is_mobile=True
        )
        context.add_init_script(page_script("camera.js", self._size_wh, self._fps))
        context.route(f"**{CLIP_PATH}", self._serve_clip)
        page = context.new_page()
        page.goto(pairing_url)
        page.get_by_role("button", name="Start").click()
        return page

    def open_dashboard(self, dashboard_url: str) -> Page:
        """Open the Voila dashboard with the reader of frame codes in it."""
        context = self._context(self._browsers[1], viewport={"width": 1280, "height": 900})
        context.add_init_script(page_script("reader.js", self._size_wh, self._fps))
        page = context.new_page()
        page.goto(dashboard_url)
        page.wait_for_selector(".detect-view canvas", state="attached", timeout=60_000)
        return page

    def _context(self, browser: Browser, **options: Any) -> BrowserContext:  # noqa: ANN401  (Playwright's own options)
        # The clip is fetched by our script, which the phone page's CSP rightly forbids.
        context = browser.new_context(ignore_https_errors=True, bypass_csp=True, **options)
        self._stack.callback(context.close)
        return context

    def _serve_clip(self, route: Route) -> None:
        route.fulfill(body=self._clip_bytes, content_type="application/octet-stream")
