"""What each listener answers, to whom, and with which headers; ports; the end."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from detect.errors import ConfigError
from detect.server import app as app_module
from detect.server import assets as assets_module
from detect.server.tls import self_signed
from tests.integration.server_harness import (
    AUTH,
    Phone,
    Server,
    insecure,
    phones,
    running_server,
    viewing,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def static(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built front-end."""
    package = tmp_path / "package"
    folder = package / "static"
    folder.mkdir(parents=True)
    (folder / "phone.html").write_text("<!doctype html><title>phone</title>")
    (folder / "view-A1B2C3D4.js").write_text("export {};")
    (folder / "assets.json").write_text("{}")
    (package / "secret.json").write_text("{}")
    monkeypatch.setattr(assets_module.Assets.__init__, "__defaults__", (folder,))
    return folder


@asynccontextmanager
async def lan_client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.lan_url, verify=insecure()) as client:
        yield client


async def test_the_lan_listener_serves_the_phone_page_and_nothing_else(
    home: Path, static: Path
) -> None:
    async with running_server(home) as server, lan_client(server) as lan:
        page = await lan.get("/")
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["cache-control"] == "no-store"
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert f"wss://127.0.0.1:{server.info.lan_port}" in policy
        assert "unsafe-inline" not in policy
        script = await lan.get("/assets/view-A1B2C3D4.js")
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
        plain = await lan.get("/assets/assets.json")
        assert plain.headers["cache-control"] == "no-cache"
        for answer in (page, script, await lan.get("/nothing")):
            assert answer.headers["cross-origin-opener-policy"] == "same-origin"
            assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "strict-transport-security" not in answer.headers
            assert "server" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/api/health",
        "/api/status",
        "/api/pairing",
        "/api/settings",
        "/api/view",
        "/metrics",
        "/docs",
        "/openapi.json",
        "/assets/../secret.json",
        "/assets/%2e%2e%2fsecret.json",
        "/assets/..%5csecret.json",
        "/assets/",
        "/assets/none.js",
        "/phone.html",
    ],
)
async def test_every_other_path_of_the_lan_listener_is_404(
    home: Path, static: Path, path: str
) -> None:
    async with running_server(home) as server, lan_client(server) as lan:
        # The token opens nothing here.
        assert (await lan.get(path, headers=AUTH)).status_code == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("127.0.0.1", 200),
        ("demo.example", 200),  # the tunnel's name
        ("evil.example", 421),
        ("127.0.0.1.evil.example:{port}", 421),
        ("198.51.100.9:{port}", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
async def test_foreign_hosts_are_refused(home: Path, static: Path, host: str, status: int) -> None:
    async with (
        running_server(home, public_url="https://demo.example") as server,
        lan_client(server) as lan,
    ):
        named = host.format(port=server.info.lan_port)
        assert (await lan.get("/", headers={"host": named})).status_code == status


async def test_this_machines_names_and_addresses_are_hosts(home: Path, static: Path) -> None:
    async with running_server(home) as server, lan_client(server) as lan:
        for name in (
            *server.info.lan_addresses,
            socket.gethostname(),
            socket.gethostname() + ".local",
        ):
            page = await lan.get("/", headers={"host": f"{name}:{server.info.lan_port}"})
            assert page.status_code == 200, name


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        (None, True),
        ("https://127.0.0.1:{port}", True),
        ("https://demo.example", True),
        ("http://127.0.0.1:{port}", False),
        ("https://127.0.0.1", False),
        ("https://evil.example", False),
        ("null", False),
    ],
)
async def test_foreign_origins_may_not_signal(
    home: Path, origin: str | None, is_allowed: bool
) -> None:
    async with (
        running_server(home, public_url="https://demo.example") as server,
        lan_client(server) as lan,
    ):
        headers = {} if origin is None else {"origin": origin.format(port=server.info.lan_port)}
        answer = await lan.get("/socket.io/?EIO=4&transport=polling", headers=headers)
        assert answer.status_code == (200 if is_allowed else 403)
        assert "access-control-allow-origin" not in answer.headers


