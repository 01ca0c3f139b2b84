"""Socket.IO for phones and local sources (docs/protocol.md §1.1)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import socketio

from detect.config import IceServer
from detect.errors import ProtocolError
from detect.protocol import (
    MAX_SDP_BYTES,
    PhoneAuth,
    Refusal,
    VideoRequest,
    Welcome,
    parse_auth,
    to_payload,
)
from detect.server.phones import Admission, Phones, RefusedError
from detect.server.tasks import TaskOwner

logger = logging.getLogger(__name__)

MAX_SIGNALING_BYTES = 3 * MAX_SDP_BYTES
"""Largest Socket.IO message: an SDP of the largest size, its line ends escaped, with room to be
told that it is too large instead of being cut off."""

VIDEO = VideoRequest(width=640, height=480, frame_rate=30)
"""What a phone is asked for: the size the default model gains nothing beyond."""

# At info and debug these print whole packets, tokens included.
_QUIET = logging.getLogger(f"{__name__}.engine")
_QUIET.setLevel(logging.ERROR)


class _SocketConnection:
    """One Socket.IO connection of one stream."""

    def __init__(self, server: socketio.AsyncServer, sid: str, stream_id: str) -> None:
        self._server = server
        self.sid = sid
        self.stream_id = stream_id

    async def dismiss(self, refusal: Refusal) -> None:
        """Say why, and close it."""
        await self._server.emit("removed", to_payload(refusal), to=self.sid)
        await self._server.disconnect(self.sid)


class Signaling:
    """One Socket.IO server, for the LAN listener or for the loopback one.

    Parameters
    ----------
    phones : Phones
        Decides.
    is_local : bool
        Whether this is the loopback listener's.
    ice_servers : tuple of IceServer
        Handed to every phone.
    class_names : callable
        Present classes, for the phone's labels.
    """

    def __init__(
        self,
        phones: Phones,
        *,
        is_local: bool,
        ice_servers: tuple[IceServer, ...],
        class_names: Callable[[], tuple[str, ...]],
    ) -> None:
        self._phones = phones
        self._is_local = is_local
        self._ice_servers = ice_servers
        self._class_names = class_names
        self._connections: dict[str, _SocketConnection] = {}
        self._owner = TaskOwner()
        self.server = socketio.AsyncServer(
            async_mode="asgi",
            # Host and origin are checked by guards.HostGuard, in front of this.
            cors_allowed_origins=[],
            max_http_buffer_size=MAX_SIGNALING_BYTES,
            # A phone that sleeps is noticed within 25 s; its media is watched every 2 s.
            ping_interval=15,
            ping_timeout=10,
            logger=_QUIET,
            engineio_logger=_QUIET,
        )
        self.server.on("connect", self._on_connect)
        self.server.on("offer", self._on_offer)
        self.server.on("leave", self._on_leave)
        self.server.on("disconnect", self._on_disconnect)

    async def close(self) -> None:
        """Close every connection."""
        for sid in list(self._connections):
            await self.server.disconnect(sid)
        await self._owner.close()
        await self.server.shutdown()

    async def _on_connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        try:
            self._phones.check_rate(_address(environ))
            admission = self._phones.admit(self._parse(auth), is_local=self._is_local)
        except RefusedError as error:
            refusal = error.refusal
            logger.info("connection refused: %s", refusal.code)
            raise socketio.exceptions.ConnectionRefusedError(
                refusal.message, to_payload(refusal)
            ) from None
        connection = _SocketConnection(self.server, sid, admission.stream.stream_id)
        self._connections[sid] = connection
        # The connection counts as open only after this handler has returned.
        self._owner.start(self._greet(connection, admission), f"welcome-{sid}")

    def _parse(self, auth: object) -> PhoneAuth:
        try:
            return parse_auth(auth)
        except ProtocolError as error:
            raise RefusedError(Refusal("protocol", str(error))) from None

    async def _greet(self, connection: _SocketConnection, admission: Admission) -> None:
        await self._phones.attach(connection.stream_id, connection)
        welcome = Welcome(
            stream_id=admission.stream.stream_id,
            resume=admission.resume,
            ice_servers=self._ice_servers,
            video=VIDEO,
            class_names=self._class_names(),
        )
        await self.server.emit("welcome", to_payload(welcome), to=connection.sid)

    async def _on_offer(self, sid: str, payload: object = None) -> dict[str, Any]:
        connection = self._connections.get(sid)
        if connection is None:
            return {"error": {"code": "failed", "message": "Not connected."}}
        return to_payload(await self._phones.offer(connection.stream_id, payload))

    async def _on_leave(self, sid: str, payload: object = None) -> None:
        connection = self._connections.get(sid)
        if connection is not None:
            await self._phones.leave(connection.stream_id)

    async def _on_disconnect(self, sid: str, reason: object = None) -> None:
        connection = self._connections.pop(sid, None)
        if connection is not None:
            await self._phones.detach(connection.stream_id, connection)


def _address(environ: dict[str, Any]) -> str:
    """Address of the peer, for rate limits."""
    client = environ.get("asgi.scope", {}).get("client")
    return str(client[0]) if client else "unknown"
