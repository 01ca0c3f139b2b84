"""What one viewer gets next: one picture under way, one place for the newest that waits.

No I/O: :mod:`detect.server.viewers` moves the bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from detect.clock import NS_PER_MS, NowNs, now_ns
from detect.server.pictures import Picture
from detect.types import FrameTimes

ACK_TIMEOUT_NS = 10_000 * NS_PER_MS
"""A visible page that does not acknowledge a picture for this long is closed."""

MAX_UNDRAWN = 16
"""Sent pictures remembered for their ``drawn`` report; a page draws within one or two."""


@dataclass(frozen=True, slots=True, eq=False)
class SentPicture:
    """A picture that was handed to the viewer's socket."""

    picture: Picture
    times: FrameTimes


class ViewerFeed:
    """Newest-wins flow of pictures to one viewer. Used on the loop; :attr:`is_ready` anywhere.

    Attributes
    ----------
    requested : str or None
        Stream the page asked for; None is the newest live one.
    stream_id : str or None
        Stream it gets.
    n_sent, n_replaced : int
        Pictures handed to the socket; pictures replaced by a newer one while they waited.
    """

    def __init__(self, now: NowNs = now_ns) -> None:
        self._now = now
        self.requested: str | None = None
        self.stream_id: str | None = None
        self.n_sent = 0
        self.n_replaced = 0
        self._is_visible = True
        self._waiting: Picture | None = None
        self._seq_under_way: int | None = None
        self._waits_since_ns = 0
        self._undrawn: OrderedDict[int, SentPicture] = OrderedDict()

    @property
    def is_ready(self) -> bool:
        """Whether a picture that came now would be sent at once."""
        return self._is_visible and self._seq_under_way is None

    @property
    def is_visible(self) -> bool:
        """Whether the page is seen."""
        return self._is_visible

    @property
    def has_next(self) -> bool:
        """Whether there is a picture to send now."""
        return self.is_ready and self._waiting is not None

    def set_visible(self, value: bool) -> None:
        """The page is hidden or shown: a hidden one gets nothing, and nothing old when shown."""
        self._is_visible = value
        self._waits_since_ns = self._now()
        if not value:
            self._waiting = None

    def watch(self, stream_id: str | None) -> bool:
        """Switch to a stream; True when that is another one."""
        if stream_id == self.stream_id:
            return False
        self.stream_id = stream_id
        self._waiting = None
        return True

    def offer(self, picture: Picture) -> None:
        """Leave the newest picture of the watched stream."""
        if not self._is_visible:
            return
        self.n_replaced += self._waiting is not None
        self._waiting = picture

    def take(self) -> tuple[int, Picture] | None:
        """The next picture to send and its number; it is under way from now on."""
        picture = self._waiting
        if picture is None or not self.is_ready:
            return None
        self._waiting = None
        seq = self.n_sent
        self.n_sent += 1
        self._seq_under_way = seq
        self._waits_since_ns = self._now()
        return seq, picture

    def sent(self, seq: int, picture: Picture, times: FrameTimes) -> None:
        """Remember what was sent, for its ``drawn`` report."""
        self._undrawn[seq] = SentPicture(picture, times)
        while len(self._undrawn) > MAX_UNDRAWN:
            self._undrawn.popitem(last=False)

    def ack(self, seq: int) -> None:
        """The page has decoded picture ``seq``; any other number is ignored."""
        if seq == self._seq_under_way:
            self._seq_under_way = None

    def drawn(self, seq: int) -> SentPicture | None:
        """The page drew picture ``seq``: what it was; None when unknown or reported before."""
        return self._undrawn.pop(seq, None)

    def is_overdue(self) -> bool:
        """Whether a visible page has left its picture unacknowledged for too long."""
        is_waiting = self._is_visible and self._seq_under_way is not None
        return is_waiting and self._now() - self._waits_since_ns > ACK_TIMEOUT_NS
