"""Which kernels are freed, and when, on a clock of our own."""

from __future__ import annotations

import logging
from typing import Any
from unittest.mock import MagicMock

import pytest

from detect import jupyter
from detect.jupyter import GRACE_S, KernelReaper, OneTimeCode, reap


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def reaper(clock: FakeClock) -> KernelReaper:
    return KernelReaper(now_s=clock)


def kernel(name: str, connections: int = 0) -> dict[str, Any]:
    return {"id": name, "connections": connections}


def test_a_left_kernel_goes_after_the_grace_not_before(
    reaper: KernelReaper, clock: FakeClock
) -> None:
    assert reaper.overdue([kernel("a")], ()) == []
    clock.now_s += GRACE_S - 0.1
    assert reaper.overdue([kernel("a")], ()) == []
    clock.now_s += 0.1
    assert reaper.overdue([kernel("a")], ()) == ["a"]


@pytest.mark.parametrize("connections", [1, 2])
def test_a_watched_kernel_stays(reaper: KernelReaper, clock: FakeClock, connections: int) -> None:
    for _ in range(3):
        assert reaper.overdue([kernel("a", connections)], ()) == []
        clock.now_s += GRACE_S


def test_a_kernel_with_a_session_stays(reaper: KernelReaper, clock: FakeClock) -> None:
    for _ in range(3):
        assert reaper.overdue([kernel("lab")], {"lab"}) == []
        clock.now_s += GRACE_S


def test_a_page_that_comes_back_starts_the_grace_anew(
    reaper: KernelReaper, clock: FakeClock
) -> None:
    reaper.overdue([kernel("a")], ())
    clock.now_s += GRACE_S - 1
    reaper.overdue([kernel("a", 1)], ())
    clock.now_s += 2
    assert reaper.overdue([kernel("a")], ()) == []
    clock.now_s += GRACE_S
    assert reaper.overdue([kernel("a")], ()) == ["a"]


def test_kernels_are_judged_one_by_one(reaper: KernelReaper, clock: FakeClock) -> None:
    reaper.overdue([kernel("old")], ())
    clock.now_s += GRACE_S / 2
    reaper.overdue([kernel("old"), kernel("new")], ())
    clock.now_s += GRACE_S / 2
    everything = [kernel("old"), kernel("new"), kernel("watched", 1)]
    assert reaper.overdue(everything, ()) == ["old"]


def test_what_is_gone_is_forgotten(reaper: KernelReaper, clock: FakeClock) -> None:
    reaper.overdue([kernel("a")], ())
    reaper.overdue([], ())
    clock.now_s += GRACE_S
    assert reaper.overdue([kernel("a")], ()) == []


class KernelManager:
    """As much of Jupyter's as the reaper uses: some methods answer at once, some are awaited."""

    def __init__(self, *names: str, vanishing: str | None = None) -> None:
        self.names = list(names)
        self.vanishing = vanishing

    def list_kernels(self) -> list[dict[str, Any]]:
        return [kernel(name) for name in self.names]

    async def shutdown_kernel(self, kernel_id: str, *, now: bool) -> None:
        assert now
        if kernel_id == self.vanishing:
            raise KeyError(kernel_id)
        self.names.remove(kernel_id)


class SessionManager:
    async def list_sessions(self) -> list[dict[str, Any]]:
        return [{"kernel": {"id": "lab"}}, {"kernel": None}]


def server(manager: KernelManager) -> Any:  # noqa: ANN401 - stands in for a ServerApp
    return MagicMock(
        kernel_manager=manager, session_manager=SessionManager(), log=logging.getLogger("test")
    )


async def test_reap_shuts_down_what_is_overdue_and_nothing_else() -> None:
    manager = KernelManager("lab", "left")
    assert await reap(server(manager), KernelReaper(grace_s=0)) == ["left"]
    assert manager.names == ["lab"]


async def test_a_kernel_that_vanished_meanwhile_is_no_error() -> None:
    manager = KernelManager("gone", "left", vanishing="gone")
    assert await reap(server(manager), KernelReaper(grace_s=0)) == ["gone", "left"]
    assert manager.names == ["gone"]


async def test_the_extension_keeps_looking_when_a_look_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = server(KernelManager())
    app.config = {"KernelReaper": {"check_every_s": 60}}
    app.web_app.settings = {}
    app.kernel_manager.list_kernels = MagicMock(side_effect=RuntimeError("broken"))
    jupyter._load_jupyter_server_extension(app)
    callback = app.web_app.settings["detect_kernel_reaper"]
    try:
        assert callback.is_running()
        assert callback.callback_time == 60_000
        await callback.callback()
        assert "Could not look for left kernels" in caplog.text
        assert callback.is_running()
    finally:
        callback.stop()


def test_jupyter_finds_the_extension() -> None:
    assert jupyter._jupyter_server_extension_points() == [{"module": "detect.jupyter"}]


def test_a_one_time_code_is_good_once() -> None:
    code = OneTimeCode("right")
    assert not code.take("wrong")
    assert code.take("right")
    assert not code.take("right")


def test_an_empty_code_is_never_good() -> None:
    assert not OneTimeCode("").take("")
