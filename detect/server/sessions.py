"""What the hub needs of a phone's media connection, so that tests can bring their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from detect.clock import NowNs, now_ns
from detect.config import IceServer
from detect.protocol import PhoneState
from detect.rtc.session import PhoneSession, SessionState
from detect.rtc.stats import SessionStats
from detect.types import Frame


class Session(Protocol):
    """The part of :class:`detect.rtc.session.PhoneSession` used here."""

    message: str

    async def answer(self, offer_sdp: str) -> str: ...  # noqa: D102
    def send_results(self, text: str) -> None: ...  # noqa: D102
    def stats(self) -> SessionStats: ...  # noqa: D102
    async def close(self) -> None: ...  # noqa: D102


class NewSession(Protocol):
    """Makes the session of one connection."""

    def __call__(  # noqa: D102
        self,
        *,
        stream_id: str,
        on_frame: Callable[[Frame], None],
        on_state: Callable[[SessionState], None],
        on_phone_state: Callable[[PhoneState], None],
    ) -> Session: ...


def session_maker(ice_servers: tuple[IceServer, ...], now: NowNs = now_ns) -> NewSession:
    """Sessions over WebRTC with these ICE servers."""
    maker: NewSession = partial(PhoneSession, ice_servers=ice_servers, now=now)
    return maker
