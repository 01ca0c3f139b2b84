"""The door for phones: who may come in, as which stream, and how they leave.

No Socket.IO here: :mod:`detect.server.signaling` brings the events.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from detect.clock import NowNs, now_ns
from detect.errors import ProtocolError, TransportError
from detect.protocol import (
    Answer,
    AnswerError,
    LocalAuth,
    PairAuth,
    PhoneAuth,
    Refusal,
    ResumeAuth,
    TooLargeError,
    parse_offer,
)
from detect.server.hub import Hub, Stream, StreamKind, StreamState, new_stream_id
from detect.server.limits import RateLimiter
from detect.server.pairing import NS_PER_S, Pairing, TokenRefusedError

logger = logging.getLogger(__name__)

AWAY_TTL_S = 12 * 3600.0
"""A paired phone that stays away this long must scan a new code."""

LEFT_TTL_S = 10 * 60.0
"""Time to export the measurements of a phone that left, while no other one is live."""

CONNECTS_BURST, CONNECTS_PER_S = 20, 1.0
"""Connections of one address. Behind a tunnel all phones share one."""
OFFERS_BURST, OFFERS_PER_S = 6, 0.5
"""Offers of one stream: a phone that reconnects sends one every few seconds."""

NO_RESUME = "local"
"""Stands in the ``resume`` field of a local source, which needs none: no token looks like it."""


class RefusedError(TransportError):
    """A connection is refused; :attr:`refusal` goes to the phone."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Connection(Protocol):
    """A phone's signalling connection."""

    async def dismiss(self, refusal: Refusal) -> None:
        """Say why, and close it."""
        ...


@dataclass(frozen=True, slots=True)
class Admission:
    """A phone that was let in."""

    stream: Stream
    resume: str = field(repr=False)


