"""Which server time is which time elsewhere: phones, viewers, and the pictures themselves.

:class:`ClockSync` compares two clocks by pings, as NTP does (RFC 5905 §8), and bounds its error.
:class:`CaptureClock` adds RTCP sender reports (RFC 3550 §6.4.1) to tell when a frame was captured.
Both are without I/O. They are fed on the loop thread; the conversions may be called from any
thread, because each works on one immutable estimate that is replaced as a whole.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Final, Protocol

from detect.clock import NS_PER_MS, NowNs, from_wire_ms, now_ns, to_wire_ms
from detect.rtc.jitter import VIDEO_CLOCK_KHZ, signed_step

DRIFT_PPM: Final = 50.0
"""How far two clocks may part per unit of time. RFC 5905 allows each 15 ppm (PHI); cheap phone
crystals in the sun do worse. A measured offset ages by this."""

REMOTE_STEP_MS: Final = 1.0
"""Coarsest step of ``performance.now()`` in a browser page that is not cross-origin isolated."""

QUICK_PINGS: Final = 10
QUICK_INTERVAL_S: Final = 0.1
SLOW_INTERVAL_S: Final = 2.0

NTP_UNIX_OFFSET_S: Final = 2_208_988_800
"""Seconds from 1900 to 1970 (RFC 5905, figure 4)."""


@dataclass(frozen=True, slots=True)
class _Sample:
    """One ping's verdict: remote = server + offset, give or take ``error_ms`` at ``taken_ns``."""

    offset_ms: float
    error_ms: float
    rtt_ms: float
    taken_ns: int

    def error_at_ms(self, time_ns: int) -> float:
        return self.error_ms + abs(time_ns - self.taken_ns) / NS_PER_MS * DRIFT_PPM * 1e-6


class PongTimes(Protocol):
    """What counts of a pong: :class:`detect.protocol.Pong`, :class:`detect.protocol.ViewerPong`."""

    @property
    def id(self) -> int:
        """Of the ping it answers."""

    @property
    def received_ms(self) -> float:
        """When the ping came, on the remote clock."""

    @property
    def replied_ms(self) -> float:
        """When the pong left, on the remote clock."""


class ClockSync:
    """Offset between the server's clock and a remote one, from pings, with a hard error bound.

    A pong tells that the remote clock read ``received_ms … replied_ms`` at some moment between
    sending the ping and receiving the pong. The midpoint is off by half the round trip at most,
    however unequal the two directions are. The sample with the smallest bound counts; samples age
    by :data:`DRIFT_PPM`, so a good old one gives way to a fresh one in time. A sample that
    contradicts the best one beyond both bounds proves that a clock was set (a phone slept): the
    history is dropped.

    Parameters
    ----------
    now : callable
        The server's clock.
    window : int
        Samples kept; 32 are one minute at the slow rate.
    """

    def __init__(self, *, now: NowNs = now_ns, window: int = 32) -> None:
        self._now = now
        self._samples: deque[_Sample] = deque(maxlen=window)
        self._best: _Sample | None = None
        self._sent: dict[int, int] = {}  # ping id → server time
        self._last_id = 0
        self._last_rtt_ms: float | None = None

    def ping(self) -> dict[str, object]:
        """The next ping message; send it at once."""
        self._last_id += 1
        sent_ns = self._now()
        self._sent[self._last_id] = sent_ns
        while len(self._sent) > 16:
            del self._sent[next(iter(self._sent))]
        return {"type": "ping", "id": self._last_id, "server_ms": to_wire_ms(sent_ns)}

    def on_pong(self, message: PongTimes) -> bool:
        """Take a checked pong; False when it answers no ping of ours or its times make no sense."""
        arrived_ns = self._now()
        sent_ns = self._sent.pop(message.id, None)
        if sent_ns is None:
            return False
        received_ms, replied_ms = message.received_ms, message.replied_ms
        held_ms = replied_ms - received_ms
        rtt_ms = (arrived_ns - sent_ns) / NS_PER_MS - held_ms
        if held_ms < 0 or rtt_ms < -REMOTE_STEP_MS:
            return False
        self._take(_sample(sent_ns, arrived_ns, (received_ms + replied_ms) / 2, max(rtt_ms, 0.0)))
        return True

    def _take(self, sample: _Sample) -> None:
        best = self._best
        if best is not None:
            apart_ms = abs(sample.offset_ms - best.offset_ms)
            if apart_ms > sample.error_ms + best.error_at_ms(sample.taken_ns):
                self._samples.clear()
        self._samples.append(sample)
        self._best = min(self._samples, key=lambda s: s.error_at_ms(sample.taken_ns))
        self._last_rtt_ms = sample.rtt_ms

    @property
    def next_ping_in_s(self) -> float:
        """Suggested pause before the next ping: quick at first, then slow."""
        return QUICK_INTERVAL_S if self._last_id < QUICK_PINGS else SLOW_INTERVAL_S

    @property
    def rtt_ms(self) -> float | None:
        """Round trip of the newest pong, without the remote's own delay; None before the first."""
        return self._last_rtt_ms

    @property
    def min_rtt_ms(self) -> float | None:
        """Round trip of the sample in use; None before the first pong."""
        return self._best.rtt_ms if self._best is not None else None

    @property
    def offset_ms(self) -> float | None:
        """Remote time minus server time, in wire milliseconds; None before the first pong."""
        return self._best.offset_ms if self._best is not None else None

    @property
    def error_ms(self) -> float | None:
        """Bound on the error of a conversion made now; None before the first pong."""
        return self._best.error_at_ms(self._now()) if self._best is not None else None

    def to_server_ns(self, remote_ms: float) -> tuple[int, float] | None:
        """Server time of a remote time, and the bound on its error in ms; None before a pong."""
        best = self._best
        if best is None:
            return None
        time_ns = from_wire_ms(remote_ms - best.offset_ms)
        return time_ns, best.error_at_ms(time_ns)

    def to_remote_ms(self, server_ns: int) -> tuple[float, float] | None:
        """Remote time of a server time, and the bound on its error in ms; None before a pong."""
        best = self._best
        if best is None:
            return None
        return to_wire_ms(server_ns) + best.offset_ms, best.error_at_ms(server_ns)


