"""How long phones are remembered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import NoReturn

import pytest

from detect.config import DetectionSettings
from detect.protocol import PairAuth, ResumeAuth
from detect.server.hub import Hub, Stream
from detect.server.pairing import NS_PER_S, KnownPhone, Pairing
from detect.server.phones import AWAY_TTL_S, LEFT_TTL_S, Phones, RefusedError


class FakeClock:
    def __init__(self) -> None:
        self.time_ns = 10**15

    def __call__(self) -> int:
        return self.time_ns

    def advance(self, seconds: float) -> None:
        self.time_ns += round(seconds * NS_PER_S)


class Door:
    """Phones over a real hub and pairing; no phone sends media."""

    def __init__(self, known: Iterable[KnownPhone] = ()) -> None:
        self.clock = FakeClock()
        self.hub = Hub(new_session=_no_session, settings=DetectionSettings(), now=self.clock)
        self.pairing = Pairing(now=self.clock, known=known)
        self.phones = Phones(self.hub, self.pairing, max_phones=10, now=self.clock)

    def pair(self) -> tuple[Stream, str]:
        auth = PairAuth(self.pairing.code().token, "Pixel")
        admission = self.phones.admit(auth, is_local=False)
        return admission.stream, admission.resume


def _no_session(**_: object) -> NoReturn:
    raise AssertionError("no phone connects here")


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    yield made
    await made.hub.close()


async def test_a_phone_that_left_can_be_exported_for_a_while(door: Door) -> None:
    stream, resume = door.pair()
    await door.phones.leave(stream.stream_id)
    with pytest.raises(RefusedError, match="not known"):
        door.phones.admit(ResumeAuth(resume, "Pixel"), is_local=False)
    door.clock.advance(LEFT_TTL_S)
    await door.phones.expire()
    assert [each.stream_id for each in door.hub.streams] == [stream.stream_id]
    door.clock.advance(1)
    await door.phones.expire()
    assert not door.hub.streams


async def test_phones_of_a_former_server_are_listed_and_can_be_removed(door: Door) -> None:
    old, resume = door.pair()
    after = Door(known=door.pairing.known)
    try:
        after.phones.restore()
        (stream,) = after.hub.streams
        assert (stream.stream_id, stream.name) == (old.stream_id, "Pixel")
        assert (stream.state.value, stream.message) == (
            "waiting",
            "Pixel was here before and may come back.",
        )
        assert after.phones.admit(ResumeAuth(resume, "Pixel"), is_local=False).stream is stream
        assert await after.phones.remove(stream.stream_id)
        with pytest.raises(RefusedError, match="was removed"):
            after.phones.admit(ResumeAuth(resume, "Pixel"), is_local=False)
    finally:
        await after.hub.close()


async def test_time_away_counts_from_before_the_restart(door: Door) -> None:
    door.pair()
    (known,) = door.pairing.known
    after = Door(known=[replace(known, seen_s=known.seen_s - AWAY_TTL_S + 100)])
    try:
        after.phones.restore()
        after.clock.advance(50)
        await after.phones.expire()
        assert after.hub.streams
        after.clock.advance(100)
        await after.phones.expire()
        assert not after.hub.streams
        assert not after.pairing.known
    finally:
        await after.hub.close()


async def test_a_phone_that_is_away_may_come_back_for_hours(door: Door) -> None:
    stream, resume = door.pair()
    door.clock.advance(AWAY_TTL_S)
    await door.phones.expire()
    assert door.phones.admit(ResumeAuth(resume, "Pixel"), is_local=False).stream is stream
    door.clock.advance(1)
    await door.phones.expire()
    with pytest.raises(RefusedError, match="not known"):
        door.phones.admit(ResumeAuth(resume, "Pixel"), is_local=False)
