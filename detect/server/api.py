"""Control and metrics routes of the loopback listener (docs/protocol.md §3)."""

from __future__ import annotations

import asyncio
import io
import os
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import segno
from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from detect.config import DEFAULT_MODEL
from detect.errors import ConfigError, DetectError, ProtocolError
from detect.protocol import MAX_SETTINGS_BYTES, parse_settings_patch
from detect.server.hub import Hub, Stream
from detect.server.models import ModelHost
from detect.server.pairing import Pairing, PairingCode
from detect.server.phones import Phones
from detect.server.status import PhoneAddress, StatusReport, model_choices
from detect.server.telemetry import CONTENT_TYPE, Telemetry
from detect.version import package_version

MAX_SAMPLES = 5_000
"""Rows of one ``samples`` answer: almost 3 minutes at 30 fps."""

OPEN_PATH = "/api/health"


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the server the routes need."""

    hub: Hub
    phones: Phones
    pairing: Pairing
    models: ModelHost
    report: StatusReport
    telemetry: Telemetry
    phone: PhoneAddress


class ApiError(DetectError):
    """A request cannot be served; becomes ``{"error": {"code", "message"}}``."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def pairing_url(phone: PhoneAddress, code: PairingCode) -> str:
    """What the QR code says. The token is in the fragment, which browsers do not send."""
    return f"{phone.url}/#{code.token}"


def install_errors(app: FastAPI) -> None:
    """Answer every error in the shape of the protocol."""

    async def on_api_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return error_response(error.status, error.code, str(error))

    async def on_http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        status = HTTPStatus(error.status_code)
        return error_response(status, status.name.lower(), status.phrase)

    async def on_invalid(request: Request, error: Exception) -> JSONResponse:
        return error_response(HTTPStatus.BAD_REQUEST, "invalid", "A parameter is not valid.")

    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_invalid)


def error_response(status: HTTPStatus, code: str, message: str) -> JSONResponse:
    """An error as the protocol has it."""
    return JSONResponse({"error": {"code": code, "message": message}}, status)


def build_router(parts: Parts) -> APIRouter:
    """All routes over these parts."""
    router = APIRouter()
    _add_status_routes(router, parts)
    _add_pairing_routes(router, parts)
    _add_settings_routes(router, parts)
    _add_stream_routes(router, parts)
    return router


def _add_status_routes(router: APIRouter, parts: Parts) -> None:
    version = package_version()

    @router.get(OPEN_PATH)
    async def health() -> dict[str, Any]:
        return {"ok": True, "version": version, "pid": os.getpid()}

    @router.get("/api/status")
    async def status() -> dict[str, Any]:
        return parts.report.status()

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(parts.telemetry.text(), media_type=CONTENT_TYPE)

    @router.websocket("/api/view")
    async def view(socket: WebSocket) -> None:
        await parts.hub.viewers.serve(socket)


def _add_pairing_routes(router: APIRouter, parts: Parts) -> None:
    def answer(code: PairingCode) -> JSONResponse:
        url = pairing_url(parts.phone, code)
        body = {"url": url, "qr_svg": qr_svg(url), "expires_s": code.expires_s}
        return JSONResponse(body, headers={"cache-control": "no-store"})

    @router.get("/api/pairing")
    async def current() -> JSONResponse:
        return answer(parts.pairing.code())

    @router.post("/api/pairing")
    async def renew() -> JSONResponse:
        return answer(parts.pairing.new_code())


def _add_settings_routes(router: APIRouter, parts: Parts) -> None:
    hub = parts.hub

    @router.get("/api/settings")
    async def settings() -> dict[str, Any]:
        return _settings(hub)

    @router.patch("/api/settings")
    async def change(request: Request) -> dict[str, Any]:
        body = await _small_body(request)
        try:
            changed = parse_settings_patch(body).apply(hub.settings)
        except (ProtocolError, ConfigError) as error:
            raise ApiError(HTTPStatus.BAD_REQUEST, "invalid", str(error)) from None
        is_other_model = changed.model != hub.settings.model
        hub.set_settings(changed)
        if is_other_model:
            parts.models.request(changed.model)
        return _settings(hub)

    @router.get("/api/models")
    async def models() -> list[dict[str, Any]]:
        return await asyncio.to_thread(model_choices, DEFAULT_MODEL)


def _add_stream_routes(router: APIRouter, parts: Parts) -> None:
    def find(stream_id: str) -> Stream:
        stream = parts.hub.get(stream_id)
        if stream is None:
            raise ApiError(HTTPStatus.NOT_FOUND, "no_stream", "There is no such stream.")
        return stream

    @router.delete("/api/streams/{stream_id}")
    async def remove(stream_id: str) -> dict[str, Any]:
        find(stream_id)
        await parts.phones.remove(stream_id)
        return {"ok": True}

    @router.get("/api/streams/{stream_id}/samples")
    async def samples(stream_id: str, since: int = 0) -> JSONResponse:
        found = find(stream_id).metrics.samples(since, limit=MAX_SAMPLES)
        return JSONResponse({"next": found.next, "rows": found.columns})

    @router.get("/api/streams/{stream_id}/metrics.json")
    async def document(stream_id: str) -> JSONResponse:
        # Thousands of rows take tens of milliseconds: not on the loop that carries the video.
        stream = find(stream_id)
        response = await asyncio.to_thread(lambda: JSONResponse(parts.report.document(stream)))
        name = f'attachment; filename="detect-{stream_id}-metrics.json"'
        response.headers["content-disposition"] = name
        return response


def qr_svg(url: str) -> str:
    """The QR code as an ``<svg>`` element, dark on white with its quiet zone."""
    out = io.BytesIO()
    segno.make(url, error="m").save(
        out, kind="svg", scale=4, border=4, dark="#000", light="#fff", xmldecl=False, omitsize=True
    )
    return out.getvalue().decode()


def _settings(hub: Hub) -> dict[str, Any]:
    settings = hub.settings
    return {
        "model": settings.model,
        "score_threshold": settings.score_threshold,
        "iou_threshold": settings.iou_threshold,
    }


async def _small_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_SETTINGS_BYTES:
            raise ApiError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", "The body is too large."
            )
    return body
