"""A media server that dies and is started again: who comes back, and as whom."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.integration.server_harness import phones
from tests.integration.test_server_process import Served, serving
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


def states(served: Served) -> dict[str, str]:
    streams = served.get("/api/status").json()["streams"]
    return {stream["stream_id"]: stream["state"] for stream in streams}


async def test_phones_come_back_to_a_server_that_was_killed(tmp_path: Path) -> None:
    async with phones(4) as (phone, gone, back, late):
        with serving(tmp_path) as served:
            url = f"https://127.0.0.1:{served.ready['lan_port']}"
            welcome = await phone.join(
                url, pair=served.ready["pairing_url"].partition("#")[2], name="Pixel"
            )
            token = served.get("/api/pairing").json()["url"].partition("#")[2]
            left = await gone.join(url, pair=token, name="left")
            await gone.leave()
            await asyncio.to_thread(
                wait_until, lambda: "ended" in states(served).values(), what="the goodbye"
            )
            served.process.kill()
            served.process.wait()
        with serving(tmp_path, "--lan-port", str(served.ready["lan_port"])) as again:
            assert again.ready["lan_port"] == served.ready["lan_port"]
            assert states(again) == {welcome["stream_id"]: "waiting"}
            resumed = await back.join(url, resume=welcome["resume"], name="Pixel")
            assert resumed["stream_id"] == welcome["stream_id"]
            assert resumed["resume"] == welcome["resume"]
            auth = {"protocol": 1, "resume": left["resume"], "name": "left"}
            assert await late.refusal(url, auth) == "token_unknown"
