"""The two listeners: https for phones, http on loopback for everything else."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator

import socketio
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from detect.server.api import OPEN_PATH, Parts, build_router, install_errors
from detect.server.assets import Assets
from detect.server.guards import HostGuard, HostPolicy, SecurityHeaders, TokenGuard
from detect.server.ports import BoundPort
from detect.server.signaling import MAX_SIGNALING_BYTES, Signaling

MAX_LAN_CONNECTIONS = 256
"""Connections and requests at once on the LAN listener; beyond it, 503."""

SHUTDOWN_S = 1
"""Patience with connections that do not close."""


def lan_app(signaling: Signaling, assets: Assets, policy: HostPolicy) -> ASGIApp:
    """Phone page, its files, its signalling. Nothing else, whatever is added elsewhere."""
    pages = Starlette(
        routes=[Route("/", assets.phone_page), Route("/assets/{name}", assets.file)],
    )
    app = socketio.ASGIApp(signaling.server, other_asgi_app=pages, socketio_path="socket.io")
    return SecurityHeaders(HostGuard(app, policy))


def local_app(signaling: Signaling, assets: Assets, parts: Parts, access_token: str) -> ASGIApp:
    """Control, metrics, viewers and local sources, behind the access token."""
    routes = FastAPI(title="detect", docs_url=None, redoc_url=None, openapi_url=None)
    install_errors(routes)
    routes.include_router(build_router(parts))
    routes.add_route("/assets/{name}", assets.file)
    app = socketio.ASGIApp(signaling.server, other_asgi_app=routes, socketio_path="socket.io")
    return SecurityHeaders(TokenGuard(app, access_token, is_open_path))


def is_open_path(path: str) -> bool:
    """Whether the loopback listener answers without the access token."""
    return path == OPEN_PATH or path.startswith("/assets/")


class Listener(uvicorn.Server):
    """A uvicorn server in our loop, ended by us.

    Parameters
    ----------
    app : ASGIApp
        What it serves.
    port : BoundPort
        Where.
    tls : ssl.SSLContext, optional
        For https.
    max_connections : int, optional
        Further ones get 503.
    """

    def __init__(
        self,
        app: ASGIApp,
        port: BoundPort,
        *,
        tls: ssl.SSLContext | None = None,
        max_connections: int | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            # At info uvicorn logs paths with their query strings; at debug, messages.
            log_level="warning",
            access_log=False,
            server_header=False,
            # A peer must not choose the address it is rate-limited by.
            proxy_headers=False,
            limit_concurrency=max_connections,
            timeout_graceful_shutdown=SHUTDOWN_S,
            ws_max_size=MAX_SIGNALING_BYTES,
            # JPEG does not shrink, and compressing it would cost milliseconds per picture.
            ws_per_message_deflate=False,
        )
        config.load()
        config.ssl = tls
        super().__init__(config)
        self._port = port
        self._is_up = asyncio.Event()

    async def run_until_ended(self) -> None:
        """Serve until :meth:`end`."""
        await self.serve(sockets=[self._port.socket])

    async def wait_up(self) -> None:
        """Wait until connections are accepted."""
        await self._is_up.wait()

    def end(self) -> None:
        """Begin to stop."""
        self.should_exit = True

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Start, then say so (uvicorn has no event for it)."""
        await super().startup(sockets)  # type: ignore[arg-type]  # sockets, handed through
        self._is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: one process, two of these, and the caller owns Ctrl-C."""
        yield
