"""The life of one phone's connection, from its offer to the last thread being gone."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import av
from aiortc import (
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpTransceiver,
    RTCSessionDescription,
)

from detect.clock import NowNs, now_ns
from detect.config import IceServer
from detect.errors import ProtocolError, TransportError
from detect.protocol import PhoneState, Pong, parse_phone_message
from detect.protocol.wire import encode
from detect.rtc.clocksync import CaptureClock, ClockSync
from detect.rtc.ice import (
    OfferError,
    PhoneOffer,
    prepare_offer,
    rtc_configuration,
    with_start_bitrate,
)
from detect.rtc.receiver import WrappedReceiver, wrap_receiver
from detect.rtc.stats import SessionStats
from detect.types import Frame

logger = logging.getLogger(__name__)

RESULTS_BACKLOG_BYTES: Final = 8 * 1024
"""Unsent results beyond which newer ones are dropped: a handful of messages, stale already."""
CONTROL_BACKLOG: Final = 16
"""Control messages kept until the channel opens; the oldest go first."""
CLOSE_TIMEOUT_S: Final = 3.0


class SessionState(StrEnum):
    """Where a phone's connection is."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class SessionTimings:
    """Patience, in seconds.

    Attributes
    ----------
    connect_s : float
        From the answer to the first packet of video. aiortc itself would wait forever.
    stall_s, end_s : float
        Without video: when the stream is called stalled, and when it is ended. aiortc notices a
        phone that is gone after 32 s only.
    """

    connect_s: float = 15.0
    stall_s: float = 2.0
    end_s: float = 15.0

    def __post_init__(self) -> None:
        if not (self.connect_s > 0 and 0 < self.stall_s < self.end_s):
            raise ValueError(f"expected connect_s > 0 and 0 < stall_s < end_s, got {self}")


