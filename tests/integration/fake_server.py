"""A small media server with no camera and no model, for the dashboard's own tests.

It speaks the loopback side of docs/protocol.md: status, pairing, settings, samples and the viewer
WebSocket, which sends drawn pictures with boxes that are known exactly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import segno
import simplejpeg
import uvicorn
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from detect.resources import static_dir
from detect.types import STAGES

CLASS_NAMES = ["person", "bicycle", "car", "bottle"]
SIZE_WH = (640, 480)
STAGE_MS = dict(
    zip((stage.name for stage in STAGES), (6, 2, 4, 2, 15, 1.5, 0.4, 2, 1, 4), strict=True)
)


@dataclass
class Fake:
    """What the server pretends; tests change it while it runs."""

    token: str = "t" * 24
    state: str | None = None
    """State of the one phone; None: no phone has come yet."""
    name: str = "Pixel 9"
    is_synchronised: bool = True
    frame_rate: float = 20.0
    settings: dict[str, Any] = field(
        default_factory=lambda: {
            "model": "yolox-nano",
            "score_threshold": 0.35,
            "iou_threshold": 0.5,
        }
    )
    n_codes: int = 1
    seq: int = 0
    heard: list[dict[str, Any]] = field(default_factory=list)
    """Everything viewers said, pings aside."""
    removed: list[str] = field(default_factory=list)
    n_viewers: int = 0
    has_changed: threading.Condition = field(default_factory=threading.Condition)

    def note(self, message: dict[str, Any]) -> None:
        with self.has_changed:
            self.heard.append(message)
            del self.heard[:-5000]
            self.has_changed.notify_all()

    def wait_for(self, condition: Callable[[Fake], bool], timeout_s: float = 20.0) -> None:
        with self.has_changed:
            if not self.has_changed.wait_for(lambda: condition(self), timeout_s):
                raise TimeoutError(f"the dashboard did not do it; it said {self.heard[-5:]}")

    def stream(self) -> dict[str, Any]:
        latency = {"p50": 38 + 4 * np.sin(time.time() / 3), "p95": 61.0, "p99": 78.0}
        is_live = self.state == "live"
        return {
            "stream_id": "s1",
            "name": self.name,
            "kind": "phone",
            "state": self.state,
            "message": "",
            "size_wh": SIZE_WH,
            "codec": "VP8",
            "clock_error_ms": 1.4 if self.is_synchronised else None,
            "camera_fps": 30.0,
            "processed_fps": 27.5 if is_live else 0.0,
            "shown_fps": self.frame_rate if is_live else 0.0,
            "latency_ms": latency if self.is_synchronised else None,
            "processing_ms": {"p50": 24.0, "p95": 31.0, "p99": 36.0},
            "dropped": {"replaced": 12},
            "counts": {"person": 2, "bottle": 1} if is_live else {},
            "since_s": 12.0,
        }


def picture(fake: Fake) -> bytes:
    width, height = SIZE_WH
    x = 60 + int(180 * (1 + np.sin(fake.seq / 12)))
    rows = np.linspace(40, 110, height, dtype=np.uint8)[:, None]
    rgb = np.repeat(np.repeat(rows, width, 1)[..., None], 3, 2)
    rgb[..., 2] += 30
    rgb[150:400, x : x + 130] = (205, 160, 120)
    rgb[230:400, 520:570] = (70, 150, 110)
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality=80, colorspace="RGB")
    now_ms = time.time() * 1000
    header = {
        "seq": fake.seq,
        "stream_id": "s1",
        "rtp": (fake.seq * 3000) % 2**32,
        "size_wh": SIZE_WH,
        "boxes": [[x, 150, x + 130, 400, 0.91, 0, 1], [520, 230, 570, 400, 0.62, 3, 4]],
        "model": fake.settings["model"],
        "captured_ms": now_ms - 36 if fake.is_synchronised else None,
        "error_ms": 1.4 if fake.is_synchronised else None,
        "processing_ms": 24.0,
        "stages": {k: v for k, v in STAGE_MS.items() if k != "draw"},
    }
    text = json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + bytes(jpeg)


def build(fake: Fake) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def authorise(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        is_open = request.url.path == "/api/health" or request.url.path.startswith("/assets/")
        if not is_open and request.headers.get("authorization") != f"Bearer {fake.token}":
            error = {"error": {"code": "unauthorised", "message": "No access."}}
            return JSONResponse(error, 401)
        return await call_next(request)

    @app.get("/assets/{name}")
    async def asset(name: str) -> FileResponse:
        path = Path(static_dir()) / Path(name).name
        if not path.is_file():
            raise HTTPException(404)
        return FileResponse(path, headers={"Cache-Control": "public, max-age=31536000, immutable"})

    add_status(app, fake)
    add_pairing(app, fake)
    add_settings(app, fake)
    add_streams(app, fake)
    add_view(app, fake)
    return app


def add_status(app: FastAPI, fake: Fake) -> None:
    @app.get("/api/status")
    async def status() -> dict[str, Any]:
        return {
            "version": "0.1.0",
            "mode": {
                "chosen": "server",
                "score": 85,
                "reasons": [
                    "Python 3.11 is here",
                    "2 cores: less than 4",
                    "model yolox-nano is present",
                ],
            },
            "model": {
                "name": fake.settings["model"],
                "state": "ready",
                "message": "",
                "provider": "cpu",
                "threads": 1,
                "class_names": CLASS_NAMES,
            },
            "phone_url": "https://192.0.2.7:8765/",
            "streams": [fake.stream()] if fake.state else [],
            "n_viewers": fake.n_viewers,
            "settings": fake.settings,
            "uptime_s": 3.0,
        }


def add_pairing(app: FastAPI, fake: Fake) -> None:
    def code() -> dict[str, Any]:
        url = f"https://192.0.2.7:8765/#k3J9dQ2vX7mB{fake.n_codes:04d}"
        svg = segno.make(url, error="m").svg_inline(border=0, scale=8, omitsize=True)
        return {"url": url, "qr_svg": svg, "expires_s": 581.0}

    @app.get("/api/pairing")
    async def pairing() -> dict[str, Any]:
        return code()

    @app.post("/api/pairing")
    async def renew() -> dict[str, Any]:
        fake.n_codes += 1
        return code()


def add_settings(app: FastAPI, fake: Fake) -> None:
    @app.get("/api/models")
    async def models() -> list[dict[str, Any]]:
        entry = {
            "family": "yolox",
            "input_wh": [416, 416],
            "licence": "Apache-2.0",
            "opt_in": False,
        }
        return [
            {
                **entry,
                "name": "yolox-nano",
                "is_available": True,
                "is_default": True,
                "ap50_95": 0.33,
            },
            {
                **entry,
                "name": "yolov8n",
                "is_available": False,
                "is_default": False,
                "licence": "AGPL-3.0",
                "opt_in": True,
                "ap50_95": 0.42,
            },
        ]

    @app.patch("/api/settings", response_model=None)
    async def change(request: Request) -> dict[str, Any] | JSONResponse:
        changes = await request.json()
        if changes.get("model") == "yolov8n":
            error = {
                "error": {
                    "code": "model",
                    "message": "yolov8n could not be downloaded: no network.",
                }
            }
            return JSONResponse(error, 409)
        fake.settings.update(changes)
        fake.note({"type": "settings", **changes})
        return fake.settings


def add_streams(app: FastAPI, fake: Fake) -> None:
    @app.get("/api/streams/{stream_id}/samples")
    async def samples(stream_id: str, since: int) -> dict[str, Any]:
        now_ms = time.time() * 1000
        means_ms = {**STAGE_MS, "processing": 24.0}
        if fake.is_synchronised:
            means_ms["latency"] = 38 + 4 * np.sin(now_ms / 3000)
        rng = np.random.default_rng(fake.seq)
        rows: dict[str, list[float]] = {
            f"{name}_ms": np.abs(ms + rng.normal(0, ms / 8, 8)).tolist()
            for name, ms in means_ms.items()
        }
        rows["t_ms"] = [now_ms - 33 * age for age in range(8)]
        return {"next": fake.seq, "rows": rows}

    @app.get("/api/streams/{stream_id}/metrics.json")
    async def metrics(stream_id: str) -> dict[str, Any]:
        return {"benchmark_info": {"stream_id": stream_id}, "rows": []}

    @app.delete("/api/streams/{stream_id}")
    async def remove(stream_id: str) -> Response:
        fake.state = None
        fake.removed.append(stream_id)
        fake.note({"type": "removed"})
        return Response(status_code=204)


def add_view(app: FastAPI, fake: Fake) -> None:
    @app.websocket("/api/view")
    async def view(socket: WebSocket) -> None:
        if socket.headers.get("authorization") != f"Bearer {fake.token}":
            await socket.close(4401)
            return
        await socket.accept()
        fake.n_viewers += 1
        try:
            async with asyncio.TaskGroup() as tasks:
                may_send = asyncio.Event()
                may_send.set()
                tasks.create_task(listen(socket, fake, may_send))
                tasks.create_task(send(socket, fake, may_send))
        except* WebSocketDisconnect:
            pass
        finally:
            fake.n_viewers -= 1


async def listen(socket: WebSocket, fake: Fake, may_send: asyncio.Event) -> None:
    while True:
        message = json.loads(await socket.receive_text())
        if message["type"] in ("ack", "drawn"):
            may_send.set()
        fake.note(message)


async def send(socket: WebSocket, fake: Fake, may_send: asyncio.Event) -> None:
    hello = {"type": "hello", "protocol": 1, "class_names": CLASS_NAMES, "model": "yolox-nano"}
    await socket.send_json(hello)
    await socket.send_json({"type": "ping", "id": 1, "server_ms": 0.0})
    told: str | None = ""
    while True:
        if told != fake.state:
            told = fake.state
            message = {
                "type": "stream",
                "stream_id": "s1" if told else None,
                "state": told or "waiting",
                "name": fake.name if told else "",
                "message": "",
            }
            await socket.send_json(message)
        if fake.state == "live":
            await asyncio.wait_for(may_send.wait(), 20)
            may_send.clear()
            fake.seq += 1
            await socket.send_bytes(picture(fake))
        await asyncio.sleep(1 / fake.frame_rate)


class ServerThread:
    """Run the fake in a thread of this process, on a free port or the one asked for."""

    def __init__(self, fake: Fake, port: int = 0) -> None:
        config = uvicorn.Config(build(fake), port=port, log_level="warning", ws="websockets-sansio")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> int:
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            self._thread.join(0.02)
        port: int = self._server.servers[0].sockets[0].getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8764)
    parser.add_argument("--state", default=None)
    parser.add_argument("--unsynchronised", action="store_true")
    arguments = parser.parse_args()
    fake = Fake(state=arguments.state, is_synchronised=not arguments.unsynchronised)
    app = build(fake)

    @app.post("/test/state")
    async def set_state(state: str) -> None:
        fake.state = None if state == "none" else state

    @app.post("/test/sync")
    async def set_sync(value: bool) -> None:
        fake.is_synchronised = value

    uvicorn.run(app, port=arguments.port, log_level="warning", ws="websockets-sansio")


if __name__ == "__main__":
    main()
