"""A real phone session, the real engine, a real page: frame → boxes → ack → drawn → samples."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import simplejpeg

from detect.protocol import Ack, Drawn, PictureHeader, parse_results
from tests.e2e import frame_code
from tests.integration.peers import FakePhone
from tests.integration.server_harness import (
    Phone,
    Server,
    Viewer,
    phones,
    running_server,
    viewer_ms,
    viewing,
)

pytestmark = pytest.mark.integration


@asynccontextmanager
async def connected(server: Server, signaling: Phone, name: str) -> AsyncIterator[FakePhone]:
    """A paired phone that sends video."""
    welcome = await signaling.join(server.lan_url, pair=await server.new_token(), name=name)
    assert welcome["stream_id"]
    phone = FakePhone(frame_rate=15)
    try:
        answer = await signaling.offer(await phone.offer())
        assert "sdp" in answer, answer
        await phone.accept(answer["sdp"])
        yield phone
    finally:
        await phone.close()


async def watch(viewer: Viewer, n: int) -> list[tuple[PictureHeader, bytes]]:
    """Look at ``n`` pictures as a page does."""
    seen = []
    for _ in range(n):
        header, jpeg = await viewer.picture()
        arrived_ms = viewer_ms()
        await viewer.send(Ack(header.seq))
        await viewer.send(Drawn(header.seq, arrived_ms, viewer_ms()))
        seen.append((header, jpeg))
    return seen


async def check_path(server: Server, phone: FakePhone, viewer: Viewer) -> list[PictureHeader]:
    await viewer.until_state("live")
    seen = await watch(viewer, 30)
    headers = [header for header, _ in seen]
    numbers = [frame_code.read(simplejpeg.decode_jpeg(jpeg)) for _, jpeg in seen]
    # Newest wins: numbers only grow, and each picture is the frame its header says.
    assert None not in numbers
    assert numbers == sorted(set(numbers))  # type: ignore[type-var]  # no None among them
    assert [header.rtp for header in headers] == list(dict.fromkeys(h.rtp for h in headers))
    status = await server.until_status(
        lambda status: status["streams"][0]["latency_ms"] is not None, "a latency"
    )
    stream: dict[str, Any] = status["streams"][0]
    assert stream["codec"] == "VP8"
    assert stream["size_wh"] == [640, 480]
    rows = (await server.http.get(f"/api/streams/{stream['stream_id']}/samples")).json()["rows"]
    assert set(rows["rtp"]) & {header.rtp for header in headers}
    # The true capture time lies within the error the header states.
    last = headers[-1]
    assert last.captured_ms is not None
    assert last.error_ms is not None
    true_ms = viewer_ms() - age_ms(phone, last.rtp)
    assert abs(last.captured_ms - true_ms) <= last.error_ms + 1
    async with asyncio.timeout(30):
        results = parse_results(await phone.results.get())
    assert results.size_wh == (640, 480)
    return headers


def age_ms(phone: FakePhone, rtp: int) -> float:
    """True age of a frame: phone and test share the process's clock."""
    from detect.clock import now_ns

    return (now_ns() - phone.captured_ns(rtp)) / 1e6


async def test_full_path_with_a_fake_model(home: Path) -> None:
    async with running_server(home, is_real_media=True) as server, phones() as (signaling,):
        async with connected(server, signaling, "Pixel") as phone, viewing(server) as viewer:
            headers = await check_path(server, phone, viewer)
            assert {box.class_id for header in headers[-5:] for box in header.boxes} == {0}
        # The phone's page was closed: DTLS says so at once.
        status = await server.until_status(
            lambda status: status["streams"][0]["state"] == "ended", "the end"
        )
        assert status["streams"][0]["message"]


@pytest.mark.model
async def test_full_path_with_the_real_model(home: Path, models_dirs: list[Path]) -> None:
    if not any((folder / "yolox_nano.onnx").is_file() for folder in models_dirs):
        pytest.skip("no yolox_nano.onnx in DETECT_MODELS")
    async with (
        running_server(home, is_real_media=True, load=None, allow_download=False) as server,
        phones() as (signaling,),
    ):
        status = await server.until_status(
            lambda status: status["model"]["state"] == "ready", "the model"
        )
        assert status["model"]["name"] == "yolox-nano"
        assert len(status["model"]["class_names"]) == 80
        async with connected(server, signaling, "Pixel") as phone, viewing(server) as viewer:
            headers = await check_path(server, phone, viewer)
            assert headers[-1].model == "yolox-nano"
            assert headers[-1].stages["infer"] > 0


async def test_two_phones_share_the_engine_and_two_pages_see_one_each(home: Path) -> None:
    async with (
        running_server(home, is_real_media=True) as server,
        phones(2) as (first, second),
        connected(server, first, "first"),
        connected(server, second, "second"),
        viewing(server) as left,
        viewing(server) as right,
    ):
        status = await server.until_status(
            lambda status: [each["state"] for each in status["streams"]] == ["live", "live"],
            "two live phones",
        )
        ids = [stream["stream_id"] for stream in status["streams"]]
        from detect.protocol import Watch

        await left.send(Watch(ids[0]))
        await right.send(Watch(ids[1]))
        seen_left, seen_right = await asyncio.gather(watch(left, 12), watch(right, 12))
        # The first pictures may be of the stream the page had before it chose.
        assert {header.stream_id for header, _ in seen_left[2:]} == {ids[0]}
        assert {header.stream_id for header, _ in seen_right[2:]} == {ids[1]}
