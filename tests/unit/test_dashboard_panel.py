"""The dashboard's logic against a fake client: what is shown, what is sent, when it stops."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detect.dashboard import markup
from detect.dashboard.client import (
    Mode,
    Model,
    ModelChoice,
    Pairing,
    Percentiles,
    Samples,
    Settings,
    Status,
    Stream,
)
from detect.dashboard.jobs import Jobs, LatestChange
from detect.dashboard.panel import Dashboard, watched_stream
from detect.dashboard.presence import Presence
from detect.errors import ServerError
from detect.vision.engine import PREFERRED_PROVIDERS

PHONE = Stream(
    "s1",
    name="Pixel",
    state="live",
    size_wh=(640, 480),
    camera_fps=30.0,
    processed_fps=28.0,
    shown_fps=27.0,
    latency_ms=Percentiles(40.0, 60.0, 80.0),
    processing_ms=Percentiles(24.0, 30.0, 33.0),
    counts={"person": 2},
    since_s=5.0,
)
EMPTY = Status(
    version="1",
    mode=Mode(reasons=("4 cores",)),
    model=Model(name="m", state="ready", class_names=("person",)),
    phone_url="",
    streams=(),
    n_viewers=1,
    settings=Settings("m", 0.35, 0.5),
    uptime_s=1.0,
)
LIVE = replace(EMPTY, streams=(PHONE,))


class FakeClient:
    """Answers from fields; notes what it was asked to do."""

    def __init__(self, status: Status = EMPTY) -> None:
        self.answer: Status | None = status
        self.asked: list[Any] = []
        self.n_codes = 0
        self.rows: dict[str, list[Any]] = {
            "t_ms": [float(33 * i) for i in range(40)],
            "latency_ms": [40.0] * 36 + [60.0] * 4,
            "processing_ms": [24.0] * 40,
            "infer_ms": [15.0, 16.0, 17.0, 16.0] * 10,
        }
        self.refusal: str | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def status(self) -> Status:
        if self.answer is None:
            raise ServerError("The media server does not answer.")
        return self.answer

    async def models(self) -> tuple[ModelChoice, ...]:
        return tuple(
            ModelChoice(name, "yolox", name == "m", name == "m", False, "Apache-2.0", None)
            for name in ("m", "n")
        )

    async def pairing(self, *, renew: bool = False) -> Pairing:
        self.n_codes += 1
        self.asked.append(("pairing", renew))
        return Pairing(f"https://h/#{self.n_codes}", "<svg/>", 600.0)

    async def change_settings(self, **changes: str | float) -> Settings:
        self.asked.append(changes)
        await self.gate.wait()
        if self.refusal:
            raise ServerError(self.refusal)
        return EMPTY.settings

    async def remove_stream(self, stream_id: str) -> None:
        self.asked.append(("remove", stream_id))
        self.answer = EMPTY

    async def samples(self, stream_id: str, since: int) -> Samples:
        self.asked.append(("samples", stream_id, since))
        return Samples(since + 10, self.rows)

    async def metrics_json(self, stream_id: str) -> bytes:
        return b"{}"

    async def close(self) -> None:
        self.asked.append("closed")


def dashboard(status: Status = EMPTY) -> tuple[Dashboard, FakeClient]:
    fake = FakeClient(status)
    return Dashboard(fake), fake  # type: ignore[arg-type]  # has the methods that are used


def classes(page: Dashboard) -> set[str]:
    return set(page._dom_classes)


@pytest.mark.parametrize(
    ("streams", "wanted", "expected"),
    [
        ((), None, None),
        ((Stream("a", state="live"), Stream("b", state="live")), "b", "b"),
        (
            (Stream("a", state="live", since_s=9.0), Stream("b", state="live", since_s=1.0)),
            None,
            "b",
        ),
        ((Stream("a", state="connecting"), Stream("b", state="stalled")), None, "b"),
        ((Stream("a", state="ended"),), None, None),
        ((Stream("a", state="live"),), "gone", "a"),
    ],
)
def test_watched_stream(
    streams: tuple[Stream, ...], wanted: str | None, expected: str | None
) -> None:
    found = watched_stream(replace(EMPTY, streams=streams), wanted)
    assert (found.stream_id if found else None) == expected


async def test_waiting_then_live_then_waiting() -> None:
    page, fake = dashboard()
    await page.tick()
    assert "is-waiting" in classes(page)
    assert page.charts.widget.children == ()  # nothing to draw yet
    fake.answer = LIVE
    await page.tick()
    assert "is-live" in classes(page)
    assert "is-waiting" not in classes(page)
    assert "Pixel" in page._header.value
    assert len(page.charts.widget.children) == 3
    fake.answer = EMPTY
    await page.tick()
    assert "is-waiting" in classes(page)


async def test_a_forgotten_phone_is_watched_no_longer() -> None:
    page, fake = dashboard(LIVE)
    page.view.stream_id = "s1"
    await page.tick()
    watched = [page.view.stream_id]
    fake.answer = replace(EMPTY, streams=(replace(PHONE, stream_id="s2"),))
    await page.tick()
    watched.append(page.view.stream_id)
    page.view.stream_id = "s3"  # newer than the server's answer
    await page.tick()
    assert [*watched, page.view.stream_id] == ["s1", None, "s3"]


async def test_charts_take_one_point_a_tick_and_only_new_samples() -> None:
    page, fake = dashboard(LIVE)
    await page.tick()
    await page.tick()
    assert [each for each in fake.asked if each[0] == "samples"] == [
        ("samples", "s1", 0),
        ("samples", "s1", 10),
    ]
    _, values = page.charts.latency.window.arrays()
    assert values[:, -1].tolist() == [40.0, 60.0]
    assert len(page.charts.stages.window) == 2


async def test_frames_nobody_has_drawn_yet_are_a_gap() -> None:
    page, fake = dashboard(LIVE)
    fake.rows["latency_ms"] = [None] * 40
    await page.tick()
    _, values = page.charts.latency.window.arrays()
    assert np.isnan(values).all()
    assert "processing only" not in page.charts.latency._head.value


async def test_without_a_clock_the_figure_is_called_processing() -> None:
    page, fake = dashboard(replace(EMPTY, streams=(replace(PHONE, latency_ms=None),)))
    fake.rows["latency_ms"] = [None] * 40
    await page.tick()
    assert "processing only" in page.charts.latency._head.value
    _, values = page.charts.latency.window.arrays()
    assert values[0, -1] == 24.0


async def test_a_hidden_page_gets_no_drawings() -> None:
    page, _ = dashboard(LIVE)
    page.view.is_visible = False
    await page.tick()
    assert page.charts.widget.children == ()
    assert len(page.charts.latency.window) == 1


async def test_a_missing_server_is_named_and_forgotten_when_it_is_back() -> None:
    page, fake = dashboard()
    fake.answer = None
    await page.tick()
    assert "does not answer" in page._notice.value
    assert "is-down" in classes(page)
    fake.answer = LIVE
    await page.tick()
    assert page._notice.value == ""
    assert "is-down" not in classes(page)


async def test_a_used_code_is_replaced_when_a_phone_comes() -> None:
    page, fake = dashboard()
    await page.tick()
    await page.tick()
    assert fake.n_codes == 1  # not with every tick
    fake.answer = LIVE
    await page.tick()
    assert fake.n_codes == 2
    assert "https://h/#2" in page.pairing._body.value


async def test_controls_act_at_once_and_do_not_echo() -> None:
    page, fake = dashboard()
    await page.tick()
    assert not any(isinstance(each, dict) for each in fake.asked)
    page.controls.score.value = 0.5
    await page.jobs.drain()
    assert fake.asked[-1] == {"score_threshold": 0.5}


async def test_a_dragged_slider_sends_the_first_and_the_last() -> None:
    page, fake = dashboard()
    await page.tick()
    fake.gate.clear()
    page.controls.score.value = 0.40
    await asyncio.sleep(0)
    for value in (0.45, 0.50, 0.55):
        page.controls.score.value = value
    fake.gate.set()
    await page.jobs.drain()
    sent = [each for each in fake.asked if isinstance(each, dict)]
    assert sent == [{"score_threshold": 0.40}, {"score_threshold": 0.55}]


async def test_a_refused_change_is_said_and_stays_said() -> None:
    page, fake = dashboard()
    await page.tick()
    fake.refusal = "n could not be downloaded"
    page.controls.model.value = "n"
    await page.jobs.drain()
    await page.tick()
    assert "could not be downloaded" in page.controls._note.value
    assert page.controls.model.value == "m"  # what the server really uses


async def test_removing_a_phone() -> None:
    page, fake = dashboard(LIVE)
    await page.tick()
    page._watch("s1")
    page._remove("s1")
    await page.jobs.drain()
    assert ("remove", "s1") in fake.asked
    assert page.view.stream_id is None
    assert "is-waiting" in classes(page)


async def test_export_hands_the_file_over(monkeypatch: pytest.MonkeyPatch) -> None:
    page, _ = dashboard(LIVE)
    sent: list[Any] = []
    monkeypatch.setattr(page.view, "send", lambda content, buffers: sent.append((content, buffers)))
    page._export()
    await page.jobs.drain()
    assert sent == []  # nothing is watched yet
    await page.tick()
    page._export()
    await page.jobs.drain()
    assert sent[0][0]["name"] == "metrics.json"
    assert sent[0][1] == [b"{}"]


async def test_the_computers_own_camera_comes_and_goes() -> None:
    page, _ = dashboard()
    page._set_camera(True)
    assert page.view.source is not None
    page._set_camera(False)
    assert page.view.source is None


async def test_start_and_stop_leave_nothing() -> None:
    page, fake = dashboard()
    before = asyncio.all_tasks()
    page.start()
    page.start()
    await asyncio.sleep(0)
    await page.stop()
    await page.stop()
    assert asyncio.all_tasks() == before
    assert fake.asked[-1] == "closed"


async def test_presence_waits_for_the_page_to_come_back() -> None:
    now_s = 0.0
    presence = Presence(gone_after_s=60, now_s=lambda: now_s)
    await presence.wait()  # still loading counts as here
    now_s = 61.0
    waiting = asyncio.ensure_future(presence.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    presence.on_page("heartbeat")
    await asyncio.wait_for(waiting, 5)
    presence.on_page("bye")
    assert not presence.is_here


async def test_a_failing_job_is_said_and_the_next_one_runs() -> None:
    said: list[str] = []
    jobs = Jobs(said.append)

    async def fail() -> None:
        raise ServerError("no")

    jobs.start(fail())
    await jobs.drain()
    assert said == ["no"]


async def test_latest_change_merges_what_waits() -> None:
    sent: list[dict[str, str | float]] = []

    async def send(changes: dict[str, str | float]) -> None:
        sent.append(changes)

    changes = LatestChange(send)
    assert changes.put("a", 1)
    assert not changes.put("b", 2)
    await changes.flush()
    assert sent == [{"a": 1, "b": 2}]
    assert changes.is_idle


@pytest.mark.parametrize("name", ['<img src=x onerror="alert(1)">', "a&b"])
def test_foreign_words_are_escaped(name: str) -> None:
    stream = replace(PHONE, name=name, message=name, state="ended", counts={name: 1})
    status = replace(EMPTY, streams=(stream,))
    pages = (
        markup.header(status, stream)
        + markup.device(stream)
        + markup.counts(stream, (name,))
        + markup.mode(Mode(reasons=(name,)), Model(name=name, provider=name), name)
        + markup.notice(name)
    )
    assert "<img" not in pages
    assert "a&b" not in pages


@pytest.mark.parametrize(
    ("remaining_s", "words"),
    [(None, ""), (-1, "expired"), (0, "expired"), (61.9, "1:01"), (600, "10:00")],
)
def test_expiry_counts_down(remaining_s: float | None, words: str) -> None:
    assert words in markup.expiry(remaining_s)


@pytest.mark.parametrize("provider", PREFERRED_PROVIDERS)
def test_the_mode_card_knows_the_name_of_every_provider(provider: str) -> None:
    # As OrtEngine.provider has it.
    word = provider.removesuffix("ExecutionProvider").lower()
    model = Model(name="yolox-nano", provider=word, threads=1)
    assert markup.PROVIDER_WORDS[word] in markup.mode(Mode(), model, "1")
    assert f"</b> on {word}," not in markup.mode(Mode(), model, "1")