def _sample(sent_ns: int, arrived_ns: int, remote_middle_ms: float, rtt_ms: float) -> _Sample:
    middle_ms = (to_wire_ms(sent_ns) + to_wire_ms(arrived_ns)) / 2
    error_ms = rtt_ms / 2 + REMOTE_STEP_MS
    return _Sample(remote_middle_ms - middle_ms, error_ms, rtt_ms, arrived_ns)


CAPTURE_ROUNDING_MS: Final = 1.0
"""libwebrtc counts capture times and the NTP times of its reports in whole milliseconds."""
MAX_CAPTURE_AGE_NS: Final = 5_000 * NS_PER_MS
REPORTS_KEPT: Final = 5
REPORT_TOLERANCE_MS: Final = 50.0
"""Reports of one clock agree within milliseconds; a clock that was set does not."""
LONGEST_TRIP_MS: Final = 250.0
"""Age beyond the round trip that the quickest of a few reports cannot have: some senders (aiortc)
report the time of the last packet, one frame interval ago, instead of now."""


def ntp_to_unix_ms(ntp_timestamp: int) -> float:
    """Milliseconds since 1970 of a 64-bit NTP timestamp (32.32 fixed point, RFC 3550 §4)."""
    return (ntp_timestamp / (1 << 32) - NTP_UNIX_OFFSET_S) * 1000


@dataclass(frozen=True, slots=True)
class _Report:
    rtp_timestamp: int
    ntp_ms: float
    arrival_ns: int

    def ntp_at_ms(self, rtp_timestamp: int) -> float:
        return self.ntp_ms + signed_step(rtp_timestamp, self.rtp_timestamp) / VIDEO_CLOCK_KHZ


@dataclass(frozen=True, slots=True)
class _Fit:
    """The reports in use, and the one that stands for them (with the median NTP time)."""

    middle: _Report
    reports: tuple[_Report, ...]

    @classmethod
    def of(cls, reports: tuple[_Report, ...]) -> _Fit:
        newest = reports[-1]
        middle_ms = median(report.ntp_at_ms(newest.rtp_timestamp) for report in reports)
        return cls(_Report(newest.rtp_timestamp, middle_ms, newest.arrival_ns), reports)


