"""Streams, states and the way from the worker to the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import av
import pytest

from detect.clock import now_ns
from detect.config import DetectionSettings
from detect.errors import TransportError
from detect.protocol import PhoneState
from detect.rtc.session import SessionState
from detect.rtc.stats import SessionStats
from detect.server import hub as hub_module
from detect.server.hub import Hub, Stream, StreamKind, StreamState
from detect.types import Detections, Frame, FrameResult, FrameTimes


class FakeSession:
    def __init__(self, made: list[FakeSession], **parts: Callable[..., None]) -> None:
        self.message = ""
        self.parts = parts
        self.is_closed = False
        self.results: list[str] = []
        self.got_results = asyncio.Event()
        made.append(self)

    async def answer(self, offer_sdp: str) -> str:
        if offer_sdp == "bad":
            raise TransportError("bad offer")
        return "answer"

    def enter(self, state: SessionState, message: str = "") -> None:
        self.message = message
        self.parts["on_state"](state)

    def send_results(self, text: str) -> None:
        self.results.append(text)
        self.got_results.set()

    def stats(self) -> SessionStats:
        return SessionStats(None, None, None, 0, 0, 0)

    async def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.enter(SessionState.ENDED, "closed")


class Setup:
    def __init__(self) -> None:
        self.sessions: list[FakeSession] = []
        self.hub = Hub(
            new_session=lambda **parts: FakeSession(self.sessions, **parts),
            settings=DetectionSettings(),
        )

    async def live(self, name: str = "Pixel") -> tuple[Stream, FakeSession]:
        stream = self.hub.open(name, StreamKind.PHONE)
        assert await self.hub.connect(stream, "offer") == "answer"
        session = self.sessions[-1]
        session.enter(SessionState.LIVE)
        return stream, session


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    made = Setup()
    made.hub.start()
    yield made
    await made.hub.close()


def frame(stream_id: str, rtp: int) -> Frame:
    now = now_ns()
    return Frame(stream_id, rtp, av.VideoFrame(64, 48, "yuv420p"), None, None, now, now)


async def test_states_of_a_stream(setup: Setup) -> None:
    stream = setup.hub.open("Pixel", StreamKind.PHONE)
    assert setup.hub.describe(stream.stream_id).state == "waiting"
    await setup.hub.connect(stream, "offer")
    assert setup.hub.describe(stream.stream_id).state == "connecting"
    session = setup.sessions[0]
    for state in (SessionState.LIVE, SessionState.STALLED, SessionState.LIVE):
        session.enter(state, "words")
        described = setup.hub.describe(stream.stream_id)
        assert (described.state, described.message) == (state.value, "words")
    session.enter(SessionState.ENDED, "gone")
    assert stream.session is None
    assert stream.state is StreamState.ENDED


@pytest.mark.parametrize(
    ("phone", "words"),
    [
        (PhoneState("environment", "ended", visible=True), "switched off"),
        (PhoneState("environment", "live", visible=False), "another page"),
        (PhoneState("environment", "muted", visible=True), "paused"),
        (PhoneState("environment", "live", visible=True), "from the session"),
    ],
)
async def test_the_phone_explains_itself(setup: Setup, phone: PhoneState, words: str) -> None:
    stream, session = await setup.live()
    session.enter(SessionState.STALLED, "from the session")
    session.parts["on_phone_state"](phone)
    assert words in stream.message
    assert stream.state is StreamState.STALLED


async def test_a_new_offer_replaces_the_connection(setup: Setup) -> None:
    stream, old = await setup.live()
    await setup.hub.connect(stream, "again")
    assert old.is_closed
    old.enter(SessionState.ENDED, "late last words")
    assert stream.session is setup.sessions[1]
    assert stream.state is StreamState.CONNECTING


async def test_a_bad_offer_leaves_the_stream_waiting(setup: Setup) -> None:
    stream = setup.hub.open("Pixel", StreamKind.PHONE)
    with pytest.raises(TransportError, match="bad offer"):
        await setup.hub.connect(stream, "bad")
    assert setup.sessions[0].is_closed
    assert (stream.session, stream.state) == (None, StreamState.WAITING)


async def test_offers_at_the_same_time_take_turns(setup: Setup) -> None:
    stream = setup.hub.open("Pixel", StreamKind.PHONE)
    await asyncio.gather(*(setup.hub.connect(stream, "offer") for _ in range(3)))
    assert [session.is_closed for session in setup.sessions] == [True, True, False]


async def test_which_stream_a_page_gets(setup: Setup) -> None:
    hub = setup.hub
    assert hub.resolve(None) is None
    assert hub.describe(None).state == "waiting"
    first, first_session = await setup.live("first")
    waiting = hub.open("waiting", StreamKind.PHONE)
    assert hub.resolve(None) == first.stream_id  # live beats newer
    second, _ = await setup.live("second")
    assert hub.resolve(None) == second.stream_id  # newer beats older
    assert hub.resolve(first.stream_id) == first.stream_id
    await hub.end(second, "over")
    first_session.enter(SessionState.STALLED)
    assert hub.resolve(None) == first.stream_id  # stalled beats waiting
    await hub.remove(first.stream_id)
    assert hub.resolve(None) == waiting.stream_id
    assert hub.describe(first.stream_id).state == "ended"


async def test_frames_become_results_for_the_phone(setup: Setup) -> None:
    stream, session = await setup.live()
    session.parts["on_frame"](frame(stream.stream_id, 7))
    async with asyncio.timeout(10):
        await session.got_results.wait()
    assert '"rtp":7' in session.results[0]
    assert '"age_ms":null' in session.results[0]
    assert stream.metrics.summary().n_processed == 1


async def test_a_busy_loop_finds_one_result_not_a_queue(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, session = await setup.live()
    calls: list[Callable[[], None]] = []

    class BusyLoop:
        def call_soon_threadsafe(self, function: Callable[..., None], *parts: object) -> None:
            calls.append(lambda: function(*parts))

    monkeypatch.setattr(setup.hub, "_loop", BusyLoop())
    for rtp in range(20):
        result = FrameResult(frame(stream.stream_id, rtp), Detections.empty(), FrameTimes(), "")
        setup.hub._on_result(result)  # as the worker does while the loop is stuck
    assert len(calls) == 1
    calls[0]()
    assert len(session.results) == 1
    assert '"rtp":19' in session.results[0]


async def test_frames_of_a_removed_stream_go_nowhere(setup: Setup) -> None:
    stream, session = await setup.live()
    await setup.hub.remove(stream.stream_id)
    assert session.is_closed
    session.parts["on_frame"](frame(stream.stream_id, 1))
    await setup.hub.remove(stream.stream_id)  # again does nothing
    assert setup.hub.streams == ()


async def test_a_phone_that_left_is_kept_until_another_is_live(setup: Setup) -> None:
    left, session = await setup.live("left")
    away, _ = await setup.live("away")
    await setup.hub.end(left, "Stopped on the phone.", has_left=True)
    await setup.hub.end(away, "The phone went away.")
    assert session.is_closed
    assert setup.hub.streams == (left, away)
    live, _ = await setup.live("live")
    assert setup.hub.streams == (away, live)
    assert setup.hub.describe(left.stream_id).message == "This source was removed."


async def test_one_that_left_and_came_back_is_kept(setup: Setup) -> None:
    stream, _ = await setup.live()
    await setup.hub.end(stream, "Stopped.", has_left=True)
    await setup.hub.connect(stream, "offer")
    setup.sessions[-1].enter(SessionState.LIVE)
    await setup.live("other")
    assert stream in setup.hub.streams


async def test_only_idle_streams_are_surplus(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MAX_STREAMS", 2)
    live, _ = await setup.live()
    idle = [setup.hub.open(str(n), StreamKind.PHONE) for n in range(3)]
    assert setup.hub.surplus() == [idle[0].stream_id, idle[1].stream_id]
    assert live.stream_id not in setup.hub.surplus()


async def test_an_engine_error_is_told_until_the_model_changes(setup: Setup) -> None:
    setup.hub._on_error("s", RuntimeError("shape"))
    assert "shape" in setup.hub.last_engine_error
    setup.hub.set_pipeline(None)
    assert setup.hub.last_engine_error == ""
