"""Who gets in, as whom, and how they leave: over real Socket.IO and https."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from detect.rtc.ice import OfferError
from detect.rtc.session import SessionState
from detect.server import phones as phones_module
from tests.integration.server_harness import (
    TOKEN,
    FakeSession,
    Payload,
    phones,
    running_server,
    viewing,
)

pytestmark = pytest.mark.integration


async def test_the_code_of_the_ready_line_pairs_once(home: Path) -> None:
    async with running_server(home) as server, phones(2) as (phone, other):
        token = server.info.pairing_url.partition("#")[2]
        shown = (await server.http.get("/api/pairing")).json()
        assert shown["url"] == server.info.pairing_url
        assert shown["qr_svg"].startswith("<svg")
        assert 0 < shown["expires_s"] <= 600

        welcome = await phone.join(server.lan_url, pair=token, name="Pixel")
        assert welcome["ice_servers"] == []
        assert welcome["video"] == {"width": 640, "height": 480, "frame_rate": 30}
        stream = (await server.status())["streams"][0]
        assert (stream["stream_id"], stream["name"]) == (welcome["stream_id"], "Pixel")
        assert (stream["kind"], stream["state"]) == ("phone", "waiting")

        again = {"protocol": 1, "pair": token, "name": "thief"}
        assert await other.refusal(server.lan_url, again) == "token_used"
        fresh = (await server.http.get("/api/pairing")).json()["url"]
        assert fresh != shown["url"]


@pytest.mark.parametrize(
    ("auth", "code"),
    [
        ({"protocol": 1, "pair": "wrong", "name": "x"}, "token_unknown"),
        ({"protocol": 1, "resume": "wrong", "name": "x"}, "token_unknown"),
        ({"protocol": 2, "pair": "wrong", "name": "x"}, "protocol"),
        ({"protocol": 1}, "protocol"),
        ({"protocol": 1, "pair": ["list"]}, "protocol"),
        ({"protocol": 1, "local": "camera"}, "protocol"),  # no access token on this listener
        (None, "protocol"),
    ],
)
async def test_refusals(home: Path, auth: Payload, code: str) -> None:
    async with running_server(home) as server, phones() as (phone,):
        assert await phone.refusal(server.lan_url, auth) == code
        assert (await server.status())["streams"] == []


async def test_a_new_code_replaces_the_unused_one(home: Path) -> None:
    async with running_server(home) as server, phones(2) as (phone, other):
        old = await server.new_token()
        new = await server.new_token()
        auth = {"protocol": 1, "pair": old, "name": "x"}
        assert await phone.refusal(server.lan_url, auth) == "token_expired"
        assert await other.join(server.lan_url, pair=new, name="x")


async def test_a_phone_resumes_as_the_same_stream_and_replaces_its_old_page(home: Path) -> None:
    async with running_server(home) as server, phones(2) as (old, new):
        first = await old.join(server.lan_url, pair=await server.new_token(), name="Pixel")
        await old.offer()
        again = await new.join(server.lan_url, resume=first["resume"], name="Pixel")
        assert again["stream_id"] == first["stream_id"]
        assert again["resume"] == first["resume"]
        async with asyncio.timeout(30):
            assert (await old.removed.get())["code"] == "replaced"
            await old.gone.wait()
        await new.offer()
        assert [session.is_closed for session in server.sessions] == [True, False]
        streams = (await server.status())["streams"]
        assert [stream["state"] for stream in streams] == ["live"]


async def test_stop_on_the_phone_forgets_it(home: Path) -> None:
    async with running_server(home) as server, phones(2) as (phone, back):
        welcome = await phone.join(server.lan_url, pair=await server.new_token(), name="Pixel")
        await phone.offer()
        await phone.leave()
        status = await server.until_status(
            lambda status: status["streams"][0]["state"] == "ended", "the end"
        )
        assert status["streams"][0]["message"] == "Stopped on the phone."
        assert server.sessions[0].is_closed
        auth = {"protocol": 1, "resume": welcome["resume"], "name": "x"}
        assert await back.refusal(server.lan_url, auth) == "token_unknown"


async def test_the_dashboard_removes_a_phone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_server(home) as server, phones(2) as (phone, back):
        welcome = await phone.join(server.lan_url, pair=await server.new_token(), name="Pixel")
        await phone.offer()

        async def close_when_told(self: FakeSession) -> None:
            await told.wait()
            self.is_closed = True

        # The phone hears that it was removed while its media still runs: else it would try again.
        told = asyncio.Event()
        phone.socket.on("disconnect", lambda *_: told.set())
        monkeypatch.setattr(FakeSession, "close", close_when_told)
        async with asyncio.timeout(30):
            gone = await server.http.delete(f"/api/streams/{welcome['stream_id']}", timeout=30)
        assert gone.status_code == 200
        async with asyncio.timeout(30):
            assert (await phone.removed.get())["code"] == "removed"
        assert server.sessions[0].is_closed
        assert (await server.status())["streams"] == []
        auth = {"protocol": 1, "resume": welcome["resume"], "name": "x"}
        assert await back.refusal(server.lan_url, auth) == "revoked"
        again = await server.http.delete(f"/api/streams/{welcome['stream_id']}")
        assert again.status_code == 404
        assert again.json()["error"]["code"] == "no_stream"


async def test_a_phone_that_goes_away_may_come_back(home: Path) -> None:
    async with running_server(home) as server, phones(2) as (phone, back):
        welcome = await phone.join(server.lan_url, pair=await server.new_token(), name="Pixel")
        await phone.offer()
        server.sessions[0].enter(SessionState.ENDED)  # the media connection ended
        await phone.socket.disconnect()
        await server.until_status(
            lambda status: status["streams"][0]["state"] == "ended", "the end"
        )
        again = await back.join(server.lan_url, resume=welcome["resume"], name="Pixel")
        assert again["stream_id"] == welcome["stream_id"]
        assert (await back.offer())["sdp"]


async def test_media_survives_a_lost_signalling_connection(home: Path) -> None:
    async with running_server(home) as server, phones() as (phone,):
        await phone.join(server.lan_url, pair=await server.new_token(), name="Pixel")
        await phone.offer()
        await phone.socket.disconnect()
        await server.until_status(lambda _: True, "an answer")
        assert not server.sessions[0].is_closed
        assert (await server.status())["streams"][0]["state"] == "live"


async def test_one_phone_too_many(home: Path) -> None:
    async with running_server(home, max_phones=1) as server, phones(2) as (phone, other):
        await phone.join(server.lan_url, pair=await server.new_token(), name="Pixel")
        token = await server.new_token()
        auth = {"protocol": 1, "pair": token, "name": "second"}
        assert await other.refusal(server.lan_url, auth) == "full"
        await phone.leave()
        await phone.socket.disconnect()
        await server.until_status(
            lambda status: status["streams"][0]["state"] == "ended", "the end"
        )
        assert (await server.http.get("/api/pairing")).json()["url"].endswith(token)
    # The refusal did not use up the token: the room was asked for first.


async def test_too_many_attempts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phones_module, "CONNECTS_BURST", 2)
    monkeypatch.setattr(phones_module, "CONNECTS_PER_S", 0.001)
    async with running_server(home) as server, phones(3) as made:
        auth = {"protocol": 1, "pair": "wrong", "name": "x"}
        codes = [await phone.refusal(server.lan_url, auth) for phone in made]
        assert codes == ["token_unknown", "token_unknown", "rate_limited"]


async def test_bad_offers_are_answered_with_a_code(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phones_module, "OFFERS_PER_S", 0.001)
    async with running_server(home) as server, phones() as (phone,):
        await phone.join(server.lan_url, pair=await server.new_token(), name="Pixel")

        async def code(sdp: Payload) -> str:
            found: str = (await phone.offer(sdp))["error"]["code"]
            return found

        assert await code("x" * (64 * 1024 + 1)) == "sdp_too_large"
        assert await code(17) == "sdp_invalid"
        assert await code("") == "sdp_invalid"

        async def refuse(self: FakeSession, offer_sdp: str) -> str:
            raise OfferError("no_video", "the offer has no video")

        monkeypatch.setattr(FakeSession, "answer", refuse)
        assert await code("v=0") == "no_video"
        assert server.sessions[-1].is_closed
        for _ in range(2):
            await phone.offer()
        assert await code("v=0") == "rate_limited"


async def test_a_local_source_needs_the_access_token(home: Path) -> None:
    async with running_server(home) as server, phones(2) as (source, thief):
        await source.socket.connect(
            server.info.local_url,
            headers={"Authorization": f"Bearer {TOKEN}"},
            auth={"protocol": 1, "local": "laptop"},
        )
        async with asyncio.timeout(30):
            welcome = await source.welcome.get()
        stream = (await server.status())["streams"][0]
        assert (stream["kind"], stream["name"]) == ("local", "laptop")
        assert await thief.is_turned_away(server.info.local_url)
        # What stands in for its resume token opens nothing.
        auth = {"protocol": 1, "resume": welcome["resume"], "name": "x"}
        assert await thief.refusal(server.lan_url, auth) == "token_unknown"


async def test_no_secret_is_logged(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(home))
        phone, other, local = await stack.enter_async_context(phones(3))
        token = await server.new_token()
        welcome = await phone.join(server.lan_url, pair=token, name="Pixel")
        await other.join(server.lan_url, resume=welcome["resume"], name="Pixel")
        await other.offer()
        await local.socket.connect(
            server.info.local_url,
            headers={"Authorization": f"Bearer {TOKEN}"},
            auth={"protocol": 1, "local": "laptop"},
        )
        await stack.enter_async_context(viewing(server))
    from_server = "\n".join(
        record.getMessage()
        for record in caplog.records
        # The peers of this test log their own side at debug.
        if not record.name.startswith(("websockets.client", "engineio.client", "socketio.client"))
    )
    assert from_server
    for secret in (token, welcome["resume"], TOKEN):
        assert secret not in from_server