async def test_phones_fall_back_to_polling(home: Path) -> None:
    """iOS refuses WebSockets with a self-signed certificate it was not told to trust."""
    async with phones() as (phone,):
        async with running_server(home) as server:
            auth = {"protocol": 1, "pair": await server.new_token(), "name": "iPhone"}
            await phone.socket.connect(server.lan_url, auth=auth, transports=["polling"])
            async with asyncio.timeout(30):
                assert await phone.welcome.get()
            assert "sdp" in await phone.offer()
        # A held poll does not hold up the end of the server either.
        async with asyncio.timeout(30):
            await phone.gone.wait()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/status"),
        ("GET", "/api/pairing"),
        ("POST", "/api/pairing"),
        ("GET", "/api/settings"),
        ("PATCH", "/api/settings"),
        ("GET", "/api/models"),
        ("DELETE", "/api/streams/x"),
        ("GET", "/api/streams/x/samples"),
        ("GET", "/metrics"),
        ("GET", "/socket.io/?EIO=4&transport=polling"),
        ("GET", "/nothing"),
    ],
)
@pytest.mark.parametrize(
    "header", [None, "", "Bearer wrong", "Basic abc", "Bearer \xe9", AUTH["Authorization"] + "x"]
)
async def test_loopback_routes_need_the_token(
    home: Path, method: str, path: str, header: str | None
) -> None:
    app = shared_local_app()
    headers = [] if header is None else [(b"authorization", header.encode("latin-1"))]
    sent = await call(app, method, path, headers)
    assert sent[0]["status"] == 401
    assert b"unauthorized" in sent[1]["body"]


def shared_local_app() -> object:
    """The guard alone: nothing behind it may be reached."""
    from detect.server.guards import TokenGuard
    from detect.server.listeners import is_open_path

    async def behind(scope: object, receive: object, send: object) -> None:
        raise AssertionError("the guard let it through")

    return TokenGuard(behind, AUTH["Authorization"].removeprefix("Bearer "), is_open_path)


async def call(app: object, method: str, path: str, headers: list[tuple[bytes, bytes]]) -> list:  # type: ignore[type-arg]  # ASGI messages
    sent: list[object] = []

    async def send(message: object) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path.partition("?")[0], "headers": headers}
    await app(scope, None, send)  # type: ignore[operator]  # an ASGI app
    return sent


async def test_health_and_assets_are_open(home: Path, static: Path) -> None:
    async with running_server(home) as server, httpx.AsyncClient() as anyone:
        health = await anyone.get(f"{server.info.local_url}/api/health")
        assert health.json()["ok"] is True
        script = await anyone.get(f"{server.info.local_url}/assets/view-A1B2C3D4.js")
        assert script.status_code == 200
        assert (await anyone.get(f"{server.info.local_url}/metrics")).status_code == 401


async def test_errors_have_one_shape(home: Path) -> None:
    async with running_server(home) as server:
        http = server.http
        cases = [
            (await http.get("/nothing"), 404),
            (await http.put("/api/settings"), 405),
            (await http.get("/api/streams/none/samples"), 404),
            (await http.get("/api/streams/none/metrics.json"), 404),
            (await http.patch("/api/settings", json={"score_threshold": 7}), 400),
            (await http.patch("/api/settings", content=b"rubbish"), 400),
            (await http.patch("/api/settings", content=b" " * 40_000), 413),
        ]
        for answer, status in cases:
            assert answer.status_code == status
            assert answer.json()["error"].keys() == {"code", "message"}
        changed = await http.patch("/api/settings", json={"score_threshold": 0.5})
        assert changed.json()["score_threshold"] == 0.5
        assert (await http.get("/api/settings")).json() == changed.json()
        listed = (await http.get("/api/models")).json()
        assert [entry["name"] for entry in listed if entry["is_default"]] == ["yolox-nano"]


