"""Pictures to pages: newest wins, one under way, nobody holds up anybody."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import simplejpeg
from websockets.exceptions import ConnectionClosed, InvalidStatus

from detect.protocol import Ack, Drawn, Hello, Visible, Watch
from detect.server import feed
from detect.server.viewers import MAX_ERRORS
from tests.integration.server_harness import (
    BOX,
    FakeSession,
    Server,
    Viewer,
    phones,
    running_server,
    viewer_ms,
    viewing,
)

pytestmark = pytest.mark.integration


async def live(server: Server, stack: AsyncExitStack) -> FakeSession:
    """A paired phone whose media the test feeds."""
    (phone,) = await stack.enter_async_context(phones())
    await phone.join(server.lan_url, pair=await server.new_token(), name="Pixel")
    assert await phone.offer() == {"sdp": "v=0 answer"}
    await server.until_status(lambda status: status["model"]["state"] == "ready", "the model")
    return server.sessions[-1]


async def test_frame_boxes_ack_drawn_samples(home: Path) -> None:
    async with running_server(home) as server, AsyncExitStack() as stack:
        session = await live(server, stack)
        viewer = await stack.enter_async_context(viewing(server))
        hello = await viewer.until(lambda each: isinstance(each, Hello))
        assert (hello.model, hello.class_names) == ("yolox-nano", ("person", "bicycle"))
        assert (await viewer.until_state("live")).name == "Pixel"
        await viewer.until_pinged()

        session.feed(4_000_000_000)
        header, jpeg = await viewer.picture()
        assert header.rtp == 4_000_000_000
        assert header.stream_id == session.stream_id
        assert header.size_wh == (640, 480)
        assert [tuple(box[:4]) for box in header.boxes] == [BOX]
        assert header.boxes[0].class_id == 0
        assert simplejpeg.decode_jpeg(jpeg).shape == (480, 640, 3)
        assert {"transport", "decode", "infer", "publish"} <= header.stages.keys()
        # In viewer time, within the error it states (2 ms of it are the phone's).
        assert header.captured_ms is not None
        assert header.error_ms is not None
        assert header.error_ms > 2
        age_ms = viewer_ms() - header.captured_ms
        assert age_ms > 20 - header.error_ms

        arrived_ms = viewer_ms()
        await viewer.send(Ack(header.seq))
        await viewer.send(Drawn(header.seq, arrived_ms, arrived_ms + 5))
        await server.until_status(
            lambda status: status["streams"][0]["latency_ms"] is not None, "a latency"
        )
        path = f"/api/streams/{session.stream_id}"
        samples = (await server.http.get(f"{path}/samples")).json()
        assert samples["rows"]["rtp"] == [4_000_000_000]
        later = (await server.http.get(f"{path}/samples?since={samples['next']}")).json()
        assert later["rows"]["rtp"] == []
        document = (await server.http.get(f"{path}/metrics.json")).json()
        assert document["latency_metrics"]["n"] == 1
        assert document["benchmark_info"]["model"] == "yolox-nano"
        text = (await server.http.get("/metrics")).text
        assert "detect_latency_seconds_count 1.0" in text
        assert 'detect_stage_seconds_count{stage="draw"} 1.0' in text
        assert session.results  # the phone got its boxes too
        assert '"rtp":4000000000' in session.results[0]


async def test_next_picture_only_after_ack_and_then_the_newest(home: Path) -> None:
    async with running_server(home) as server, AsyncExitStack() as stack:
        session = await live(server, stack)
        viewer = await stack.enter_async_context(viewing(server))
        await viewer.until_state("live")
        session.feed(1)
        first, _ = await viewer.picture()
        for rtp in (2, 3, 4):
            session.feed(rtp)
            await delivered(server, session, rtp)
        await viewer.send(Ack(first.seq + 7))  # not the one under way: ignored
        await viewer.send(Ack(first.seq))
        second, jpeg = await viewer.picture()
        assert (second.rtp, second.seq) == (4, first.seq + 1)
        # It came while nobody was ready, so it was encoded when the viewer was.
        assert simplejpeg.decode_jpeg(jpeg).shape == (480, 640, 3)
        text = (await server.http.get("/metrics")).text
        assert "detect_pictures_replaced_total 2.0" in text


async def test_ten_viewers_get_every_picture_encoded_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[object] = []
    from detect.server.jpeg import JpegEncoder

    encode = JpegEncoder.encode

    def counting(self: JpegEncoder, picture: object) -> bytes:
        encoded.append(picture)
        return encode(self, picture)  # type: ignore[arg-type]  # a frame, seen as an object

    monkeypatch.setattr(JpegEncoder, "encode", counting)
    async with running_server(home) as server, AsyncExitStack() as stack:
        session = await live(server, stack)
        viewers = [await stack.enter_async_context(viewing(server)) for _ in range(10)]
        await asyncio.gather(*(each.until_state("live") for each in viewers))
        for rtp in range(5):
            session.feed(rtp)
            seen = await asyncio.gather(*(each.picture() for each in viewers))
            assert {header.rtp for header, _ in seen} == {rtp}
            for viewer, (header, _) in zip(viewers, seen, strict=True):
                await viewer.send(Ack(header.seq))
            # The next frame must find every acknowledgement arrived.
            await asyncio.gather(*(settled(each) for each in viewers))
        assert len(encoded) == 5
        assert (await server.status())["n_viewers"] == 10


async def delivered(server: Server, session: FakeSession, rtp: int) -> None:
    """The result of this frame has reached the loop."""
    await server.until_status(
        lambda _: any(f'"rtp":{rtp},' in text for text in session.results), f"frame {rtp}"
    )


async def settled(viewer: Viewer) -> None:
    """Everything this viewer has sent was read: the server answers a ``watch`` in order."""
    n_before = len(viewer.states)
    await viewer.send(Watch(None))
    async with asyncio.timeout(30):
        while len(viewer.states) == n_before:
            await viewer.receive()


async def test_a_viewer_that_never_acks_is_dropped_and_disturbs_nobody(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "ACK_TIMEOUT_NS", 300_000_000)
    async with running_server(home) as server, AsyncExitStack() as stack:
        session = await live(server, stack)
        good = await stack.enter_async_context(viewing(server))
        deaf = await stack.enter_async_context(viewing(server))
        for viewer in (good, deaf):
            await viewer.until_state("live")
        session.feed(0)
        await deaf.picture()
        for rtp in range(1, 6):
            header, _ = await good.picture()
            await good.send(Ack(header.seq))
            await settled(good)
            session.feed(rtp)
        header, _ = await good.picture()
        assert header.rtp == 5
        await good.send(Ack(header.seq))
        assert await deaf.close_code() == 1008
        await server.until_status(lambda status: status["n_viewers"] == 1, "one viewer left")


async def test_a_hidden_page_gets_no_pictures_and_nothing_old_when_shown(home: Path) -> None:
    async with running_server(home) as server, AsyncExitStack() as stack:
        session = await live(server, stack)
        viewer = await stack.enter_async_context(viewing(server))
        await viewer.until_state("live")
        await viewer.send(Visible(False))
        await settled(viewer)
        session.feed(1)
        await delivered(server, session, 1)
        await viewer.send(Visible(True))
        await settled(viewer)
        session.feed(2)
        assert (await viewer.picture())[0].rtp == 2


async def test_a_page_follows_the_newest_phone_or_the_one_it_chose(home: Path) -> None:
    async with running_server(home) as server, AsyncExitStack() as stack:
        viewer = await stack.enter_async_context(viewing(server))
        assert (await viewer.until_state("waiting")).stream_id is None
        first = await live(server, stack)
        assert (await viewer.until_state("live")).stream_id == first.stream_id
        second = await live(server, stack)
        viewer.texts.clear()
        await settled(viewer)
        assert viewer.states[-1].stream_id == second.stream_id
        await viewer.send(Watch(first.stream_id))
        await settled_on(viewer, first.stream_id)
        second.feed(1)
        first.feed(2)
        assert (await viewer.picture())[0].stream_id == first.stream_id
        await server.http.delete(f"/api/streams/{first.stream_id}")
        viewer.texts.clear()
        assert "removed" in (await viewer.until_state("ended")).message


async def settled_on(viewer: Viewer, stream_id: str) -> None:
    async with asyncio.timeout(30):
        while not viewer.states or viewer.states[-1].stream_id != stream_id:
            await viewer.receive()


@pytest.mark.parametrize("text", ["", "{", '{"type":"nonsense"}', '{"type":"ack"}', "x" * 5000])
async def test_messages_that_break_the_protocol_are_dropped(home: Path, text: str) -> None:
    async with running_server(home) as server, AsyncExitStack() as stack:
        session = await live(server, stack)
        viewer = await stack.enter_async_context(viewing(server))
        await viewer.until_state("live")
        await viewer.socket.send(text)
        await settled(viewer)
        session.feed(1)
        assert (await viewer.picture())[0].rtp == 1


async def test_a_viewer_that_only_breaks_the_protocol_is_closed(home: Path) -> None:
    async with running_server(home) as server, viewing(server) as viewer:
        for _ in range(MAX_ERRORS + 1):
            await viewer.socket.send("nonsense")
        assert await viewer.close_code() == 1008


async def test_one_viewer_too_many_is_told_to_come_back(home: Path) -> None:
    async with running_server(home, max_viewers=1) as server, viewing(server) as first:
        await first.until_state("waiting")
        async with viewing(server) as second:
            with pytest.raises(ConnectionClosed) as closed:
                await second.socket.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "too many viewers")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong-token-0123456789"}])
async def test_no_viewer_without_the_token(home: Path, headers: dict[str, str]) -> None:
    async with running_server(home) as server:
        with pytest.raises(InvalidStatus) as refused:
            async with viewing(server, headers):
                pass
        assert refused.value.response.status_code == 403


async def test_closing_says_going_away(home: Path) -> None:
    async with AsyncExitStack() as stack:
        async with running_server(home) as server:
            viewer = await stack.enter_async_context(viewing(server))
            await viewer.until_state("waiting")
        assert await viewer.close_code() == 1001


async def test_the_model_is_swapped_live_and_a_broken_one_changes_nothing(home: Path) -> None:
    async with running_server(home) as server, AsyncExitStack() as stack:
        session = await live(server, stack)
        viewer = await stack.enter_async_context(viewing(server))
        await viewer.until_state("live")
        changed = await server.http.patch("/api/settings", json={"model": "other"})
        assert changed.json()["model"] == "other"
        await viewer.until(lambda each: isinstance(each, Hello) and each.model == "other")
        session.feed(1)
        header, _ = await viewer.picture()
        assert header.model == "other"
        await viewer.send(Ack(header.seq))

        await server.http.patch("/api/settings", json={"model": "broken"})
        status = await server.until_status(
            lambda status: "rubbish" in status["model"]["message"], "the failure in words"
        )
        assert (status["model"]["name"], status["model"]["state"]) == ("other", "ready")
        assert status["settings"]["model"] == "other"
        session.feed(2)
        assert (await viewer.picture())[0].model == "other"


async def test_without_a_model_the_picture_still_flows(home: Path) -> None:
    from detect.config import DetectionSettings

    async with (
        running_server(home, detection=DetectionSettings(model="broken")) as server,
        AsyncExitStack() as stack,
    ):
        (phone,) = await stack.enter_async_context(phones())
        await phone.join(server.lan_url, pair=await server.new_token(), name="Pixel")
        await phone.offer()
        status = await server.until_status(
            lambda status: status["model"]["state"] == "failed", "the failure"
        )
        assert "rubbish" in status["model"]["message"]
        viewer = await stack.enter_async_context(viewing(server))
        await viewer.until_state("live")
        server.sessions[-1].feed(1)
        header, _ = await viewer.picture()
        assert (header.boxes, header.model) == ((), "")
