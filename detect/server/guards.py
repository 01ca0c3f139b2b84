"""What a request must pass before it reaches a route: host, origin, token; headers on its way out.

Plain ASGI wrappers, so that they stand in front of Socket.IO and WebSockets as well.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from detect.server.addresses import host_names, lan_addresses

SOCKET_PATH = "/socket.io/"

# Pages that use SharedArrayBuffer (browser mode) must be cross-origin isolated.
# No Strict-Transport-Security: it would keep the user from accepting the self-signed certificate.
SECURITY_HEADERS = {
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class SecurityHeaders:
    """Adds ``headers`` to every HTTP response that does not set them itself."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str] = SECURITY_HEADERS) -> None:
        self._app = app
        self._headers = {name.encode(): value.encode() for name, value in headers.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on with headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower(), value) for name, value in message.get("headers", ())]
                missing = self._headers.keys() - {name for name, _ in own}
                message["headers"] = own + [(name, self._headers[name]) for name in missing]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class HostPolicy:
    """Which ``Host`` and ``Origin`` the LAN listener answers to.

    A page of a foreign site that resolves its own name to our address (DNS rebinding) sends that
    name as ``Host``; a foreign page that connects directly sends its ``Origin``. Both are refused.

    Parameters
    ----------
    public_url : str or None
        Address of the tunnel in front, if any.
    addresses : callable
        Present addresses of this machine.
    """

    def __init__(
        self,
        public_url: str | None = None,
        addresses: Callable[[], Iterable[str]] = lan_addresses,
    ) -> None:
        self._addresses = addresses
        self._public_origin = _origin_of(public_url) if public_url else None
        self._names = {*host_names(), "localhost", "127.0.0.1", "::1"}
        if public_url and (host := urlsplit(public_url).hostname):
            self._names.add(host)
        self._known: set[str] = set()

    def is_host_allowed(self, host: str) -> bool:
        """Whether ``host``, with or without a port, names this machine."""
        name = _host_name(host)
        if name in self._names or name in self._known:
            return True
        if not _is_address(name):
            return False
        # Only an unknown address is worth a look: Wi-Fi may have changed since the last one.
        self._known = {str(address) for address in self._addresses()}
        return name in self._known

    def is_origin_allowed(self, origin: str | None, host: str) -> bool:
        """Whether a page of ``origin`` may open a connection; none is sent outside browsers."""
        if origin is None:
            return True
        return origin.lower() in (f"https://{host.lower()}", self._public_origin)


class HostGuard:
    """Lets through only requests to this machine's own names, from its own pages."""

    def __init__(self, app: ASGIApp, policy: HostPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then pass on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        host = header(scope, b"host") or ""
        if not self._policy.is_host_allowed(host):
            await refuse(scope, send, HTTPStatus.MISDIRECTED_REQUEST, "wrong_host")
        elif scope["path"].startswith(SOCKET_PATH) and not self._policy.is_origin_allowed(
            header(scope, b"origin"), host
        ):
            await refuse(scope, send, HTTPStatus.FORBIDDEN, "wrong_origin")
        else:
            await self._app(scope, receive, send)


class TokenGuard:
    """Lets through only requests with the access token, and those to open paths."""

    def __init__(self, app: ASGIApp, token: str, is_open: Callable[[str], bool]) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then pass on."""
        is_request = scope["type"] in ("http", "websocket")
        if is_request and not self._is_open(scope["path"]) and not self._is_authorised(scope):
            await refuse(scope, send, HTTPStatus.UNAUTHORIZED, "unauthorized")
        else:
            await self._app(scope, receive, send)

    def _is_authorised(self, scope: Scope) -> bool:
        given = (header(scope, b"authorization") or "").encode("latin-1", "replace")
        return hmac.compare_digest(given, self._expected)


_REFUSALS = {
    "wrong_host": "This server does not answer to that name. Use the address it printed.",
    "wrong_origin": "A page of another site may not connect here.",
    "unauthorized": "This route needs the access token: Authorization: Bearer <token>.",
}


async def refuse(scope: Scope, send: Send, status: HTTPStatus, code: str) -> None:
    """Answer with an error; a WebSocket handshake is rejected."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": code})
        return
    body = json.dumps({"error": {"code": code, "message": _REFUSALS[code]}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status is HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def header(scope: Scope, name: bytes) -> str | None:
    """First value of a request header (name in lower case)."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


def _host_name(host: str) -> str:
    """Name or address of a ``Host`` header, without port and brackets, lower case."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
