"""Packets in, whole frames out: the reordering buffer of one video stream.

Pure and without I/O: the clock is what the caller passes, feedback is what it is told to send. A
frame leaves the moment its last packet (RTP marker bit) is there and everything before it has left.
A hole is asked for again on a timer and given up after :attr:`JitterSettings.hold_ns`; the way out
is then the next whole key frame, which also ends a hole that is still being waited for.
"""

from __future__ import annotations

from dataclasses import dataclass

from detect.clock import NS_PER_MS

SEQUENCE_MODULUS = 1 << 16
TIMESTAMP_MODULUS = 1 << 32
PAUSE_NS = 50 * NS_PER_MS
"""Feedback that comes this much too late tells of a loop that was blocked, not of a network."""
VIDEO_CLOCK_KHZ = 90
"""Clock rate of every video payload format in use (RFC 7741 §6.1, RFC 6184 §8.2.1)."""


def signed_step(timestamp: int, reference: int) -> int:
    """Ticks from ``reference`` to ``timestamp``, both modulo 2**32, across a wrap."""
    half = TIMESTAMP_MODULUS // 2
    return (timestamp - reference + half) % TIMESTAMP_MODULUS - half


@dataclass(frozen=True, slots=True)
class JitterSettings:
    """Bounds of the buffer.

    Attributes
    ----------
    capacity : int
        Most packets from the oldest one waited for to the newest; 512 is 2 s at 2.5 Mbit/s.
    max_gap : int
        A jump over more packets than this is not worth asking for: senders keep few (aiortc 128).
    hold_ns : int
        How long a hole may delay the picture. Five repeats at a Wi-Fi round trip of 40 ms.
    key_patience_ns : int
        How long to wait for a key frame at the start before asking for one.
    key_repeat_ns : int
        Between two requests. Must exceed the 300 ms within which libwebrtc ignores a repeat, and
        leave a slow link the time to deliver the key frame already asked for.
    """

    capacity: int = 512
    max_gap: int = 128
    hold_ns: int = 250 * NS_PER_MS
    key_patience_ns: int = 200 * NS_PER_MS
    key_repeat_ns: int = 500 * NS_PER_MS

    def __post_init__(self) -> None:
        if not 0 < self.max_gap < self.capacity < SEQUENCE_MODULUS // 4:
            raise ValueError(
                f"expected 0 < max_gap < capacity < {SEQUENCE_MODULUS // 4}, "
                f"got {self.max_gap} and {self.capacity}"
            )


