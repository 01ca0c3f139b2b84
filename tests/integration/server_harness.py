"""A media server in the test's loop, and the peers that talk to it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import av
import httpx
import numpy as np
import socketio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from detect.clock import now_ns
from detect.config import ServerConfig
from detect.errors import ModelError
from detect.protocol import (
    Ack,
    Drawn,
    PictureHeader,
    Ping,
    StreamChanged,
    ViewerPong,
    Visible,
    Watch,
    encode,
    parse_picture,
    parse_server_message,
)
from detect.rtc.session import SessionState
from detect.rtc.stats import SessionStats
from detect.server.app import ReadyInfo, run_server
from detect.server.sessions import NewSession
from detect.types import Detections, Frame
from detect.vision.pipeline import ModelSpec, PipelineOutput

Payload: TypeAlias = Any
"""What JSON holds: looked at by the test, not by a type checker."""

TOKEN = "test-access-token-0123456789"
AUTH = {"Authorization": f"Bearer {TOKEN}"}

BOX = (10.0, 20.0, 110.0, 220.0)


class FakePipeline:
    """Sees one person, always at the same place."""

    def __init__(self, name: str = "fake") -> None:
        self.spec = ModelSpec(name, "fake", (64, 64), ("person", "bicycle"), "0" * 64, Path(name))
        self.provider = "cpu"
        self.threads = 1
        self.notice: str | None = None
        self.is_warm = False
        self.is_closed = False

    def __call__(
        self, picture: object, *, score_threshold: float, iou_threshold: float
    ) -> PipelineOutput:
        boxes = np.array([BOX], np.float32)
        found = Detections.untracked(boxes, np.array([0.9], np.float32), np.array([0], np.int32))
        now = now_ns()
        return PipelineOutput(found, now, now, now)

    def warm_up(self) -> None:
        self.is_warm = True

    def close(self) -> None:
        self.is_closed = True


def load_fake(model: str, *, on_progress: Callable[[int, int], None] | None = None) -> FakePipeline:
    if model == "broken":
        raise ModelError("broken: expected an ONNX file, got rubbish")
    return FakePipeline(model)


class FakeSession:
    """Media without WebRTC: the test feeds frames."""

    def __init__(
        self,
        *,
        stream_id: str,
        on_frame: Callable[[Frame], None],
        on_state: Callable[[SessionState], None],
        on_phone_state: Callable[[Any], None],
    ) -> None:
        self.stream_id = stream_id
        self.message = ""
        self.results: list[str] = []
        self.is_closed = False
        self._on_frame = on_frame
        self._on_state = on_state

    async def answer(self, offer_sdp: str) -> str:
        self.enter(SessionState.LIVE)
        return "v=0 answer"

    def enter(self, state: SessionState) -> None:
        self.message = f"it is {state.value}"
        self._on_state(state)

    def send_results(self, text: str) -> None:
        self.results.append(text)

    def stats(self) -> SessionStats:
        return SessionStats(None, None, None, 0, 0, 0)

    async def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.enter(SessionState.ENDED)

    def feed(self, rtp: int, size_wh: tuple[int, int] = (640, 480)) -> None:
        """One frame, captured 20 ms ago with an error of at most 2 ms."""
        now = now_ns()
        self._on_frame(
            Frame(
                stream_id=self.stream_id,
                rtp_timestamp=rtp,
                picture=av.VideoFrame(*size_wh, "yuv420p"),
                captured_ns=now - 20_000_000,
                captured_error_ms=2.0,
                received_ns=now - 5_000_000,
                decoded_ns=now,
            )
        )


@dataclass
class Server:
    """A running server."""

    info: ReadyInfo
    http: httpx.AsyncClient
    sessions: list[FakeSession] = field(default_factory=list)

    @property
    def lan_url(self) -> str:
        return f"https://127.0.0.1:{self.info.lan_port}"

    async def new_token(self) -> str:
        url: str = (await self.http.post("/api/pairing")).json()["url"]
        return url.partition("#")[2]

    async def status(self) -> dict[str, Any]:
        status: dict[str, Any] = (await self.http.get("/api/status")).json()
        return status

    async def until_status(
        self, condition: Callable[[dict[str, Any]], bool], what: str
    ) -> dict[str, Any]:
        """Ask until it holds: another part of the program has to get there."""
        status: dict[str, Any] = {}
        try:
            async with asyncio.timeout(30):
                while not condition(status := await self.status()):
                    pass
        except TimeoutError:
            raise AssertionError(f"waited 30 s for {what}; the status is {status}") from None
        return status


@asynccontextmanager
async def running_server(
    home: Path,
    *,
    new_session: NewSession | None = None,
    is_real_media: bool = False,
    **changes: Payload,
) -> AsyncIterator[Server]:
    """A server on free ports with a fake model; ``home`` is its ``DETECT_HOME`` already."""
    sessions: list[FakeSession] = []

    def new_fake_session(**arguments: Payload) -> FakeSession:
        sessions.append(FakeSession(**arguments))
        return sessions[-1]

    settings = {"access_token": TOKEN, "lan_port": 0, "local_port": 0, **changes}
    load = settings.pop("load", load_fake)
    ready: asyncio.Future[ReadyInfo] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    task = asyncio.create_task(
        run_server(
            ServerConfig(**settings),
            on_ready=ready.set_result,
            stop=stop,
            load=load,
            new_session=None if is_real_media else new_session or new_fake_session,
        )
    )
    first: list[asyncio.Future[Any]] = [task, ready]
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    info = ready.result()
    try:
        async with httpx.AsyncClient(base_url=info.local_url, headers=AUTH) as http:
            yield Server(info, http, sessions)
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await task


class Phone:
    """A phone's signalling: Socket.IO over https, as the page speaks it."""

    def __init__(self) -> None:
        self.socket = socketio.AsyncClient(reconnection=False, ssl_verify=False)
        self.welcome: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.removed: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.refused: asyncio.Queue[Any] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.socket.on("welcome", self._put(self.welcome))
        self.socket.on("removed", self._put(self.removed))
        self.socket.on("connect_error", self._put(self.refused))
        self.socket.on("disconnect", self._on_disconnect)

    @staticmethod
    def _put(queue: asyncio.Queue[Any]) -> Callable[[Any], Any]:
        async def handler(payload: Payload) -> None:
            await queue.put(payload)

        return handler

    async def _on_disconnect(self, *_: Payload) -> None:
        self.gone.set()

    async def join(self, url: str, **auth: Payload) -> dict[str, Any]:
        """Connect and return the ``welcome``."""
        await self.socket.connect(url, auth={"protocol": 1, **auth}, wait_timeout=30)
        async with asyncio.timeout(30):
            return await self.welcome.get()

    async def refusal(self, url: str, auth: Payload) -> str:
        """Try to connect and return the code of the refusal."""
        try:
            await self.socket.connect(url, auth=auth, wait_timeout=30)
        except socketio.exceptions.ConnectionError:
            async with asyncio.timeout(30):
                payload = await self.refused.get()
            code: str = (payload.get("data") or payload)["code"]
            return code
        raise AssertionError("expected a refusal, was let in")

    async def is_turned_away(self, url: str) -> bool:
        """Whether the connection is refused before Socket.IO begins."""
        try:
            await self.socket.connect(url, auth={"protocol": 1, "local": "thief"})
        except socketio.exceptions.ConnectionError:
            while not self.refused.empty():
                self.refused.get_nowait()
            return True
        return False

    async def offer(self, sdp: Payload = "v=0") -> dict[str, Any]:
        answer: dict[str, Any] = await self.socket.call("offer", {"sdp": sdp}, timeout=30)
        return answer

    async def leave(self) -> None:
        await self.socket.emit("leave", {})


