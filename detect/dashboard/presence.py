"""Is anybody looking? Kernel-side work stops with its page, so that the kernel can be freed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

GONE_AFTER_S = 60.0
"""Browsers slow the timers of a hidden page down to one a minute at worst."""


class Presence:
    """Heartbeats of a page, as a condition one can wait for.

    A page that has not spoken yet counts as present for ``gone_after_s``: it is still loading.

    Parameters
    ----------
    now_s : callable
        Monotonic seconds.
    """

    def __init__(
        self, *, gone_after_s: float = GONE_AFTER_S, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._gone_after_s = gone_after_s
        self._now_s = now_s
        self._heard_s: float | None = now_s()
        self._back = asyncio.Event()

    @property
    def is_here(self) -> bool:
        """A page spoke lately and has not said goodbye."""
        return self._heard_s is not None and self._now_s() - self._heard_s < self._gone_after_s

    def on_page(self, event: str) -> None:
        """Take note of a ``heartbeat`` or a ``bye``."""
        if event == "bye":
            self._heard_s = None
        else:
            self._heard_s = self._now_s()
            self._back.set()

    async def wait(self) -> None:
        """Return at once while a page is here, else when one is back."""
        while not self.is_here:
            self._back.clear()
            await self._back.wait()
