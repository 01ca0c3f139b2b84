"""The client of the loopback API: look-up, parsing, errors in words, recovery."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from detect.config import SERVER_URL_ENV, TOKEN_ENV
from detect.dashboard.client import (
    RUNTIME_FILE,
    Endpoint,
    ServerClient,
    find_server,
    parse_status,
)
from detect.errors import ProtocolError, ServerError

STATUS: dict[str, Any] = {
    "version": "1",
    "mode": {"chosen": "server", "score": 85, "reasons": ["4 cores"]},
    "model": {"name": "m", "state": "ready", "class_names": ["person"], "sha256": "0", "new": 1},
    "phone_url": "https://192.0.2.1:8765/",
    "streams": [
        {
            "stream_id": "s1",
            "name": "Pixel",
            "state": "live",
            "size_wh": [640, 480],
            "latency_ms": {"p50": 40.0, "p95": 60.0, "p99": None},
            "processing_ms": None,
            "dropped": {"replaced": 2},
        }
    ],
    "n_viewers": 1,
    "settings": {"model": "m", "score_threshold": 0.3, "iou_threshold": 0.5},
    "uptime_s": 3.5,
}


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(SERVER_URL_ENV, raising=False)
    monkeypatch.delenv(TOKEN_ENV, raising=False)
    monkeypatch.setenv("DETECT_HOME", str(tmp_path))


def client(
    handler: Callable[[httpx.Request], httpx.Response],
    find: Callable[[], Endpoint] = lambda: Endpoint("http://server", "secret"),
) -> ServerClient:
    return ServerClient(find, transport=httpx.MockTransport(handler))


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVER_URL_ENV, "http://127.0.0.1:8764/")
    monkeypatch.setenv(TOKEN_ENV, "secret")
    assert find_server() == Endpoint("http://127.0.0.1:8764", "secret")


def test_else_the_runtime_file_does(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    runtime = {"local_url": "http://127.0.0.1:1", "access_token_file": str(token)}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / RUNTIME_FILE).write_text(json.dumps(runtime))
    assert find_server() == Endpoint("http://127.0.0.1:1", "secret")


def test_without_either_it_says_what_to_do() -> None:
    with pytest.raises(ServerError, match="detect up"):
        find_server()


def test_a_broken_runtime_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / RUNTIME_FILE).write_text("[]")
    with pytest.raises(ServerError, match=RUNTIME_FILE):
        find_server()


def test_the_token_is_not_in_the_repr() -> None:
    assert "secret" not in repr(Endpoint("http://server", "secret"))


def test_status_is_parsed_and_unknown_fields_are_ignored() -> None:
    status = parse_status(STATUS)
    (stream,) = status.streams
    assert stream.size_wh == (640, 480)
    assert stream.latency_ms is not None
    assert (stream.latency_ms.p50_ms, stream.latency_ms.p99_ms) == (40.0, None)
    assert stream.processing_ms is None
    assert stream.is_live
    assert status.model.class_names == ("person",)
    assert status.mode.reasons == ("4 cores",)


@pytest.mark.parametrize(
    "broken", [None, [], {}, {**STATUS, "streams": [{}]}, {**STATUS, "streams": 3}]
)
def test_a_status_that_breaks_the_protocol_is_refused(broken: object) -> None:
    with pytest.raises(ProtocolError, match="same version"):
        parse_status(broken)


async def test_the_token_travels_in_the_header_only() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=STATUS)

    async with client(answer) as server:
        await server.status()
    assert seen[0].headers["authorization"] == "Bearer secret"
    assert "secret" not in str(seen[0].url)


async def test_the_servers_own_words_are_passed_on() -> None:
    error = {"error": {"code": "model", "message": "no such model"}}
    async with client(lambda _: httpx.Response(409, json=error)) as server:
        with pytest.raises(ServerError, match="no such model"):
            await server.change_settings(model="x")


async def test_a_refusal_without_words_gets_some() -> None:
    async with client(lambda _: httpx.Response(500, text="oops")) as server:
        with pytest.raises(ServerError, match="500"):
            await server.status()


async def test_a_restarted_server_is_looked_up_again() -> None:
    endpoints = [Endpoint("http://old", "a"), Endpoint("http://new", "b")]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "old":
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json=STATUS)

    async with client(answer, lambda: endpoints.pop(0)) as server:
        with pytest.raises(ServerError, match="does not answer"):
            await server.status()
        assert (await server.status()).version == "1"


async def test_a_new_token_is_looked_up_again() -> None:
    tokens = ["old", "new"]

    def answer(request: httpx.Request) -> httpx.Response:
        is_good = request.headers["authorization"] == "Bearer new"
        return httpx.Response(200, json=STATUS) if is_good else httpx.Response(401)

    async with client(answer, lambda: Endpoint("http://server", tokens.pop(0))) as server:
        with pytest.raises(ServerError):
            await server.status()
        await server.status()


async def test_every_call_asks_the_right_route() -> None:
    seen: list[tuple[str, str]] = []
    pairing = {"url": "https://h/#t", "qr_svg": "<svg/>", "expires_s": 600.0}
    model = {"name": "m", "family": "yolox", "is_available": True, "is_default": True}
    answers: dict[tuple[str, str], Any] = {
        ("GET", "/api/pairing"): pairing,
        ("POST", "/api/pairing"): pairing,
        ("GET", "/api/models"): [model],
        ("PATCH", "/api/settings"): STATUS["settings"],
        ("DELETE", "/api/streams/s1"): None,
        ("GET", "/api/streams/s1/samples?since=7"): {"next": 9, "rows": {"infer_ms": [1]}},
        ("GET", "/api/streams/s1/metrics.json"): {},
    }

    def answer(request: httpx.Request) -> httpx.Response:
        key = (request.method, request.url.raw_path.decode())
        seen.append(key)
        return httpx.Response(200, json=answers[key])

    async with client(answer) as server:
        await server.pairing()
        await server.pairing(renew=True)
        assert (await server.models())[0].name == "m"
        assert (await server.change_settings(score_threshold=0.4)).model == "m"
        await server.remove_stream("s1")
        assert (await server.samples("s1", 7)).next_seq == 9
        assert await server.metrics_json("s1") == b"{}"
    assert seen == list(answers)