@asynccontextmanager
async def phones(n: int = 1) -> AsyncIterator[list[Phone]]:
    made = [Phone() for _ in range(n)]
    try:
        yield made
    finally:
        for phone in made:
            await phone.socket.disconnect()
            session: aiohttp.ClientSession | None = phone.socket.eio.http
            if session is not None and not session.closed:
                await session.close()


class Viewer:
    """A dashboard page's WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.texts: list[Any] = []
        self.states: list[StreamChanged] = []

    async def send(self, message: Ack | Drawn | ViewerPong | Visible | Watch) -> None:
        await self.socket.send(encode(message))

    async def receive(self) -> Payload:
        """The next message: a text one parsed, a picture as header and JPEG. Answers pings."""
        data = await self.socket.recv()
        if isinstance(data, bytes):
            return parse_picture(data)
        message = parse_server_message(data)
        if isinstance(message, Ping):
            now_ms = viewer_ms()
            await self.send(ViewerPong(message.id, now_ms, now_ms))
        if isinstance(message, StreamChanged):
            self.states.append(message)
        self.texts.append(message)
        return message

    async def picture(self) -> tuple[PictureHeader, bytes]:
        """The next picture."""
        async with asyncio.timeout(30):
            while not isinstance(message := await self.receive(), tuple):
                pass
        return message[0], bytes(message[1])

    async def until(self, condition: Callable[[Any], bool]) -> Payload:
        """The first text message for which ``condition`` holds, of the past or to come."""
        for message in self.texts:
            if condition(message):
                return message
        async with asyncio.timeout(30):
            while isinstance(message := await self.receive(), tuple) or not condition(message):
                pass
        return message

    async def until_state(self, state: str) -> StreamChanged:
        found: StreamChanged = await self.until(
            lambda each: isinstance(each, StreamChanged) and each.state == state
        )
        return found

    async def close_code(self) -> int:
        """Read until the server closes, and say with which code."""
        async with asyncio.timeout(30):
            with suppress(ConnectionClosed):
                while True:
                    await self.receive()
        code = self.socket.close_code
        assert code is not None
        return code

    async def until_pinged(self) -> None:
        await self.until(lambda each: isinstance(each, Ping))


VIEWER_CLOCK_AHEAD_MS = 1_700_000_000_000.0
"""The viewer's clock differs from the server's, as a browser's does."""


def viewer_ms() -> float:
    return now_ns() / 1e6 + VIEWER_CLOCK_AHEAD_MS


@asynccontextmanager
async def viewing(server: Server, headers: dict[str, str] | None = None) -> AsyncIterator[Viewer]:
    url = server.info.local_url.replace("http://", "ws://") + "/api/view"
    async with connect(
        url, additional_headers=AUTH if headers is None else headers, max_size=2**24, proxy=None
    ) as socket:
        yield Viewer(socket)


def insecure() -> ssl.SSLContext:
    """Accepts the self-signed certificate, as the user does on the phone."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
