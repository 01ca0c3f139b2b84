"""A synthetic phone made of aiortc: numbered frames, both data channels, scripted trouble.

No packet meets chance: a test says which one is lost, late or doubled.
"""

from __future__ import annotations

import asyncio
import fractions
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcconfiguration import RTCBundlePolicy
from aiortc.rtp import RtcpPacket, RtcpSrPacket, RtpPacket, is_rtcp

from detect.clock import now_ns
from detect.protocol import Notice, Ping, Pong, Profile, parse_control_message
from detect.protocol.wire import encode
from detect.rtc.clocksync import NTP_UNIX_OFFSET_S
from detect.rtc.session import SessionState
from detect.types import Frame
from tests.e2e import frame_code

CLOCK_HZ = 90_000
TIME_BASE = fractions.Fraction(1, CLOCK_HZ)


class NumberedTrack(MediaStreamTrack):
    """Moving texture with the frame's number drawn into it (:mod:`tests.e2e.frame_code`)."""

    kind = "video"

    def __init__(self, size_wh: tuple[int, int], frame_rate: int) -> None:
        super().__init__()
        self.size_wh = size_wh
        self.number = -1
        self.pts = 0
        self.is_paused = False
        self._interval_s = 1 / frame_rate
        self._start_s: float | None = None
        self._n_slots = 0
        rng = np.random.default_rng(1)
        self._texture = rng.integers(60, 200, (2048, 2048, 3), dtype=np.uint8)

    async def recv(self) -> av.VideoFrame:
        while True:
            await self._next_slot()
            if not self.is_paused:
                break
        self.number += 1
        picture = self._picture()
        frame_code.draw(picture, self.number)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        self.pts = frame.pts = round(self._n_slots * self._interval_s * CLOCK_HZ)
        frame.time_base = TIME_BASE
        return frame

    def captured_ns(self, pts: int) -> int:
        """When the frame of this time was due, on the clock of the process."""
        assert self._start_s is not None
        return round((self._start_s + pts / CLOCK_HZ) * 1e9)

    async def _next_slot(self) -> None:
        if self.readyState != "live":
            raise MediaStreamError
        if self._start_s is None:
            self._start_s = now_ns() / 1e9
        self._n_slots += 1
        await asyncio.sleep(self._start_s + self._n_slots * self._interval_s - now_ns() / 1e9)

    def _picture(self) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """A window sliding over coarse noise: every frame is several packets, none is huge."""
        width, height = self.size_wh
        offset = self.number % 64
        coarse = self._texture[: height // 16 + 2, : width // 16 + 6]
        fine = coarse.repeat(16, axis=0).repeat(16, axis=1)
        return np.ascontiguousarray(fine[:height, offset : offset + width])


@dataclass(frozen=True)
class Outgoing:
    """One RTP packet on its way out; ``sequence`` is that of the media stream for repeats too."""

    sequence: int
    timestamp: int
    marker: bool
    is_repeat: bool
    data: bytes


Script = Callable[[Outgoing], Sequence[bytes]]
"""Says which datagrams leave in place of a packet: none, it, it twice, or others held before."""


class FakePhone:
    """A phone: offers video and both data channels, answers pings, obeys a packet script.

    Parameters
    ----------
    size_wh, frame_rate : tuple of int, int
        Of the camera; ``phone.track.size_wh`` may change at any time.
    script : callable or None
        What happens to outgoing RTP packets.
    codec : str or None
        The only one offered; None offers all that aiortc has.
    """

    def __init__(
        self,
        *,
        size_wh: tuple[int, int] = (640, 480),
        frame_rate: int = 30,
        script: Script | None = None,
        codec: str | None = None,
    ) -> None:
        self.track = NumberedTrack(size_wh, frame_rate)
        self.script = script
        self.is_silent = False
        """No packet leaves, of any kind: out of range."""
        self.results: asyncio.Queue[str] = asyncio.Queue()
        self.controls: asyncio.Queue[Profile | Notice] = asyncio.Queue()
        self.pc = RTCPeerConnection(
            RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
        self.sender: RTCRtpSender = self.pc.addTrack(self.track)
        if codec is not None:
            self._offer_only(codec)
        self.control: RTCDataChannel = self.pc.createDataChannel("control")
        self.control.on("message", self._on_control)
        results = self.pc.createDataChannel("results", ordered=False, maxRetransmits=0)
        results.on("message", self.results.put_nowait)
        self._rtp_origin: int | None = None
        self._send_rtp = self.sender.transport._send_rtp
        self.sender.transport._send_rtp = self._send_scripted  # type: ignore[method-assign]

    def _offer_only(self, codec: str) -> None:
        known = RTCRtpSender.getCapabilities("video")
        assert known is not None
        names = (f"video/{codec}", "video/rtx")
        (transceiver,) = self.pc.getTransceivers()
        transceiver.setCodecPreferences([c for c in known.codecs if c.mimeType in names])

    async def offer(self) -> str:
        """The complete offer."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        # A phone only sends; aiortc's addTrack would also receive.
        return self.pc.localDescription.sdp.replace("a=sendrecv", "a=sendonly")

    async def accept(self, answer_sdp: str) -> None:
        """Take the server's answer; connecting goes on by itself."""
        await self.pc.setRemoteDescription(RTCSessionDescription(answer_sdp, "answer"))

    async def close(self) -> None:
        """Leave properly."""
        await self.pc.close()

    async def _send_scripted(self, data: bytes) -> None:
        if self.is_silent:
            return
        if is_rtcp(data):
            await self._send_rtp(self._with_capture_times(data))
            return
        packet = self._outgoing(data)
        if self._rtp_origin is None:  # aiortc sends a frame before it asks for the next
            self._rtp_origin = packet.timestamp - self.track.pts
        for datagram in [data] if self.script is None else self.script(packet):
            await self._send_rtp(datagram)

    def captured_ns(self, rtp_timestamp: int) -> int:
        """When the frame with this raw timestamp was captured: the truth, for comparison."""
        assert self._rtp_origin is not None
        return self.track.captured_ns((rtp_timestamp - self._rtp_origin) % 2**32)

    def _with_capture_times(self, data: bytes) -> bytes:
        """Sender reports as browsers make them: aiortc pairs a frame with its time of sending."""
        packets = RtcpPacket.parse(data)
        for packet in packets:
            if isinstance(packet, RtcpSrPacket) and self._rtp_origin is not None:
                info = packet.sender_info
                age_s = now_ns() / 1e9 - self.captured_ns(info.rtp_timestamp) / 1e9
                info.ntp_timestamp = round((time.time() - age_s + NTP_UNIX_OFFSET_S) * 2**32)
        return b"".join(bytes(packet) for packet in packets)

    def _outgoing(self, data: bytes) -> Outgoing:
        packet = RtpPacket.parse(data)
        is_repeat = packet.ssrc == self.sender._rtx_ssrc
        sequence = (
            int.from_bytes(packet.payload[:2], "big") if is_repeat else packet.sequence_number
        )
        return Outgoing(sequence, packet.timestamp, bool(packet.marker), is_repeat, data)

    def _on_control(self, text: str) -> None:
        received_ms = time.time() * 1000
        message = parse_control_message(text)
        if isinstance(message, Ping):
            pong = Pong(message.id, message.server_ms, received_ms, time.time() * 1000)
            self.control.send(encode(pong))
        else:
            self.controls.put_nowait(message)


@dataclass(frozen=True)
class Seen:
    """One frame that came through, and how many newer ones the phone had made by then."""

    number: int | None
    lag: int
    size_wh: tuple[int, int]
    frame: Frame


class FrameLog:
    """Collects frames (decoder thread) and states (loop); lets a test wait for them."""

    def __init__(self, phone: FakePhone | None = None) -> None:
        self.phone = phone
        self.seen: list[Seen] = []
        self.states: list[SessionState] = []
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    @property
    def numbers(self) -> list[int | None]:
        """Numbers read from the pictures, in order of arrival."""
        return [seen.number for seen in self.seen]

    def on_frame(self, frame: Frame) -> None:
        """For ``PhoneSession``."""
        number = frame_code.read(np.asarray(frame.picture.to_ndarray(format="rgb24"), np.uint8))
        newest = self.phone.track.number if self.phone is not None else 0
        lag = newest - number if number is not None else -1
        self.seen.append(Seen(number, lag, frame.size_wh, frame))
        self._loop.call_soon_threadsafe(self._changed.set)

    def on_state(self, state: SessionState) -> None:
        """For ``PhoneSession``."""
        self.states.append(state)
        self._changed.set()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Wait until ``condition`` holds; it is looked at after each frame and each state."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_frames(self, n_frames: int) -> None:
        """Wait for that many more frames."""
        target = len(self.seen) + n_frames
        await self.until(lambda: len(self.seen) >= target)
