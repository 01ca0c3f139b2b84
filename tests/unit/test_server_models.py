"""Loading and swapping models."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from detect.errors import ModelError
from detect.server.models import ModelHost, ModelState, ModelStatus


class FakePipeline:
    def __init__(self, name: str) -> None:
        self.spec = SimpleNamespace(name=name, sha256="ab", class_names=["person"])
        self.provider = "cpu"
        self.threads = 2
        self.notice = None
        self.is_warm = self.is_closed = False

    def warm_up(self) -> None:
        self.is_warm = True

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Loader:
    """Loads when the test says so."""

    go: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    progress: Callable[[int, int], None] | None = None

    def __call__(
        self, model: str, *, on_progress: Callable[[int, int], None] | None = None
    ) -> FakePipeline:
        self.asked.append(model)
        self.progress = on_progress
        assert self.go.wait(10)
        if model == "refused":
            raise ModelError("refused: not an ONNX file")
        if model == "crash":
            raise RuntimeError("native trouble")
        return FakePipeline(model)


class Setup:
    def __init__(self) -> None:
        self.loader = Loader()
        self.installed: list[Any] = []
        self.seen: list[ModelStatus] = []
        self.changed = asyncio.Event()
        self.host = ModelHost(
            load=self.loader,  # type: ignore[arg-type]  # the part of a pipeline used here
            install=self.installed.append,
            on_change=self._on_change,
        )

    def _on_change(self, status: ModelStatus) -> None:
        self.seen.append(status)
        self.changed.set()

    async def until(self, condition: Callable[[ModelStatus], bool]) -> ModelStatus:
        async with asyncio.timeout(10):
            while not condition(self.host.status):
                self.changed.clear()
                await self.changed.wait()
        return self.host.status


async def test_loading_then_ready_and_warm() -> None:
    setup = Setup()
    setup.host.request("a")
    assert setup.host.status.state is ModelState.LOADING
    setup.loader.go.set()
    status = await setup.until(lambda status: status.state is ModelState.READY)
    assert (status.name, status.class_names, status.threads) == ("a", ("person",), 2)
    assert setup.installed[0].is_warm


@pytest.mark.parametrize(("model", "words"), [("refused", "not an ONNX"), ("crash", "native")])
async def test_a_failure_says_why(model: str, words: str) -> None:
    setup = Setup()
    setup.loader.go.set()
    setup.host.request(model)
    status = await setup.until(lambda status: status.state is ModelState.FAILED)
    assert words in status.message
    assert setup.installed == []


async def test_a_failure_keeps_the_model_in_use() -> None:
    setup = Setup()
    setup.loader.go.set()
    setup.host.request("a")
    await setup.until(lambda status: status.name == "a" and status.state is ModelState.READY)
    setup.host.request("refused")
    status = await setup.until(lambda status: "not an ONNX" in status.message)
    assert (status.state, status.name) == (ModelState.READY, "a")
    assert "a stays in use" in status.message
    assert setup.host.requested == "a"
    assert len(setup.installed) == 1


async def test_requests_while_loading_are_one_place_newest_wins() -> None:
    setup = Setup()
    for model in ("a", "b", "c"):
        setup.host.request(model)
    setup.loader.go.set()
    await setup.until(lambda status: status.name == "c" and status.state is ModelState.READY)
    assert setup.loader.asked == ["a", "c"]
    assert setup.host.requested == "c"


async def test_progress_is_told_in_words() -> None:
    setup = Setup()
    setup.host.request("a")
    while setup.loader.progress is None:
        await asyncio.to_thread(lambda: None)
    await asyncio.to_thread(setup.loader.progress, 50, 200)
    await setup.until(lambda status: "25 %" in status.message)
    setup.loader.go.set()
    await setup.until(lambda status: status.state is ModelState.READY)


async def test_closing_while_loading_installs_nothing() -> None:
    setup = Setup()
    setup.host.request("a")
    setup.host.close(timeout_s=0.0)
    thread = setup.host._thread
    assert thread is not None
    setup.loader.go.set()
    await asyncio.to_thread(thread.join, 10)
    assert setup.installed == []


async def test_closing_ends_a_download() -> None:
    setup = Setup()
    setup.host.request("a")
    while setup.loader.progress is None:
        await asyncio.to_thread(lambda: None)
    setup.host.close(timeout_s=0.0)
    with pytest.raises(Exception, match=r"^$"):
        setup.loader.progress(1, 2)
    setup.loader.go.set()
