"""The viewers: one WebSocket per page (docs/protocol.md §2).

A picture crosses from the engine worker to the loop once, and from there goes to every viewer that
is ready. Each viewer has its own sender task, so a page that stops reading holds up itself only,
and is closed after a bounded time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol, assert_never

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from detect.clock import NowNs, now_ns
from detect.errors import ProtocolError
from detect.protocol import (
    PROTOCOL_VERSION,
    Ack,
    Drawn,
    Hello,
    StreamChanged,
    ViewerMessage,
    ViewerPong,
    Visible,
    Watch,
    encode,
    parse_viewer_message,
)
from detect.rtc.clocksync import ClockSync
from detect.server.feed import SentPicture, ViewerFeed
from detect.server.pictures import Picture, picture_message
from detect.server.tasks import TaskOwner
from detect.types import FrameTimes

logger = logging.getLogger(__name__)

SEND_TIMEOUT_S = 10.0
"""A page whose socket takes no bytes for this long is closed."""
TICK_S = 0.25
"""How often slow pages and due clock comparisons are looked for."""
MAX_TEXTS = 16
"""Text messages waiting for one viewer; more means that it does not read, and it is closed."""
MAX_ERRORS = 20
"""Messages that break the protocol before a viewer is closed."""

GOING_AWAY = 1001
POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013


class ViewerEvents(Protocol):
    """What the viewers ask of, and tell, the hub."""

    def resolve(self, requested: str | None) -> str | None:
        """Stream a viewer gets that asked for ``requested``."""
        ...

    def describe(self, stream_id: str | None) -> StreamChanged:
        """State of a stream in words."""
        ...

    def on_drawn(self, sent: SentPicture, times: FrameTimes, error_ms: float | None) -> None:
        """A viewer drew a picture; ``times`` are complete."""
        ...


class Viewer:
    """One page."""

    def __init__(self, socket: WebSocket, events: ViewerEvents, now: NowNs) -> None:
        self.feed = ViewerFeed(now)
        self.clock = ClockSync(now=now)
        self._socket = socket
        self._events = events
        self._now = now
        self._texts: deque[str] = deque()
        self._next_ping_ns = 0
        self._is_ping_due = True
        self._n_errors = 0
        self._wake = asyncio.Event()
        self._closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    # What others ask of it.

    def say(self, message: Hello | StreamChanged) -> None:
        """Queue a text message."""
        if len(self._texts) >= MAX_TEXTS:
            self.end(POLICY_VIOLATION, "messages are not read")
            return
        self._texts.append(encode(message))
        self._wake.set()

    def show(self, picture: Picture) -> None:
        """Offer a picture of the watched stream."""
        self.feed.offer(picture)
        if self.feed.has_next:
            self._wake.set()

    def follow(self, *, is_news: bool) -> None:
        """Take the stream that is right now; tell the page when it changed or ``is_news``."""
        stream_id = self._events.resolve(self.feed.requested)
        if self.feed.watch(stream_id) or is_news:
            self.say(self._events.describe(stream_id))

    def tick(self) -> None:
        """Regular look at clock and deadlines."""
        if self._now() >= self._next_ping_ns:
            self._is_ping_due = True
            self._wake.set()
        if self.feed.is_overdue():
            self.end(POLICY_VIOLATION, "pictures are not acknowledged")

    def end(self, code: int, reason: str) -> None:
        """Close the connection with this code."""
        if not self._closed.done():
            self._closed.set_result((code, reason))

    # Its life.

    async def run(self, executor: ThreadPoolExecutor) -> None:
        """Serve the page until it goes or :meth:`end` is called."""
        tasks = [
            asyncio.create_task(self._receive(), name="viewer-receive"),
            asyncio.create_task(self._send(executor), name="viewer-send"),
        ]
        try:
            ends: list[asyncio.Future[Any]] = [*tasks, self._closed]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            errors = await asyncio.gather(*tasks, return_exceptions=True)
        for error in errors:
            if isinstance(error, Exception) and not isinstance(error, WebSocketDisconnect):
                logger.warning("a viewer's connection failed: %r", error)
        code, reason = self._closed.result() if self._closed.done() else (GOING_AWAY, "")
        await close_socket(self._socket, code, reason)

    async def _receive(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("text") or message.get("bytes") or ""
            try:
                self._on_message(parse_viewer_message(data))
            except ProtocolError as error:
                self._on_error(error)

    def _on_error(self, error: ProtocolError) -> None:
        self._n_errors += 1
        logger.debug("viewer: message dropped: %s", error)
        if self._n_errors > MAX_ERRORS:
            self.end(POLICY_VIOLATION, "too many messages that break the protocol")

    def _on_message(self, message: ViewerMessage) -> None:
        match message:
            case Ack():
                self.feed.ack(message.seq)
            case Drawn():
                self.feed.ack(message.seq)
                self._on_drawn(message)
            case ViewerPong():
                self.clock.on_pong(message)
            case Visible():
                self.feed.set_visible(message.value)
            case Watch():
                self.feed.requested = message.stream_id
                self.follow(is_news=True)
            case _:
                assert_never(message)
        if self.feed.has_next:
            self._wake.set()

    def _on_drawn(self, message: Drawn) -> None:
        sent = self.feed.drawn(message.seq)
        arrived = self.clock.to_server_ns(message.arrived_ms)
        drawn = self.clock.to_server_ns(message.drawn_ms)
        if sent is None or arrived is None or drawn is None:
            return
        phone_error_ms = sent.picture.result.frame.captured_error_ms
        error_ms = None if phone_error_ms is None else phone_error_ms + drawn[1]
        times = replace(sent.times, arrived_ns=arrived[0], drawn_ns=drawn[0])
        self._events.on_drawn(sent, times, error_ms)

    async def _send(self, executor: ThreadPoolExecutor) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            # Pictures first: a text may wait, a picture gets old.
            while (taken := self.feed.take()) is not None:
                await _in_time(self._send_picture(*taken, executor))
            if self._is_ping_due:
                await _in_time(self._send_ping())
            while self._texts:
                await _in_time(self._socket.send_text(self._texts.popleft()))

    async def _send_ping(self) -> None:
        self._is_ping_due = False
        self._next_ping_ns = self._now() + round(self.clock.next_ping_in_s * 1e9)
        await self._socket.send_text(encode(self.clock.ping()))

    async def _send_picture(self, seq: int, picture: Picture, executor: ThreadPoolExecutor) -> None:
        if not picture.is_encoded:
            await asyncio.get_running_loop().run_in_executor(executor, picture.jpeg)
        times = replace(picture.result.times, sent_ns=self._now())
        data = picture_message(picture, seq=seq, times=times, captured=self._captured(picture))
        self.feed.sent(seq, picture, times)
        await self._socket.send_bytes(data)

    def _captured(self, picture: Picture) -> tuple[float, float] | None:
        """Capture time in viewer time and the bound of its error, both hops included."""
        frame = picture.result.frame
        if frame.captured_ns is None or frame.captured_error_ms is None:
            return None
        mapped = self.clock.to_remote_ms(frame.captured_ns)
        return mapped and (mapped[0], mapped[1] + frame.captured_error_ms)


class Viewers:
    """All pages.

    Parameters
    ----------
    events : ViewerEvents
        The hub.
    max_viewers : int
        Further ones are refused with close code 1013.
    """

    def __init__(self, events: ViewerEvents, *, max_viewers: int, now: NowNs = now_ns) -> None:
        self._events = events
        self._max_viewers = max_viewers
        self._now = now
        # Replaced, never changed: the engine worker reads it without a lock.
        self._viewers: tuple[Viewer, ...] = ()
        self._hello = Hello(PROTOCOL_VERSION, (), "")
        # Encodes pictures that waited for a viewer; those that did not come encoded.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="detect-jpeg")
        self._owner = TaskOwner()
        self._is_closing = False
        self.n_pictures_sent = 0
        self.n_pictures_replaced = 0

    def start(self) -> None:
        """Begin the regular look at clocks and slow pages."""
        self._owner.start(self._tick(), "viewers-tick")

    def __len__(self) -> int:
        return len(self._viewers)

    def is_wanted(self, stream_id: str) -> bool:
        """Whether some viewer would get a picture of this stream at once; any thread."""
        return any(
            viewer.feed.stream_id == stream_id and viewer.feed.is_ready for viewer in self._viewers
        )

    def show(self, picture: Picture) -> None:
        """Offer a picture to every viewer of its stream."""
        stream_id = picture.result.frame.stream_id
        for viewer in self._viewers:
            if viewer.feed.stream_id == stream_id:
                viewer.show(picture)

    def set_model(self, class_names: tuple[str, ...], model: str) -> None:
        """Tell every page which classes there are now."""
        self._hello = Hello(PROTOCOL_VERSION, class_names, model)
        for viewer in self._viewers:
            viewer.say(self._hello)

    def on_stream_changed(self, stream_id: str) -> None:
        """A stream came, went or changed its state: tell those it concerns."""
        for viewer in self._viewers:
            viewer.follow(is_news=viewer.feed.stream_id == stream_id)

    async def serve(self, socket: WebSocket) -> None:
        """Life of one page's connection."""
        await socket.accept()
        if self._is_closing or len(self._viewers) >= self._max_viewers:
            await close_socket(socket, TRY_AGAIN_LATER, "too many viewers")
            return
        viewer = Viewer(socket, self._events, self._now)
        viewer.say(self._hello)
        viewer.follow(is_news=True)
        self._viewers = (*self._viewers, viewer)
        try:
            await viewer.run(self._executor)
        finally:
            self._viewers = tuple(each for each in self._viewers if each is not viewer)
            self.n_pictures_sent += viewer.feed.n_sent
            self.n_pictures_replaced += viewer.feed.n_replaced

    def totals(self) -> tuple[int, int]:
        """Pictures sent and replaced, over all viewers there ever were."""
        feeds = [viewer.feed for viewer in self._viewers]
        return (
            self.n_pictures_sent + sum(feed.n_sent for feed in feeds),
            self.n_pictures_replaced + sum(feed.n_replaced for feed in feeds),
        )

    async def close(self) -> None:
        """Close every page with 1001."""
        self._is_closing = True
        await self._owner.close()
        for viewer in self._viewers:
            viewer.end(GOING_AWAY, "the server is closing")
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for viewer in self._viewers:
                viewer.tick()


async def _in_time(sending: Awaitable[None]) -> None:
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await sending


async def close_socket(socket: WebSocket, code: int, reason: str) -> None:
    """Close, unless the other side has done so."""
    if socket.application_state is WebSocketState.DISCONNECTED:
        return
    with suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
        async with asyncio.timeout(1):
            await socket.close(code, reason)
