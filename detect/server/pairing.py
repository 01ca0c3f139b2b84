"""Who may be a phone: one-time pairing tokens and the resume tokens they turn into.

A token is 256 random bits. A one-time token lives in the QR code, works once and for ten minutes;
the phone that used it gets a resume token, good for its own stream only, until the phone leaves or
is removed. Only SHA-256 digests are kept (the tokens are random, so no salt and no slow hash is
needed); the one exception is the code that is on the screen right now, because the dashboard may
ask for it again.

No I/O and no asyncio: clocks are passed in, and so is what a former server knew
(:mod:`detect.server.phone_book`).
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from detect.clock import NS_PER_MS, NowNs, now_ns
from detect.errors import PairingError

TOKEN_BYTES = 32
"""256 bits: twice what guessing could ever need, still a small QR code (43 characters)."""

MAX_SPENT = 1024
"""Digests of tokens no longer good, kept to say *why*; the oldest are forgotten."""

SEEN_STEP_S = 600.0
"""A phone that is here is noted this often; each note is a file written."""

NS_PER_S = 1000 * NS_PER_MS


class RefusalCode(StrEnum):
    """Why a phone is refused; the ``code`` of the wire protocol."""

    UNKNOWN = "token_unknown"
    USED = "token_used"
    EXPIRED = "token_expired"
    REVOKED = "revoked"


_MESSAGES = {
    RefusalCode.UNKNOWN: "This code is not known here. Scan the code on the dashboard again.",
    RefusalCode.USED: "This code was used by a phone already. Show a new code on the dashboard "
    "and scan that one.",
    RefusalCode.EXPIRED: "This code is too old. Show a new code on the dashboard and scan that "
    "one.",
    RefusalCode.REVOKED: "This phone was removed on the dashboard. Scan a new code to come back.",
}


class TokenRefusedError(PairingError):
    """A token is not, or no longer, good.

    Attributes
    ----------
    code : RefusalCode
        Why, for programs; the text of the error says it for people.
    """

    def __init__(self, code: RefusalCode) -> None:
        super().__init__(_MESSAGES[code])
        self.code = code


@dataclass(frozen=True, slots=True)
class PairingCode:
    """The one-time token that is on the screen."""

    token: str
    expires_s: float
    """Seconds until it expires."""

    def __repr__(self) -> str:
        return f"PairingCode(token=<hidden>, expires_s={self.expires_s:.0f})"


@dataclass(frozen=True, slots=True)
class KnownPhone:
    """A phone that may come back.

    Attributes
    ----------
    digest : bytes
        SHA-256 of its resume token.
    stream_id, name : str
        Its stream, and what it calls itself.
    paired_s, seen_s : float
        When it was paired and last here, in seconds of Unix time: they outlive the process.
    """

    digest: bytes = field(repr=False)
    stream_id: str
    name: str
    paired_s: float
    seen_s: float


class Pairing:
    """One-time and resume tokens, with every transition between them.

    Parameters
    ----------
    ttl_s : float
        Life of a one-time token in seconds.
    now, utc_s : callable
        Clock, and Unix time in seconds for what outlives the process.
    known : iterable of KnownPhone
        Who may come back from the start.
    on_change : callable
        Told all known phones whenever they change.

    Notes
    -----
    Used from one thread (the event loop) only.
    """

    def __init__(
        self,
        *,
        ttl_s: float = 600.0,
        now: NowNs = now_ns,
        utc_s: Callable[[], float] = time.time,
        known: Iterable[KnownPhone] = (),
        on_change: Callable[[tuple[KnownPhone, ...]], None] = lambda phones: None,
    ) -> None:
        self._ttl_ns = round(ttl_s * NS_PER_S)
        self._now = now
        self._token: str | None = None
        self._expires_ns = 0
        self._utc_s = utc_s
        self._known = {phone.digest: phone for phone in known}
        self._on_change = on_change
        self._spent: OrderedDict[bytes, RefusalCode] = OrderedDict()

    def code(self) -> PairingCode:
        """The current code; a fresh one when it was used or has expired."""
        if self._token is None or self._is_expired():
            return self.new_code()
        return PairingCode(self._token, (self._expires_ns - self._now()) / NS_PER_S)

    def new_code(self) -> PairingCode:
        """A fresh code; the unused one, if any, stops working."""
        self._retire(RefusalCode.EXPIRED)
        self._token = secrets.token_urlsafe(TOKEN_BYTES)
        self._expires_ns = self._now() + self._ttl_ns
        return PairingCode(self._token, self._ttl_ns / NS_PER_S)

    @property
    def known(self) -> tuple[KnownPhone, ...]:
        """Phones that may come back, the first paired first."""
        return tuple(self._known.values())

    def redeem(self, token: str, stream_id: str, name: str = "") -> str:
        """Use up a one-time token for ``stream_id`` and return its resume token.

        Raises
        ------
        TokenRefusedError
            If the token is unknown, used or expired.
        """
        if self._token is None or not _is_same(token, self._token):
            raise TokenRefusedError(self._spent.get(_digest(token), RefusalCode.UNKNOWN))
        if self._is_expired():
            self._retire(RefusalCode.EXPIRED)
            raise TokenRefusedError(RefusalCode.EXPIRED)
        self._retire(RefusalCode.USED)
        resume = secrets.token_urlsafe(TOKEN_BYTES)
        seen_s = self._utc_s()
        self._put(KnownPhone(_digest(resume), stream_id, name, seen_s, seen_s))
        return resume

    def resume(self, token: str) -> str:
        """Stream that a resume token belongs to.

        Raises
        ------
        TokenRefusedError
            If the token is unknown, forgotten or revoked.
        """
        digest = _digest(token)
        phone = self._known.get(digest)
        if phone is None:
            raise TokenRefusedError(self._spent.get(digest, RefusalCode.UNKNOWN))
        return phone.stream_id

    def note_seen(self, stream_id: str, name: str) -> None:
        """The phone of this stream, if any, is here and is called ``name``."""
        now_s = self._utc_s()
        for phone in self.known:
            is_old = phone.name != name or not 0 <= now_s - phone.seen_s < SEEN_STEP_S
            if phone.stream_id == stream_id and is_old:
                self._put(replace(phone, name=name, seen_s=now_s))

    def revoke(self, stream_id: str) -> None:
        """The dashboard removed this phone: its resume token stops working, and says so."""
        for digest in self._take(stream_id):
            self._spend(digest, RefusalCode.REVOKED)

    def forget(self, stream_id: str) -> None:
        """The phone left, or stayed away too long: its resume token is unknown from now on."""
        self._take(stream_id)

    def _put(self, phone: KnownPhone) -> None:
        self._known[phone.digest] = phone
        self._on_change(self.known)

    def _take(self, stream_id: str) -> list[bytes]:
        digests = [phone.digest for phone in self.known if phone.stream_id == stream_id]
        for digest in digests:
            del self._known[digest]
        if digests:
            self._on_change(self.known)
        return digests

    def _is_expired(self) -> bool:
        return self._now() >= self._expires_ns

    def _retire(self, reason: RefusalCode) -> None:
        if self._token is not None:
            self._spend(_digest(self._token), reason)
            self._token = None

    def _spend(self, digest: bytes, reason: RefusalCode) -> None:
        self._spent[digest] = reason
        while len(self._spent) > MAX_SPENT:
            self._spent.popitem(last=False)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _is_same(given: str, expected: str) -> bool:
    return secrets.compare_digest(_digest(given), _digest(expected))
