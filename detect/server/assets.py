"""The built front-end: the phone page and the hashed files both pages load."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from detect.resources import PACKAGE_DIR

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_HASHED = re.compile(r"-[A-Za-z0-9_]{8,}\.[a-z0-9.]+$")

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
"""Named here, because ``mimetypes`` answers what the machine says (some Windows: text/plain)."""

_NOT_BUILT = """<!doctype html><meta charset="utf-8"><title>detect: front-end missing</title>
<p>The phone page is not built. In the project's folder run <code>pip install .</code>,
or <code>npm ci &amp;&amp; npm run build</code> in <code>detect/frontend</code>.</p>"""


class Assets:
    """Files of one folder, flat, nothing outside it."""

    def __init__(self, folder: Path = PACKAGE_DIR / "static") -> None:
        self._folder = folder

    async def phone_page(self, request: Request) -> Response:
        """The phone's page, never cached: it names the hashed files."""
        page = self._folder / "phone.html"
        if not page.is_file():
            return HTMLResponse(_NOT_BUILT, HTTPStatus.SERVICE_UNAVAILABLE)
        headers = {
            "cache-control": "no-store",
            "content-security-policy": content_security_policy(request.headers.get("host", "")),
            "permissions-policy": "camera=(self), microphone=(), geolocation=(), "
            "screen-wake-lock=(self)",
        }
        return FileResponse(page, media_type=_TYPES[".html"], headers=headers)

    async def file(self, request: Request) -> Response:
        """One built file; hashed names may be cached for ever."""
        name: str = request.path_params["name"]
        path = self._folder / name
        media_type = _TYPES.get(path.suffix)
        if not _NAME.fullmatch(name) or media_type is None or not path.is_file():
            return JSONResponse(
                {"error": {"code": "not_found", "message": "There is no such file."}},
                HTTPStatus.NOT_FOUND,
            )
        is_hashed = _HASHED.search(name) is not None
        cache = "public, max-age=31536000, immutable" if is_hashed else "no-cache"
        return FileResponse(path, media_type=media_type, headers={"cache-control": cache})


def content_security_policy(host: str) -> str:
    """Policy of the phone page: its own files, its own server, its own camera, nothing else."""
    # Safari before 15.4 does not count wss: of the same host as 'self'.
    socket = f" wss://{host}" if re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", host) else ""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self' 'wasm-unsafe-eval'",
            "worker-src 'self' blob:",
            "style-src 'self'",
            "img-src 'self' data: blob:",
            "media-src 'self' blob: mediastream:",
            "manifest-src 'self'",
            f"connect-src 'self'{socket}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
