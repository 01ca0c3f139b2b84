from __future__ import annotations

import pytest

from detect.errors import TransportError
from detect.rtc.ice import OfferError
from detect.rtc.session import PhoneSession, SessionState, SessionTimings


def make_session(states: list[SessionState]) -> PhoneSession:
    return PhoneSession(
        stream_id="p1",
        ice_servers=(),
        on_frame=lambda frame: None,
        on_state=states.append,
    )


async def test_a_new_session_is_connecting_and_knows_nothing() -> None:
    session = make_session([])
    assert session.state is SessionState.CONNECTING
    stats = session.stats()
    assert stats.codec is None
    assert stats.packets_lost == 0
    assert stats.bitrate_bps == 0
    assert stats.media is None
    assert stats.rtt_ms is None
    assert stats.clock_error_ms is None
    await session.close()


async def test_a_bad_offer_ends_the_session() -> None:
    states: list[SessionState] = []
    session = make_session(states)
    with pytest.raises(OfferError) as caught:
        await session.answer("v=0\r\n")
    assert caught.value.code == "no_video"
    assert states == [SessionState.ENDED]
    assert "video" in session.message
    await session.close()


async def test_closing_twice_or_before_an_offer_is_fine() -> None:
    states: list[SessionState] = []
    session = make_session(states)
    await session.close()
    await session.close()
    assert states == [SessionState.ENDED]
    with pytest.raises(TransportError, match="one offer"):
        await session.answer("v=0\r\n")


async def test_results_without_a_channel_are_counted() -> None:
    session = make_session([])
    session.send_results("{}")
    assert session.stats().results_dropped == 1
    await session.close()


async def test_control_messages_wait_in_bounded_memory() -> None:
    session = make_session([])
    for index in range(1000):
        session.send_control(str(index))
    assert list(session._unsent)[-1] == "999"
    assert len(session._unsent) <= 16
    await session.close()


@pytest.mark.parametrize(
    ("connect_s", "stall_s", "end_s"), [(0, 2, 15), (15, 0, 15), (15, 15, 2), (15, 2, 2)]
)
def test_timings_are_checked(connect_s: float, stall_s: float, end_s: float) -> None:
    with pytest.raises(ValueError, match="stall_s"):
        SessionTimings(connect_s, stall_s, end_s)
