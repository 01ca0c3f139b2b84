"""aiortc's receive path, wrapped: whole frames at once, bounded everywhere, raw RTP timestamps.

aiortc 1.16 offers decoded frames only through an unbounded queue on the event loop, one frame
interval late, and stops for seconds on one unrepaired packet (docs/decisions/0002). This module
replaces three objects of *one receiver instance* before its decoder thread starts:

* the jitter buffer, by :class:`~detect.rtc.jitter.FrameAssembler` and the feedback it asks for;
* the decoder's input queue, by one with a bound;
* the queue of the track, by an object whose ``put`` does the work **in the decoder thread**.

The last one rests on how aiortc's ``decoder_worker`` hands a frame over: it evaluates
``output_q.put(frame)`` in the decoder thread and passes the coroutine it gets to the loop. Ours is
called there, and returns a coroutine that has already ended.

Everything private that is touched is listed in :data:`PRIVATE_ATTRIBUTES` and checked against the
installed aiortc before the first use.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, Final, Protocol

import aiortc
import av
from aiortc import RTCRtpReceiver
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import AnyRtcpPacket, RtcpByePacket, RtcpSrPacket, RtpPacket

from detect.clock import NS_PER_MS, NowNs, now_ns
from detect.errors import TransportError
from detect.rtc.decoding import ArrivalTimes, DecoderQueue, Output, starts_key_frame
from detect.rtc.jitter import (
    TIMESTAMP_MODULUS,
    EncodedFrame,
    Fragment,
    FrameAssembler,
    InterarrivalJitter,
    signed_step,
)
from detect.rtc.stats import ReceiverStats

logger = logging.getLogger(__name__)

TESTED_AIORTC: Final = "1.16.0"
BITRATE_WINDOW_NS: Final = 2_000 * NS_PER_MS
RENACK_BOUNDS_MS: Final = (20.0, 150.0)

_MANGLED: Final = "_RTCRtpReceiver__"
PRIVATE_ATTRIBUTES: Final = (
    _MANGLED + "jitter_buffer",
    _MANGLED + "nack_generator",
    _MANGLED + "decoder_queue",
    _MANGLED + "decoder_thread",
    _MANGLED + "codecs",
    "_track",
    "_handle_rtcp_packet",
    "_send_rtcp_nack",
    "_send_rtcp_pli",
)
"""What this module reads or replaces in an ``RTCRtpReceiver``."""


class OnPicture(Protocol):
    """Called in the decoder thread with each picture; must not block."""

    def __call__(
        self, picture: av.VideoFrame, *, rtp_timestamp: int, received_ns: int, decoded_ns: int
    ) -> None:
        """Take one picture."""


OnSenderReport = Callable[[int, int, int, int], None]
"""``(ssrc, ntp_timestamp, rtp_timestamp, arrival_ns)`` of an RTCP sender report, on the loop."""


def check_aiortc(receiver: RTCRtpReceiver | None = None) -> None:
    """Check that the installed aiortc has every private attribute this module relies on.

    Parameters
    ----------
    receiver : RTCRtpReceiver or None
        The one about to be wrapped; None makes one that is connected to nothing.

    Raises
    ------
    TransportError
        Naming what is missing, the installed version and the tested one.
    """
    probe: Any = receiver
    if probe is None:
        probe = RTCRtpReceiver("video", SimpleNamespace(state="new"))  # type: ignore[arg-type]
    missing = [name for name in PRIVATE_ATTRIBUTES if not hasattr(probe, name)]
    if missing:
        raise TransportError(
            f"aiortc {aiortc.__version__} lacks {', '.join(missing)}: this version of detect was "
            f"tested with aiortc {TESTED_AIORTC}; install it with: pip install "
            f"'aiortc=={TESTED_AIORTC}'"
        )


class WrappedReceiver:
    """One receiver's wrapped path. Made by :func:`wrap_receiver`; lives on the loop thread.

    Only the decoded-picture callback runs elsewhere, in aiortc's decoder thread.
    """

    def __init__(
        self,
        receiver: RTCRtpReceiver,
        *,
        on_picture: OnPicture,
        on_sender_report: OnSenderReport,
        on_ended: Callable[[], None],
        now: NowNs,
    ) -> None:
        self._receiver: Any = receiver
        self._on_picture = on_picture
        self._on_sender_report = on_sender_report
        self._on_ended = on_ended
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._assembler = FrameAssembler()
        self._queue = DecoderQueue()
        self._arrivals = ArrivalTimes()
        self._jitter = InterarrivalJitter()
        self._sizes: deque[tuple[int, int]] = deque(maxlen=256)  # (received_ns, bytes) per frame
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()
        self._is_closed = False
        self._pts = 0
        self._ssrc: int | None = None
        self._retired_ssrc: int | None = None
        self._codec: RTCRtpCodecParameters | None = None
        self._next_packet: Callable[[], None] | None = None
        self._n_decoded = self._n_dropped = self._n_callback_errors = 0
        self.last_packet_ns: int | None = None
        """When the newest media packet came."""

    # called by aiortc

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """Stand in for ``JitterBuffer.add``; whole frames go to the decoder from here."""
        if self._is_closed or packet.ssrc == self._retired_ssrc:
            return False, None
        arrival_ns = self._now()
        codec = getattr(self._receiver, _MANGLED + "codecs")[packet.payload_type]
        self._follow(packet.ssrc, codec, arrival_ns)
        data: bytes = packet._data  # type: ignore[attr-defined]
        fragment = Fragment(
            sequence=packet.sequence_number,
            timestamp=packet.timestamp,
            is_last=bool(packet.marker),
            starts_key_frame=starts_key_frame(codec.name, packet.payload, data),
            data=data,
            received_ns=arrival_ns,
        )
        self._jitter.add(packet.timestamp, arrival_ns)
        self._decode(codec, self._assembler.add(fragment))
        self._send_feedback()
        self._notify_packet()
        return False, None

    def _follow(self, ssrc: int, codec: RTCRtpCodecParameters, arrival_ns: int) -> None:
        """Start anew when the phone began another RTP stream."""
        self.last_packet_ns = arrival_ns
        self._codec = codec
        if ssrc != self._ssrc:
            if self._ssrc is not None:
                self._assembler.restart(arrival_ns)
            self._retired_ssrc, self._ssrc = self._ssrc, ssrc

    def _notify_packet(self) -> None:
        callback, self._next_packet = self._next_packet, None
        if callback is not None:
            callback()

    def _decode(self, codec: RTCRtpCodecParameters, frames: list[EncodedFrame]) -> None:
        for index, frame in enumerate(frames):
            if self._queue.is_full:
                self._n_dropped += self._queue.clear() + len(frames) - index
                self._assembler.request_key(self._now())
                return
            # Decoders want growing times: unwrap upwards, the low 32 bits stay the raw timestamp.
            self._pts += signed_step(frame.timestamp, self._pts % TIMESTAMP_MODULUS)
            self._arrivals.put(self._pts, frame.received_ns)
            self._sizes.append((frame.received_ns, len(frame.data)))
            self._queue.put((codec, JitterFrame(frame.data, self._pts)))

    async def _handle_rtcp(
        self, original: Callable[[AnyRtcpPacket], Coroutine[Any, Any, None]], packet: AnyRtcpPacket
    ) -> None:
        if isinstance(packet, RtcpByePacket):
            # aiortc would end the decoder for good; browsers send BYE when a sender only pauses.
            return
        if isinstance(packet, RtcpSrPacket):
            info = packet.sender_info
            self._on_sender_report(packet.ssrc, info.ntp_timestamp, info.rtp_timestamp, self._now())
        await original(packet)

    # decoder thread

    def _take_picture(self, picture: av.VideoFrame) -> None:
        decoded_ns = self._now()
        pts = picture.pts
        if self._is_closed or pts is None:
            return
        self._n_decoded += 1
        try:
            self._on_picture(
                picture,
                rtp_timestamp=pts % TIMESTAMP_MODULUS,
                received_ns=self._arrivals.pop(pts, decoded_ns),
                decoded_ns=decoded_ns,
            )
        except Exception:
            self._n_callback_errors += 1
            if self._n_callback_errors == 1:  # the next frame would say the same
                logger.exception("a frame callback failed; further failures are only counted")

    def _take_end(self) -> None:
        # The loop may be blocked in Thread.join meanwhile: it learns of the end afterwards.
        self._loop.call_soon_threadsafe(self._finish)

    # loop thread

    def _finish(self) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self._on_ended()

    def _send_feedback(self) -> None:
        """Send what the assembler asks for, and be called again when it is due."""
        feedback = self._assembler.feedback(self._now())
        if self._ssrc is not None and feedback.nack:
            self._spawn(self._receiver._send_rtcp_nack(self._ssrc, list(feedback.nack)))
        if self._ssrc is not None and feedback.key_frame:
            self._spawn(self._receiver._send_rtcp_pli(self._ssrc))
        self._rearm()

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_ns = self._assembler.due_ns()
        if due_ns is not None and not self._is_closed:
            delay_s = max(0, due_ns - self._now()) / 1e9
            self._timer = self._loop.call_later(delay_s, self._send_feedback)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("RTCP feedback was not sent: %s", error)

    def on_next_packet(self, callback: Callable[[], None] | None) -> None:
        """Call ``callback`` once, at the next media packet; None forgets it."""
        self._next_packet = callback

    def set_round_trip(self, rtt_ms: float) -> None:
        """Repeat requests for missing packets after this time (bounded)."""
        low, high = RENACK_BOUNDS_MS
        self._assembler.renack_ns = round(min(max(1.25 * rtt_ms, low), high) * NS_PER_MS)

    def stats(self) -> ReceiverStats:
        """Counters so far."""
        counts = self._assembler.counts
        return ReceiverStats(
            codec=self._codec.name if self._codec is not None else None,
            packets_received=counts.packets,
            packets_lost=counts.lost,
            packets_repaired=counts.repaired,
            nacks_sent=counts.nacks,
            keyframe_requests=counts.key_requests,
            holes_abandoned=counts.holes_abandoned,
            frames_decoded=self._n_decoded,
            decode_drops=self._n_dropped,
            callback_errors=self._n_callback_errors,
            jitter_ms=self._jitter.jitter_ms,
            bitrate_bps=self._bitrate_bps(),
        )

    def _bitrate_bps(self) -> float:
        start_ns = self._now() - BITRATE_WINDOW_NS
        n_bytes = sum(size for received_ns, size in self._sizes if received_ns >= start_ns)
        return 8 * n_bytes / (BITRATE_WINDOW_NS / 1e9)

    async def stop(self, timeout_s: float = 1.0) -> None:
        """End the decoder thread without blocking the loop; deliver nothing more.

        aiortc joins that thread on the loop when the connection closes; after this, it has nothing
        left to wait for.
        """
        self._is_closed = True
        self._next_packet = None
        self._rearm()
        thread: threading.Thread | None = getattr(self._receiver, _MANGLED + "decoder_thread")
        self._queue.put(None)
        if thread is not None:
            try:
                await asyncio.wait_for(self._ended.wait(), timeout_s)
            except TimeoutError:
                logger.warning("the decoder did not end within %.1f s", timeout_s)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)


def wrap_receiver(
    receiver: RTCRtpReceiver,
    *,
    on_picture: OnPicture,
    on_sender_report: OnSenderReport,
    on_ended: Callable[[], None],
    now: NowNs = now_ns,
) -> WrappedReceiver:
    """Replace the receive path of one receiver.

    Must be called on the loop thread after the remote description is set (the receiver has its
    track) and before the local one (the decoder thread has not started).

    Parameters
    ----------
    receiver : RTCRtpReceiver
        Of kind video.
    on_picture : callable
        Called in the decoder thread, straight after decoding. An exception is logged once, counted,
        and never ends the thread.
    on_sender_report : callable
        Called on the loop with each RTCP sender report.
    on_ended : callable
        Called once on the loop, after the last picture.
    now : callable
        The clock.

    Raises
    ------
    TransportError
        If the installed aiortc is not one this module knows, or the receiver has already started.
    """
    check_aiortc(receiver)
    target: Any = receiver
    track = target._track
    if track is None or not hasattr(track, "_queue"):
        raise TransportError("the receiver has no track yet: wrap it after setRemoteDescription")
    if getattr(target, _MANGLED + "decoder_thread") is not None:
        raise TransportError("the receiver has already started: wrap it before setLocalDescription")
    wrapped = WrappedReceiver(
        receiver,
        on_picture=on_picture,
        on_sender_report=on_sender_report,
        on_ended=on_ended,
        now=now,
    )
    original = target._handle_rtcp_packet
    setattr(target, _MANGLED + "jitter_buffer", wrapped)
    setattr(target, _MANGLED + "nack_generator", None)  # the assembler asks, on a timer
    setattr(target, _MANGLED + "decoder_queue", wrapped._queue)
    track._queue = Output(wrapped._take_picture, wrapped._take_end)
    target._handle_rtcp_packet = lambda packet: wrapped._handle_rtcp(original, packet)
    return wrapped
