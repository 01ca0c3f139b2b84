"""From the start command to a dashboard that can be used, on a machine where all is installed.

The final number is the median over fresh starts of: command → both servers answer, page opened →
pairing code visible, and their sum. Every start has a new home folder, so a new certificate is part
of it; the browser is running already, as on a laptop in use.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bench.browsers import Browsers
from bench.metadata import collect
from bench.product import running_product
from bench.stats import percentiles

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE_TIMEOUT_MS = 60_000


def run(n_starts: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure ``n_starts`` starts; return the result as stored."""
    ready_s: list[float] = []
    page_s: list[float] = []
    with Browsers(size_wh=(640, 480), fps=30, clip_bytes=b"") as browsers:
        metadata = collect(browsers.version)
        for index in range(n_starts):
            with running_product() as ready:
                opened = time.perf_counter()
                page = browsers.open_dashboard(ready["dashboard_url"])
                page.get_by_text("Connect a phone").wait_for(timeout=PAGE_TIMEOUT_MS)
                page_s.append(time.perf_counter() - opened)
                page.context.close()
            ready_s.append(ready["start_s"])
            progress(f"{index + 1} of {n_starts}: {ready_s[-1]:.1f} s + {page_s[-1]:.1f} s")
    total_s = [servers + page for servers, page in zip(ready_s, page_s, strict=True)]
    return {
        "format": 1,
        "benchmark": "startup",
        "metadata": metadata,
        "settings": {"n_starts": n_starts},
        "servers_ready_s": percentiles(ready_s),
        "page_usable_s": percentiles(page_s),
        "total_s": percentiles(total_s),
        "raw": {"servers_ready_s": ready_s, "page_usable_s": [round(s, 2) for s in page_s]},
    }