class CaptureClock:
    """When a frame was captured, on the server's clock, from its RTP timestamp.

    Sender reports pair the phone's RTP clock with its NTP clock; the median of the last few is
    used, a single one that disagrees is ignored, two that agree with each other start a new
    history.

    The phone's NTP clock is meant to be the one its page reads (``performance.timeOrigin +
    performance.now()``), which :class:`ClockSync` follows. A browser derives the two separately:
    they differ by a millisecond or two, but by minutes when the phone slept between opening the
    page and starting the camera. A report cannot arrive before it was sent, and the quickest of the
    last few was not long under way; where the two clocks break that rule, the arrival of that
    report is trusted instead, as if its way had taken half a round trip.

    The error bound is that of the mapping. Where in a picture's making the browser puts its capture
    stamp is the browser's affair (decision 0002).
    """

    def __init__(self, sync: ClockSync) -> None:
        self._sync = sync
        self._ssrc: int | None = None
        self._fit: _Fit | None = None
        self._suspect: _Report | None = None
        self.n_implausible = 0
        """Capture times refused because they were later than the arrival, or far too early."""

    def on_sender_report(
        self, ssrc: int, ntp_timestamp: int, rtp_timestamp: int, arrival_ns: int
    ) -> None:
        """Take a sender report: 64-bit NTP time, 32-bit RTP time, arrival on the server's clock."""
        if ntp_timestamp == 0:  # the sender knows no wall clock (RFC 3550 §6.4.1)
            return
        if ssrc != self._ssrc:
            self._ssrc = ssrc
            self._suspect = self._fit = None
        report = _Report(rtp_timestamp, ntp_to_unix_ms(ntp_timestamp), arrival_ns)
        reports = self._history_with(report)
        if reports is None:
            self._suspect = report
        else:
            self._suspect = None
            self._fit = _Fit.of(reports[-REPORTS_KEPT:])

    def _history_with(self, report: _Report) -> tuple[_Report, ...] | None:
        """The history ``report`` belongs to, itself included; None when it stands alone."""
        if self._fit is None:
            return (report,)
        if _agree(report, self._fit.middle):
            return (*self._fit.reports, report)
        if self._suspect is not None and _agree(report, self._suspect):
            return (self._suspect, report)
        return None

    def captured(self, rtp_timestamp: int, received_ns: int) -> tuple[int, float] | None:
        """Capture time on the server's clock and the bound on its error in ms.

        Parameters
        ----------
        rtp_timestamp : int
            Raw 32-bit timestamp of the frame.
        received_ns : int
            When its last packet arrived: no capture is later.

        Returns
        -------
        tuple of int and float, or None
            None while no report or no pong has come, and for an implausible time.
        """
        fit = self._fit
        mapped = self._to_server(fit, rtp_timestamp) if fit is not None else None
        if mapped is None:
            return None
        captured_ns, error_ms = mapped
        age_ns = received_ns - captured_ns
        if not -error_ms * NS_PER_MS <= age_ns <= MAX_CAPTURE_AGE_NS:
            self.n_implausible += 1
            return None
        return min(captured_ns, received_ns), error_ms

    def _to_server(self, fit: _Fit, rtp_timestamp: int) -> tuple[int, float] | None:
        mapped = self._sync.to_server_ns(fit.middle.ntp_at_ms(rtp_timestamp))
        min_rtt_ms = self._sync.min_rtt_ms
        if mapped is None or min_rtt_ms is None:
            return None
        time_ns, error_ms = mapped[0], mapped[1] + CAPTURE_ROUNDING_MS
        trip_ms = self._shortest_trip_ms(fit)
        if -error_ms <= trip_ms <= min_rtt_ms + LONGEST_TRIP_MS:
            return time_ns, error_ms
        shift_ms = trip_ms - min_rtt_ms / 2
        return time_ns + round(shift_ms * NS_PER_MS), error_ms + min_rtt_ms / 2

    def _shortest_trip_ms(self, fit: _Fit) -> float:
        """Apparent travel time of the quickest report in the history."""
        sent = (self._sync.to_server_ns(report.ntp_ms) for report in fit.reports)
        trips = (
            (report.arrival_ns - at[0]) / NS_PER_MS
            for report, at in zip(fit.reports, sent, strict=True)
            if at is not None
        )
        return min(trips, default=0.0)


def _agree(report: _Report, other: _Report) -> bool:
    apart_ms = abs(report.ntp_at_ms(other.rtp_timestamp) - other.ntp_ms)
    return apart_ms <= REPORT_TOLERANCE_MS