async def test_without_a_built_front_end_the_page_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets_module.Assets.__init__, "__defaults__", (home / "none",))
    async with running_server(home) as server, lan_client(server) as lan:
        page = await lan.get("/")
        assert page.status_code == 503
        assert "npm run build" in page.text


async def test_a_taken_port_is_named_and_the_next_one_used(home: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        async with running_server(home, lan_port=port) as server:
            assert server.info.lan_port > port
            (notice,) = server.info.notices
            assert notice.startswith(f"phones: port {port} is taken by ")
            assert f":{server.info.lan_port}" in server.info.phone_url
            assert "port for phones taken (0 of 20)" in (await server.status())["mode"]["reasons"]


async def test_without_a_network_it_runs_for_this_machine(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "lan_addresses", lambda: ())
    async with running_server(home) as server, phones() as (phone,):
        assert server.info.lan_addresses == ()
        assert server.info.phone_url == f"https://localhost:{server.info.lan_port}"
        assert "no network address" in server.info.notices[0]
        assert await phone.join(server.lan_url, pair=await server.new_token(), name="here")


async def test_the_tunnels_address_is_in_the_code(home: Path) -> None:
    async with running_server(home, public_url="https://demo.example/") as server:
        assert server.info.pairing_url.startswith("https://demo.example/#")
        assert (await server.status())["phone_url"] == "https://demo.example"


async def test_an_own_certificate_is_used_or_refused_at_once(home: Path) -> None:
    own = self_signed(home / "own", ["demo"])
    async with running_server(home, cert=own.cert, key=own.key) as server:
        assert server.info.fingerprint == own.fingerprint
    other = self_signed(home / "other", ["demo"])
    with pytest.raises(ConfigError, match="is not the key of"):
        async with running_server(home, cert=own.cert, key=other.key):
            pass


async def test_moving_to_another_network_gives_a_new_address_and_certificate(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = ["192.168.7.1"]
    monkeypatch.setattr(app_module, "lan_addresses", lambda: tuple(addresses))
    monkeypatch.setattr(app_module, "HOUSEKEEPING_S", 0.01)
    async with running_server(home) as server:
        assert "192.168.7.1" in server.info.phone_url
        addresses[:] = ["10.9.8.7"]
        await server.until_status(lambda status: "10.9.8.7" in status["phone_url"], "the new one")
        assert "10.9.8.7" in (await server.http.get("/api/pairing")).json()["url"]
        async with lan_client(server) as lan:
            assert (await lan.get("/")).status_code in (200, 503)


async def test_the_end_leaves_nothing(home: Path) -> None:
    threads_before = set(threading.enumerate())
    tasks_before = asyncio.all_tasks()
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as peers:
        async with running_server(home) as server:
            (phone,) = await peers.enter_async_context(phones())
            await phone.join(server.lan_url, pair=await server.new_token(), name="Pixel")
            await phone.offer()
            viewer = await peers.enter_async_context(viewing(server))
            await viewer.until_state("live")
            ports = server.info.lan_port, server.info.local_port
            ending_s = loop.time()
        took_s = loop.time() - ending_s
        async with asyncio.timeout(30):
            await phone.gone.wait()
    assert server.sessions[0].is_closed
    # A bound on a hang, not a measurement: the sum of all patience in the server.
    assert took_s < 5
    for port in ports:
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("0.0.0.0", port))
    left = {
        thread.name
        for thread in set(threading.enumerate()) - threads_before
        # The loop's own pool belongs to the test.
        if not thread.name.startswith("asyncio_")
    }
    assert left == set()
    mine = {
        task for task in asyncio.all_tasks() - tasks_before if "server" in repr(task.get_coro())
    }
    assert mine == set()


async def test_two_servers_share_a_machine(home: Path) -> None:
    async with running_server(home) as first, running_server(home) as second:
        assert first.info.lan_port != second.info.lan_port
        made: list[Phone]
        async with phones() as made:
            assert await made[0].join(second.lan_url, pair=await second.new_token(), name="x")
        assert (await first.status())["streams"] == []
