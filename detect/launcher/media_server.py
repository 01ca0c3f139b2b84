"""The media server as a child: started, its ready line read, started again when it dies."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass, field
from typing import Any

from detect.config import TOKEN_ENV
from detect.errors import ServerError
from detect.launcher.children import Child
from detect.launcher.options import UpOptions

READY_TIMEOUT_S = 120.0
"""The first start may make a certificate and look for a model on a slow machine."""
BACKOFF_S = (0.2, 1.0, 2.0, 4.0, 8.0)
"""Pause before the first, second, … restart in a row."""
CALM_S = 60.0
"""A server that ran this long was healthy: its next death counts as the first."""


@dataclass(frozen=True, slots=True)
class MediaReady:
    """The ready line of ``detect serve --json``."""

    pid: int
    local_url: str
    phone_url: str
    pairing_url: str = field(repr=False)
    lan_port: int
    local_port: int
    lan_addresses: tuple[str, ...]


def parse_ready(line: str) -> MediaReady | None:
    """Read a line of the media server's stdout; None when it is not the ready line.

    Raises
    ------
    ServerError
        When it is, but a field is missing or of another type.
    """
    try:
        message = json.loads(line)
    except ValueError:
        return None
    if not isinstance(message, dict) or message.get("event") != "ready":
        return None
    try:
        return _from_message(message)
    except (KeyError, TypeError, ValueError) as error:
        raise ServerError(
            f"media server: expected a ready line with all fields, this is wrong: {error}. "
            "Do `detect` on the command line and this program come from the same version?"
        ) from error


def _from_message(message: dict[str, Any]) -> MediaReady:
    return MediaReady(
        pid=int(message["pid"]),
        local_url=str(message["local_url"]),
        phone_url=str(message["phone_url"]),
        pairing_url=str(message["pairing_url"]),
        lan_port=int(message["lan_port"]),
        local_port=int(message["local_port"]),
        lan_addresses=tuple(map(str, message["lan_addresses"])),
    )


class MediaServer:
    """The media server and its restarts, always on the same ports with the same token."""

    def __init__(
        self, options: UpOptions, *, access_token: str, lan_port: int, local_port: int
    ) -> None:
        self._arguments = options.serve_arguments(lan_port=lan_port, local_port=local_port)
        self._env = {**os.environ, TOKEN_ENV: access_token, "PYTHONUNBUFFERED": "1"}
        self._local_port = local_port
        self._drain: asyncio.Task[None] | None = None
        self.child: Child | None = None

    async def start(self) -> MediaReady:
        """Start it and wait until it is ready.

        Raises
        ------
        ServerError
            When it ends before, takes too long, or listens elsewhere than asked.
        """
        self.child = await Child.start(
            self._arguments, env=self._env, log_name="media-server", reads_stdout=True
        )
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                ready = await self._read_ready(self.child)
        except TimeoutError:
            raise self._failed(f"was not ready within {READY_TIMEOUT_S:.0f} s") from None
        if ready.local_port != self._local_port:
            raise ServerError(
                f"media server: expected it on port {self._local_port}, it took "
                f"{ready.local_port} because another program was faster. Start again."
            )
        self._drain = asyncio.create_task(_drain(self.child))
        return ready

    async def ended(self) -> str:
        """Wait until the running server ends; returns what happened in words."""
        assert self.child is not None
        return await self.child.ended()

    async def end(self, patience_s: float) -> None:
        """End it and everything that belongs to it."""
        if self.child is not None:
            await self.child.end(patience_s)
        if self._drain is not None:
            self._drain.cancel()
            await asyncio.wait([self._drain])

    def tail(self) -> str:
        """The end of its log."""
        return self.child.log.tail() if self.child else ""

    async def _read_ready(self, child: Child) -> MediaReady:
        assert child.process.stdout is not None
        while line := await child.process.stdout.readline():
            if ready := parse_ready(line.decode("utf-8", "replace")):
                return ready
        raise self._failed(await self.ended())

    def _failed(self, what: str) -> ServerError:
        assert self.child is not None
        return ServerError(
            f"media server: it {what}. The end of its log ({self.child.log.path}):\n{self.tail()}"
        )


async def _drain(child: Child) -> None:
    """Keep its stdout pipe from filling up; whatever comes goes to the log."""
    assert child.process.stdout is not None
    while chunk := await child.process.stdout.read(65536):
        if not child.log.file.closed:
            child.log.file.write(chunk)
            child.log.file.flush()


class RestartLimit:
    """How long to wait before the next restart, and when to give up.

    Times are in seconds on any monotonic clock, given by the caller.
    """

    def __init__(self) -> None:
        self._n_in_a_row = 0

    def next_pause_s(self, *, ran_s: float) -> float | None:
        """Pause before the restart of a server that ran for ``ran_s``; None: give up."""
        if ran_s >= CALM_S:
            self._n_in_a_row = 0
        if self._n_in_a_row >= len(BACKOFF_S):
            return None
        pause_s = BACKOFF_S[self._n_in_a_row]
        self._n_in_a_row += 1
        return pause_s
