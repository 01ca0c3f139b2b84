"""The phones that may come back, on disk: a server that was started again knows them.

Only digests of their resume tokens are written. One file per port that phones connect to, because
a phone's page offers its token only to the address it came from; so two servers side by side do
not get in each other's way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from detect.errors import ProtocolError
from detect.protocol.wire import Word, encode, parse_text
from detect.server.pairing import KnownPhone
from detect.server.private_files import write_private

logger = logging.getLogger(__name__)

MAX_PHONES = 64
"""Kept at most, those that were here last."""
MAX_BYTES = 64 * 1024
"""Of the file: a phone takes about 200."""

_UnixTime = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class _Entry:
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    stream_id: Annotated[str, Field(pattern=r"^[0-9a-f]{1,32}$")]
    name: Word
    paired_s: _UnixTime
    seen_s: _UnixTime


@dataclass(frozen=True, slots=True)
class _Book:
    phones: Annotated[tuple[_Entry, ...], Field(max_length=MAX_PHONES)]


_BOOK = TypeAdapter(_Book)


class PhoneBook:
    """The file of one server.

    Parameters
    ----------
    folder : Path
        Where it lies.
    port : int
        Where phones connect.
    ttl_s : float
        Phones that were not here for this long are left out.
    utc_s : callable
        Unix time in seconds.
    """

    def __init__(
        self, folder: Path, *, port: int, ttl_s: float, utc_s: Callable[[], float] = time.time
    ) -> None:
        self.path = folder / f"phones-{port}.json"
        self._ttl_s = ttl_s
        self._utc_s = utc_s

    def load(self) -> tuple[KnownPhone, ...]:
        """Phones of the file; none, with a warning, where it cannot be read.

        Files of other ports in which nobody can be fresh are removed.
        """
        self._remove_old()
        try:
            book = parse_text(_BOOK, self._read(), "phones", MAX_BYTES)
        except FileNotFoundError:
            return ()
        except (OSError, ProtocolError) as error:
            logger.warning("%s is not read, phones must scan a new code: %s", self.path, error)
            return ()
        now_s = self._utc_s()
        return self._fresh([_known(entry, now_s) for entry in book.phones])

    def save(self, phones: Sequence[KnownPhone]) -> None:
        """Replace the file; a disk that refuses is logged, because pairing works all the same."""
        try:
            if fresh := self._fresh(phones):
                book = _Book(tuple(_entry(phone) for phone in fresh))
                write_private(self.path, encode(book).encode())
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s cannot be written: %s", self.path, error)

    def _read(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(MAX_BYTES + 1)

    def _fresh(self, phones: Sequence[KnownPhone]) -> tuple[KnownPhone, ...]:
        oldest_s = self._utc_s() - self._ttl_s
        fresh = [phone for phone in phones if phone.seen_s >= oldest_s]
        return tuple(sorted(fresh, key=lambda phone: phone.seen_s)[-MAX_PHONES:])

    def _remove_old(self) -> None:
        oldest_s = self._utc_s() - self._ttl_s
        try:
            for path in self.path.parent.glob("phones-*.json"):
                if path.stat().st_mtime < oldest_s:
                    path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("old files of phones stay: %s", error)


def _known(entry: _Entry, now_s: float) -> KnownPhone:
    seen_s = min(entry.seen_s, now_s)  # the clock may have been wrong: nobody is fresh for ever
    digest = bytes.fromhex(entry.sha256)
    return KnownPhone(digest, entry.stream_id, entry.name, entry.paired_s, seen_s)


def _entry(phone: KnownPhone) -> _Entry:
    return _Entry(phone.digest.hex(), phone.stream_id, phone.name, phone.paired_s, phone.seen_s)