@dataclass(frozen=True, slots=True)
class Fragment:
    """The payload of one RTP packet.

    Attributes
    ----------
    sequence : int
        16-bit sequence number of the media stream (a retransmission carries its original one).
    timestamp : int
        Raw 32-bit RTP timestamp.
    is_last : bool
        The marker bit: this packet ends its frame.
    starts_key_frame : bool
        The first packet of a picture that needs no other.
    data : bytes
        Without the codec's payload descriptor; empty for padding.
    received_ns : int
        When it arrived.
    """

    sequence: int
    timestamp: int
    is_last: bool
    starts_key_frame: bool
    data: bytes
    received_ns: int


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One whole encoded picture; ``received_ns`` is the arrival of its latest packet."""

    timestamp: int
    data: bytes
    is_key: bool
    received_ns: int


@dataclass(frozen=True, slots=True)
class Feedback:
    """What to send to the phone now: packets to repeat, and whether to ask for a key frame."""

    nack: tuple[int, ...] = ()
    key_frame: bool = False


@dataclass(slots=True)
class JitterCounts:
    """What happened so far."""

    packets: int = 0
    """Arrived, without duplicates."""
    duplicates: int = 0
    """Arrived twice, or after their place was given up."""
    repaired: int = 0
    """Missing packets that came after all (retransmitted or reordered)."""
    lost: int = 0
    """Missing packets nobody waits for any more."""
    nacks: int = 0
    """Packets asked for again, repeats included."""
    holes_abandoned: int = 0
    """Times the picture had to restart from a key frame."""
    key_requests: int = 0
    frames: int = 0


@dataclass(slots=True)
class _Missing:
    since_ns: int
    next_nack_ns: int


class FrameAssembler:
    """Reorders the packets of one stream into whole frames.

    Sequence numbers are unwrapped once, at the edge; inside, they only grow. The buffer is either
    *in order* (``_next`` is the first packet of the next frame to leave) or *waiting* for a key
    frame (``_next`` is None).

    Notes
    -----
    A frame ends at its marker bit (RFC 3550 §5.1, RFC 7741 §4.1, RFC 6184 §5.1), or, should a
    sender not set it, where the next packet in sequence has another timestamp.
    """

    def __init__(self, settings: JitterSettings | None = None) -> None:
        self.counts = JitterCounts()
        self.renack_ns = 60 * NS_PER_MS
        """Between two requests for the same packet: about a round trip, set from measured ones."""
        self._settings = settings or JitterSettings()
        self._fragments: dict[int, Fragment] = {}
        self._key_starts: set[int] = set()
        self._missing: dict[int, _Missing] = {}
        self._highest: int | None = None
        self._floor = 0  # packets below it are no longer of interest
        self._next: int | None = None
        self._cursor = 0  # in order: first packet after _next not looked at yet
        self._ask_key_ns: int | None = None
        self._checked_ns = 0  # when feedback was last looked at

    def __len__(self) -> int:
        """Packets held."""
        return len(self._fragments)

    @property
    def is_waiting_for_key(self) -> bool:
        """Nothing can be shown before a key frame comes."""
        return self._next is None

    def restart(self, now_ns: int) -> None:
        """Forget the stream (another sender began); wait for a key frame."""
        self._fragments.clear()
        self._key_starts.clear()
        self._missing.clear()
        self._highest = self._next = None
        self._ask_key_ns = now_ns + self._settings.key_patience_ns

    def add(self, fragment: Fragment) -> list[EncodedFrame]:
        """Take one packet; return the frames it completes, in order."""
        sequence = self._place(fragment)
        if sequence < self._floor or sequence in self._fragments:
            self.counts.duplicates += 1
            return []
        self.counts.packets += 1
        if self._missing.pop(sequence, None) is not None:
            self.counts.repaired += 1
        self._fragments[sequence] = fragment
        if fragment.starts_key_frame:
            self._key_starts.add(sequence)
        return self._drain()

    def feedback(self, now_ns: int) -> Feedback:
        """Give up what is too old, then tell what to ask the phone for.

        To be called after :meth:`add` and at :meth:`due_ns`.
        """
        self._forgive_pause(now_ns)
        self._expire(now_ns)
        nack = []
        for sequence, missing in self._missing.items():
            if missing.next_nack_ns <= now_ns:
                missing.next_nack_ns = now_ns + self.renack_ns
                nack.append(sequence % SEQUENCE_MODULUS)
        self.counts.nacks += len(nack)
        return Feedback(tuple(nack), self._take_key_request(now_ns))

    def due_ns(self) -> int | None:
        """When :meth:`feedback` must be called even if no packet comes; None when all is well."""
        times = [
            min(missing.next_nack_ns, missing.since_ns + self._settings.hold_ns)
            for missing in self._missing.values()
        ]
        if self._next is None and self._ask_key_ns is not None:
            times.append(self._ask_key_ns)
        return min(times, default=None)

    def request_key(self, now_ns: int) -> None:
        """Wait for a key frame because the decoder cannot go on without one."""
        self._abandon(self._floor, now_ns)

    # where a packet belongs

    def _place(self, fragment: Fragment) -> int:
        """Unwrapped sequence number of ``fragment``; widens or restarts the window for it."""
        if self._highest is None:
            return self._begin(fragment)
        half = SEQUENCE_MODULUS // 2
        step = (fragment.sequence - self._highest + half) % SEQUENCE_MODULUS - half
        if step <= -self._settings.capacity:  # no reordering is that long: the stream began anew
            self.restart(fragment.received_ns)
            return self._begin(fragment)
        sequence = self._highest + step
        if step > 0:
            self._advance(sequence, fragment.received_ns)
        return sequence

    def _begin(self, fragment: Fragment) -> int:
        sequence = fragment.sequence + SEQUENCE_MODULUS  # room below for late packets
        self._highest = sequence
        self._floor = sequence - self._settings.max_gap
        self._ask_key_ns = fragment.received_ns + self._settings.key_patience_ns
        return sequence

    def _advance(self, sequence: int, now_ns: int) -> None:
        """Let the window reach up to ``sequence``; note what is missing in between."""
        assert self._highest is not None
        first_missing, self._highest = self._highest + 1, sequence
        if sequence - first_missing > self._settings.max_gap:
            self.counts.lost += sequence - first_missing
            self._abandon(sequence, now_ns)
            return
        for skipped in range(first_missing, sequence):
            self._missing[skipped] = _Missing(now_ns, now_ns)
        oldest = sequence - self._settings.capacity + 1
        if self._floor < oldest:
            if self._next is None:
                self._forget_below(oldest)
            else:
                self._abandon(oldest, now_ns)

    # frames out

    def _drain(self) -> list[EncodedFrame]:
        frames = self._drain_in_order()
        key_start = self._whole_key_frame()
        if key_start is not None:
            self._forget_below(key_start)
            self._next = self._cursor = key_start
            self._ask_key_ns = None
            frames += self._drain_in_order()
        return frames

    def _drain_in_order(self) -> list[EncodedFrame]:
        frames: list[EncodedFrame] = []
        while self._next is not None:
            fragment = self._fragments.get(self._cursor)
            if fragment is None:
                break
            if fragment.timestamp == self._fragments[self._next].timestamp:
                self._cursor += 1
                if not fragment.is_last:
                    continue
            self._emit(frames)
        return frames

    def _emit(self, frames: list[EncodedFrame]) -> None:
        """Move the packets from ``_next`` up to ``_cursor`` into one frame."""
        assert self._next is not None
        parts = [self._fragments.pop(sequence) for sequence in range(self._next, self._cursor)]
        is_key = self._next in self._key_starts
        self._key_starts.difference_update(range(self._next, self._cursor))
        self._next = self._floor = self._cursor
        data = b"".join(part.data for part in parts)
        if data:  # padding has a timestamp and a place in the sequence, but no picture
            received_ns = max(part.received_ns for part in parts)
            frames.append(EncodedFrame(parts[0].timestamp, data, is_key, received_ns))
            self.counts.frames += 1

    def _whole_key_frame(self) -> int | None:
        """First packet of the newest whole key frame that a hole keeps from leaving."""
        for start in sorted(self._key_starts, reverse=True):
            if start != self._next and self._is_whole(start):
                return start
        return None

    def _is_whole(self, start: int) -> bool:
        timestamp = self._fragments[start].timestamp
        sequence = start
        while (fragment := self._fragments.get(sequence)) is not None:
            if fragment.timestamp != timestamp:
                return True
            if fragment.is_last:
                return True
            sequence += 1
        return False

    # giving up

    def _forgive_pause(self, now_ns: int) -> None:
        """Holes do not age while the loop is blocked: their repeats may wait in the socket."""
        pause_ns = now_ns - self._checked_ns
        self._checked_ns = now_ns
        if pause_ns > 2 * self.renack_ns + PAUSE_NS:
            for missing in self._missing.values():
                missing.since_ns = min(now_ns, missing.since_ns + pause_ns)

    def _expire(self, now_ns: int) -> None:
        limit_ns = now_ns - self._settings.hold_ns
        expired = [s for s, missing in self._missing.items() if missing.since_ns <= limit_ns]
        if not expired:
            return
        if self._next is not None:
            self._abandon(max(expired) + 1, now_ns)
            return
        for sequence in expired:
            del self._missing[sequence]
        self.counts.lost += len(expired)

    def _abandon(self, floor: int, now_ns: int) -> None:
        """Stop waiting for anything below ``floor``; go on from a key frame."""
        self._forget_below(floor)
        if self._next is not None:
            self.counts.holes_abandoned += 1
            self._ask_key_ns = now_ns
        self._next = None

    def _forget_below(self, floor: int) -> None:
        self._floor = max(self._floor, floor)
        for sequence in [s for s in self._fragments if s < floor]:
            del self._fragments[sequence]
        self._key_starts = {s for s in self._key_starts if s >= floor}
        given_up = [s for s in self._missing if s < floor]
        for sequence in given_up:
            del self._missing[sequence]
        self.counts.lost += len(given_up)

    def _take_key_request(self, now_ns: int) -> bool:
        if self._next is not None or self._ask_key_ns is None or now_ns < self._ask_key_ns:
            return False
        self._ask_key_ns = now_ns + self._settings.key_repeat_ns
        self.counts.key_requests += 1
        return True


class InterarrivalJitter:
    """Smoothed variation of the packets' transit time (RFC 3550 §6.4.1 and A.8)."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None
        self.jitter_ms = 0.0

    def add(self, timestamp: int, received_ns: int) -> None:
        """Take one packet: its RTP timestamp and its arrival."""
        if self._last is not None:
            step_ms = signed_step(timestamp, self._last[0]) / VIDEO_CLOCK_KHZ
            elapsed_ms = (received_ns - self._last[1]) / NS_PER_MS
            self.jitter_ms += (abs(elapsed_ms - step_ms) - self.jitter_ms) / 16
        self._last = (timestamp, received_ns)
