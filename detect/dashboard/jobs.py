"""What the user set off: tasks with an owner, and changes that replace each other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from detect.errors import DetectError

logger = logging.getLogger(__name__)


class Jobs:
    """Run coroutines from widget callbacks; own them until they are done.

    Parameters
    ----------
    on_error : callable
        Gets words fit for the user when a job fails.
    """

    def __init__(self, on_error: Callable[[str], None]) -> None:
        self._on_error = on_error
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, job: Coroutine[Any, Any, None]) -> None:
        """Run ``job`` soon."""
        task = asyncio.get_running_loop().create_task(self._guard(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait until every job is done."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Cancel what still runs and wait for it to end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guard(self, job: Coroutine[Any, Any, None]) -> None:
        try:
            await job
        except DetectError as error:
            self._on_error(str(error))
        except Exception:
            logger.exception("a job of the dashboard failed")
            self._on_error("Something went wrong; the kernel's log has the details.")


class LatestChange:
    """Send changes one at a time; while one is under way, newer ones merge.

    A slider that is dragged makes dozens of changes: only the one under way and the newest matter.
    """

    def __init__(self, send: Callable[[dict[str, str | float]], Awaitable[None]]) -> None:
        self._send = send
        self._waiting: dict[str, str | float] = {}
        self._is_sending = False

    @property
    def is_idle(self) -> bool:
        """Nothing is under way and nothing waits."""
        return not self._is_sending

    def put(self, name: str, value: str | float) -> bool:
        """Note a change; True when the caller must start :meth:`flush`."""
        self._waiting[name] = value
        must_start, self._is_sending = not self._is_sending, True
        return must_start

    async def flush(self) -> None:
        """Send what waits, and what comes meanwhile; ``send`` handles its own failures."""
        try:
            while self._waiting:
                changes, self._waiting = self._waiting, {}
                await self._send(changes)
        finally:
            self._is_sending = False