class Phones:
    """Admission, replacement and removal of phones.

    Parameters
    ----------
    hub : Hub
        Where the streams are.
    pairing : Pairing
        Who has which token.
    max_phones : int
        Present phones at once; absent ones do not count.
    now, utc_s : callable
        Clock, and Unix time in seconds.
    """

    def __init__(
        self,
        hub: Hub,
        pairing: Pairing,
        *,
        max_phones: int,
        now: NowNs = now_ns,
        utc_s: Callable[[], float] = time.time,
    ) -> None:
        self._hub = hub
        self._pairing = pairing
        self._max_phones = max_phones
        self._now = now
        self._utc_s = utc_s
        self._connections: dict[str, Connection] = {}  # by stream id
        self._connects = RateLimiter(burst=CONNECTS_BURST, per_s=CONNECTS_PER_S, now=now)
        self._offers = RateLimiter(burst=OFFERS_BURST, per_s=OFFERS_PER_S, now=now)

    @property
    def n_connected(self) -> int:
        """Open signalling connections."""
        return len(self._connections)

    def restore(self) -> None:
        """Show the phones that a former server knew, so that they can be removed too."""
        for phone in self._pairing.known:
            stream = self._hub.open(phone.name, StreamKind.PHONE, phone.stream_id)
            stream.message = f"{phone.name or 'A phone'} was here before and may come back."
            away_s = max(0.0, self._utc_s() - phone.seen_s)
            stream.changed_ns -= round(away_s * NS_PER_S)

    def check_rate(self, address: str) -> None:
        """Count a connection attempt of an address; raises :class:`RefusedError` when too many."""
        if not self._connects.allow(address):
            raise RefusedError(
                Refusal("rate_limited", "Too many attempts. Wait a few seconds and try again.")
            )

    def admit(self, auth: PhoneAuth, *, is_local: bool) -> Admission:
        """Decide who a connection is.

        Parameters
        ----------
        auth : PhoneAuth
            What it carries.
        is_local : bool
            Whether it came over the loopback listener, past the access token.

        Raises
        ------
        RefusedError
            With the code of docs/protocol.md §1.1.
        """
        if is_local is not isinstance(auth, LocalAuth):
            raise RefusedError(Refusal("protocol", "This is not the door for this kind of source."))
        try:
            match auth:
                case PairAuth():
                    return self._pair(auth)
                case ResumeAuth():
                    return self._resume(auth)
                case LocalAuth():
                    return self._local(auth)
                case _:
                    assert_never(auth)
        except TokenRefusedError as error:
            raise RefusedError(Refusal(error.code.value, str(error))) from None

    def _pair(self, auth: PairAuth) -> Admission:
        self._check_room(None)  # before the token is used up
        stream_id = new_stream_id()
        resume = self._pairing.redeem(auth.token, stream_id, auth.name)
        return Admission(self._hub.open(auth.name, StreamKind.PHONE, stream_id), resume)

    def _resume(self, auth: ResumeAuth) -> Admission:
        stream_id = self._pairing.resume(auth.token)
        self._check_room(stream_id)
        stream = self._hub.get(stream_id) or self._hub.open(auth.name, StreamKind.PHONE, stream_id)
        stream.name = auth.name
        self._pairing.note_seen(stream_id, auth.name)
        return Admission(stream, auth.token)

    def _local(self, auth: LocalAuth) -> Admission:
        for stream in self._hub.streams:
            if stream.kind is StreamKind.LOCAL and stream.name == auth.name:
                stream.left_ns = None
                return Admission(stream, NO_RESUME)
        self._check_room(None)
        return Admission(self._hub.open(auth.name, StreamKind.LOCAL), NO_RESUME)

    def _check_room(self, stream_id: str | None) -> None:
        present = {each.stream_id for each in self._hub.streams if each.is_active}
        present |= self._connections.keys()
        if stream_id not in present and len(present) >= self._max_phones:
            raise RefusedError(
                Refusal("full", f"{self._max_phones} phones are connected; stop one first.")
            )

    async def attach(self, stream_id: str, connection: Connection) -> None:
        """Take this as the stream's connection; an earlier one is dismissed."""
        old = self._connections.get(stream_id)
        self._connections[stream_id] = connection
        if old is not None and old is not connection:
            await old.dismiss(Refusal("replaced", "This phone is connected on another page now."))

    async def offer(self, stream_id: str, payload: object) -> Answer | AnswerError:
        """Answer an offer, or say in a code and in words why not."""
        stream = self._hub.get(stream_id)
        if stream is None:
            return _failure("failed", "This phone was removed. Scan a new code.")
        if not self._offers.allow(stream_id):
            return _failure("rate_limited", "Too many attempts. Wait a few seconds and try again.")
        try:
            return Answer(await self._hub.connect(stream, parse_offer(payload).sdp))
        except TooLargeError as error:
            return _failure("sdp_too_large", str(error))
        except ProtocolError as error:
            return _failure("sdp_invalid", str(error))
        except TransportError as error:
            code = getattr(error, "code", None)
            return _failure(str(code) if code else "failed", str(error))

    async def leave(self, stream_id: str) -> None:
        """The user pressed Stop on the phone."""
        self._pairing.forget(stream_id)
        self._offers.forget(stream_id)
        if (stream := self._hub.get(stream_id)) is not None:
            await self._hub.end(stream, "Stopped on the phone.", has_left=True)

    async def detach(self, stream_id: str, connection: Connection) -> None:
        """A signalling connection is gone. Media may still flow: that has its own watchdog."""
        if self._connections.get(stream_id) is not connection:
            return
        del self._connections[stream_id]
        stream = self._hub.get(stream_id)
        if stream is not None and not stream.is_active and stream.state is not StreamState.ENDED:
            await self._hub.end(stream, "The phone went away.")

    async def remove(self, stream_id: str) -> bool:
        """The dashboard removes a phone; False when there is no such stream."""
        if self._hub.get(stream_id) is None:
            return False
        self._pairing.revoke(stream_id)
        connection = self._connections.pop(stream_id, None)
        if connection is not None:
            # Before its media ends, or the phone takes that for a lost connection and tries again.
            await connection.dismiss(
                Refusal("removed", "The dashboard removed this phone. Scan a new code to return.")
            )
        await self._hub.remove(stream_id)
        return True

    async def expire(self) -> None:
        """Forget who stayed away too long or left, and the oldest of too many ended streams."""
        for stream in self._hub.streams:
            if stream.is_active or stream.stream_id in self._connections:
                self._pairing.note_seen(stream.stream_id, stream.name)
        stale = [each.stream_id for each in self._hub.streams if self._is_stale(each)]
        for stream_id in {*stale, *self._hub.surplus()} - self._connections.keys():
            self._pairing.forget(stream_id)
            await self._hub.remove(stream_id)

    def _is_stale(self, stream: Stream) -> bool:
        if stream.is_active:
            return False
        now = self._now()
        if stream.left_ns is not None:
            return now - stream.left_ns > LEFT_TTL_S * NS_PER_S
        return now - stream.changed_ns > AWAY_TTL_S * NS_PER_S


def _failure(code: str, message: str) -> AnswerError:
    return AnswerError(Refusal(code, message))