class PhoneSession:
    """One phone, one connection: answers its offer, delivers its frames, ends by itself.

    Lives on the event loop's thread. A session is used once: a phone that comes back makes a new
    offer and gets a new session.

    Parameters
    ----------
    stream_id : str
        Name of the stream in every frame.
    ice_servers : tuple of IceServer
        STUN and TURN servers; with none, only addresses of this machine are offered.
    on_frame : callable
        Called in the decoder thread straight after decoding; must not block.
    on_state : callable
        Called on the loop after each change; :attr:`message` says why in words.
    on_phone_state : callable, optional
        Called on the loop when the phone reports its camera's and page's state.
    timings : SessionTimings
        Patience.
    now : callable
        The clock.
    """

    def __init__(  # noqa: PLR0913  # who it is, whom it tells, and what tests replace
        self,
        *,
        stream_id: str,
        ice_servers: tuple[IceServer, ...],
        on_frame: Callable[[Frame], None],
        on_state: Callable[[SessionState], None],
        on_phone_state: Callable[[PhoneState], None] | None = None,
        timings: SessionTimings | None = None,
        now: NowNs = now_ns,
    ) -> None:
        self.stream_id = stream_id
        self.state = SessionState.CONNECTING
        self.message = "Connecting to the phone."
        self.clock_sync = ClockSync(now=now)
        self._capture_clock = CaptureClock(self.clock_sync)
        self._ice_servers = ice_servers
        self._on_frame = on_frame
        self._on_state = on_state
        self._on_phone_state = on_phone_state
        self._timings = timings or SessionTimings()
        self._now = now
        self._pc: RTCPeerConnection | None = None
        self._received: WrappedReceiver | None = None
        self._control: RTCDataChannel | None = None
        self._results: RTCDataChannel | None = None
        self._unsent: deque[str] = deque(maxlen=CONTROL_BACKLOG)
        self._timer: asyncio.TimerHandle | None = None
        self._ping_timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None
        self._n_results_dropped = 0
        self._n_bad_messages = 0

    # offer and answer

    async def answer(self, offer_sdp: str) -> str:
        """Answer the phone's offer; connecting goes on by itself afterwards.

        Parameters
        ----------
        offer_sdp : str
            Complete (no trickle), one video section, data channels. The caller limits its size.

        Returns
        -------
        str
            The answer, complete as well.

        Raises
        ------
        OfferError
            With the error code of docs/protocol.md; the session has ended then.
        TransportError
            If called twice, after :meth:`close`, or aiortc is not the version known.
        """
        if self._pc is not None or self.state is SessionState.ENDED:
            raise TransportError("a session answers one offer: make a new session for another")
        try:
            offer = prepare_offer(offer_sdp)
            self._pc = RTCPeerConnection(rtc_configuration(self._ice_servers))
            return await self._negotiate(self._pc, offer)
        except TransportError as error:
            self._end(str(error))
            raise
        except Exception as error:  # aiortc raises whatever its parts raise
            self._end("The phone's offer could not be answered.")
            raise OfferError("failed", f"aiortc could not answer the offer: {error!r}") from error

    async def _negotiate(self, pc: RTCPeerConnection, offer: PhoneOffer) -> str:
        pc.on("connectionstatechange", self._on_connection_state)
        pc.on("datachannel", self._on_channel)
        transceiver = pc.addTransceiver("video", direction="recvonly")
        _prefer(transceiver, offer.codec)
        await pc.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
        self._received = wrap_receiver(
            transceiver.receiver,
            on_picture=self._take_picture,
            on_sender_report=self._capture_clock.on_sender_report,
            on_ended=lambda: self._end("The phone closed the connection."),
            now=self._now,
        )
        self._received.on_next_packet(self._on_media)
        await pc.setLocalDescription(await pc.createAnswer())
        if self.state is SessionState.ENDED:
            raise OfferError("failed", "the session was closed while it was being answered")
        sdp = pc.localDescription.sdp
        if "a=candidate:" not in sdp:
            raise OfferError(
                "failed",
                "this machine has no network address a phone could reach: connect it to "
                "the network the phone is in",
            )
        self._watch(self._timings.connect_s, self._on_connect_timeout)
        return with_start_bitrate(sdp, offer.codec)

    # state

    def _enter(self, state: SessionState, message: str) -> None:
        if self.state in (state, SessionState.ENDED):
            return
        self.state, self.message = state, message
        logger.info("stream %s: %s: %s", self.stream_id, state, message)
        self._on_state(state)

    def _end(self, message: str) -> None:
        """Enter the last state and begin to clean up."""
        self._stop_timers()
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._clean_up())
        self._enter(SessionState.ENDED, message)

    def _on_connection_state(self) -> None:
        state = self._pc.connectionState if self._pc is not None else "closed"
        if state == "failed":
            self._end("No network path to the phone was found.")
        elif state == "closed":
            self._end("The phone closed the connection.")

    def _on_media(self) -> None:
        """Video arrives: at first, or again."""
        self._enter(SessionState.LIVE, "Live.")
        self._watch(self._timings.stall_s, self._on_silence)

    def _on_connect_timeout(self) -> None:
        connected = self._pc is not None and self._pc.connectionState == "connected"
        seconds = f"{self._timings.connect_s:.0f} s"
        if connected:
            self._end(f"The phone is connected but sent no video for {seconds}.")
        else:
            self._end(f"The phone did not connect within {seconds}.")

    def _on_silence(self) -> None:
        """The stall timer rang: packets may have come since it was set."""
        left_s = self._timings.stall_s - self._silent_s()
        if left_s > 0:
            self._watch(left_s, self._on_silence)
            return
        self._enter(
            SessionState.STALLED, f"No video for {self._timings.stall_s:.0f} s: weak network?"
        )
        if self._received is not None:
            self._received.on_next_packet(self._on_media)
        self._watch(self._timings.end_s - self._silent_s(), self._on_long_silence)

    def _on_long_silence(self) -> None:
        self._end(f"No video for {self._timings.end_s:.0f} s.")

    def _silent_s(self) -> float:
        last_ns = self._received.last_packet_ns if self._received is not None else None
        return (self._now() - last_ns) / 1e9 if last_ns is not None else 0.0

    def _watch(self, delay_s: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.state is not SessionState.ENDED:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, delay_s), then)

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._ping_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._ping_timer = None

    # frames: decoder thread

    def _take_picture(
        self, picture: av.VideoFrame, *, rtp_timestamp: int, received_ns: int, decoded_ns: int
    ) -> None:
        captured = self._capture_clock.captured(rtp_timestamp, received_ns)
        self._on_frame(
            Frame(
                stream_id=self.stream_id,
                rtp_timestamp=rtp_timestamp,
                picture=picture,
                captured_ns=captured[0] if captured is not None else None,
                captured_error_ms=captured[1] if captured is not None else None,
                received_ns=received_ns,
                decoded_ns=decoded_ns,
            )
        )

    # data channels

    def _on_channel(self, channel: RTCDataChannel) -> None:
        if channel.label == "control" and self._control is None:
            self._control = channel
            channel.on("message", self._on_control)
            while self._unsent:
                channel.send(self._unsent.popleft())
            self._ping()
        elif channel.label == "results" and self._results is None:
            self._results = channel
        else:
            logger.debug("stream %s: closing an unexpected data channel", self.stream_id)
            channel.close()

    def _ping(self) -> None:
        if self._control is None or self._control.readyState != "open":
            return
        self._control.send(encode(self.clock_sync.ping()))
        self._ping_timer = asyncio.get_running_loop().call_later(
            self.clock_sync.next_ping_in_s, self._ping
        )

    def _on_control(self, text: str | bytes) -> None:
        try:
            message = parse_phone_message(text)
        except ProtocolError as error:
            self._n_bad_messages += 1
            logger.debug("stream %s: %s", self.stream_id, error)
            return
        if isinstance(message, Pong):
            self._on_pong(message)
        elif self._on_phone_state is not None:
            self._on_phone_state(message)

    def _on_pong(self, pong: Pong) -> None:
        if not self.clock_sync.on_pong(pong):
            self._n_bad_messages += 1
        elif self._received is not None and self.clock_sync.rtt_ms is not None:
            self._received.set_round_trip(self.clock_sync.rtt_ms)

    def send_results(self, text: str) -> None:
        """Send boxes to the phone, or drop them when earlier ones are still under way."""
        channel = self._results
        if (
            channel is None
            or channel.readyState != "open"
            or channel.bufferedAmount > RESULTS_BACKLOG_BYTES
        ):
            self._n_results_dropped += 1
            return
        channel.send(text)

    def send_control(self, text: str) -> None:
        """Send a control message, or keep it until the channel opens (the newest few)."""
        if self._control is None:
            self._unsent.append(text)
        elif self._control.readyState == "open":
            self._control.send(text)

    def stats(self) -> SessionStats:
        """Figures so far."""
        return SessionStats(
            media=self._received.stats() if self._received is not None else None,
            rtt_ms=self.clock_sync.rtt_ms,
            clock_error_ms=self.clock_sync.error_ms,
            implausible_captures=self._capture_clock.n_implausible,
            results_dropped=self._n_results_dropped,
            bad_messages=self._n_bad_messages,
        )

    # the end

    async def close(self) -> None:
        """End the session and wait until nothing of it is left. May be called any time, twice."""
        self._end("Closed.")
        if self._closing is not None:
            await asyncio.shield(self._closing)

    async def _clean_up(self) -> None:
        if self._received is not None:
            await self._received.stop()
        if self._pc is not None:
            closing = asyncio.ensure_future(self._pc.close())
            _, pending = await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_S)
            if pending:
                closing.cancel()
                logger.warning(
                    "stream %s: the connection did not close within %.0f s",
                    self.stream_id,
                    CLOSE_TIMEOUT_S,
                )
            self._pc.remove_all_listeners()


def _prefer(transceiver: RTCRtpTransceiver, codec: str) -> None:
    """Accept only ``codec`` and its retransmissions."""
    capabilities = RTCRtpReceiver.getCapabilities("video")
    assert capabilities is not None
    names = (f"video/{codec}".lower(), "video/rtx")
    transceiver.setCodecPreferences(
        [known for known in capabilities.codecs if known.mimeType.lower() in names]
    )
