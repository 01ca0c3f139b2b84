from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import aiortc.rtcrtpreceiver as stock
import av
import pytest
from aiortc import RTCRtpReceiver
from aiortc.codecs import CODECS
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters
from aiortc.rtp import RtcpByePacket, RtcpSenderInfo, RtcpSrPacket, RtpPacket

from detect.errors import TransportError
from detect.rtc import receiver as wrapping
from detect.rtc.decoding import DECODER_BACKLOG, ArrivalTimes, DecoderQueue, starts_key_frame
from detect.rtc.receiver import PRIVATE_ATTRIBUTES, WrappedReceiver, check_aiortc, wrap_receiver

VP8 = next(codec for codec in CODECS["video"] if codec.name == "VP8")
KEY = b"\x10\x00" + bytes(20)
"""VP8 payload: descriptor "start of partition 0", then a frame tag of a key frame."""
DELTA = b"\x10\x01" + bytes(20)


class FakeTransport:
    """What a receiver needs of its DTLS transport; keeps what is sent."""

    state = "connected"
    _stats_id = "fake"

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.changed = asyncio.Event()

    def _register_rtp_receiver(self, *_: object) -> None: ...

    def _unregister_rtp_receiver(self, *_: object) -> None: ...

    async def _send_rtp(self, data: bytes) -> None:
        self.sent.append(data)
        self.changed.set()


class Rig:
    """A real receiver with our path, a fake transport, and a decoder the test may replace."""

    def __init__(self) -> None:
        self.transport = FakeTransport()
        self.receiver: Any = RTCRtpReceiver("video", self.transport)  # type: ignore[arg-type]
        self.receiver._track = stock.RemoteStreamTrack("video")
        self.receiver._set_rtcp_ssrc(1)
        self.pictures: list[dict[str, Any]] = []
        self.reports: list[tuple[int, int, int, int]] = []
        self.n_ended = 0
        self.sequence = 10
        self.changed = self.transport.changed
        self.loop = asyncio.get_running_loop()
        self.wrapped = wrap_receiver(
            self.receiver,
            on_picture=self._on_picture,
            on_sender_report=lambda *report: self.reports.append(report),
            on_ended=self._on_ended,
        )

    def _on_picture(self, picture: av.VideoFrame, **times: int) -> None:
        self.pictures.append(times)
        self.loop.call_soon_threadsafe(self.changed.set)

    def _on_ended(self) -> None:
        self.n_ended += 1

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; it is looked at after each picture and each packet sent."""
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def start(self) -> None:
        await self.receiver.receive(RTCRtpReceiveParameters(codecs=[VP8]))

    async def packet(self, payload: bytes, timestamp: int, *, ssrc: int = 5) -> None:
        assert VP8.payloadType is not None
        packet = RtpPacket(VP8.payloadType, 1, self.sequence, timestamp, ssrc, payload)
        self.sequence += 1
        await self.receiver._handle_rtp_packet(packet, arrival_time_ms=0)

    async def stop(self) -> None:
        await self.wrapped.stop()
        await self.receiver.stop()


def replace_decoder(
    monkeypatch: pytest.MonkeyPatch, decode: Callable[[JitterFrame], list[Any]]
) -> None:
    monkeypatch.setattr(stock, "get_decoder", lambda codec: SimpleNamespace(decode=decode))


def as_picture(frame: JitterFrame) -> list[Any]:
    return [SimpleNamespace(pts=frame.timestamp)]


def test_the_installed_aiortc_is_known() -> None:
    check_aiortc()


@pytest.mark.parametrize("name", PRIVATE_ATTRIBUTES)
def test_a_missing_attribute_is_named(name: str) -> None:
    present = {other: None for other in PRIVATE_ATTRIBUTES if other != name}
    with pytest.raises(TransportError, match=name) as caught:
        check_aiortc(SimpleNamespace(**present))  # type: ignore[arg-type]
    assert wrapping.TESTED_AIORTC in str(caught.value)


@pytest.mark.parametrize(
    ("codec", "payload", "data", "expected"),
    [
        ("VP8", b"\x10", b"\x00", True),
        ("VP8", b"\x90\x80\x01", b"\x00", True),  # extended descriptor with a picture id
        ("VP8", b"\x10", b"\x01", False),  # inter frame
        ("VP8", b"\x00", b"\x00", False),  # not the start of a partition
        ("VP8", b"\x11", b"\x00", False),  # second partition
        ("VP8", b"", b"", False),
        ("H264", b"\x67", b"\x00\x00\x00\x01\x67", True),  # SPS
        ("H264", b"\x78\x00\x04\x67", b"...", True),  # STAP-A with an SPS first
        ("H264", b"\x78\x00", b"...", False),
        ("H264", b"\x41", b"...", False),  # slice
        ("H264", b"\x7c\x85", b"...", False),  # IDR fragment: its SPS came before
    ],
)
def test_key_frames_are_recognised(codec: str, payload: bytes, data: bytes, expected: bool) -> None:
    assert starts_key_frame(codec, payload, data) is expected


def test_the_decoder_queue_is_bounded_and_its_end_overtakes() -> None:
    items = DecoderQueue(limit=2)
    frame = (VP8, JitterFrame(b"", 0))
    fill = []
    for _ in range(2):
        fill.append(items.is_full)
        items.put(frame)
    assert [*fill, items.is_full] == [False, False, True]
    items.put(None)
    items.put(frame)  # after the end: ignored
    assert len(items) == 1
    assert items.get() is None


def test_arrival_times_are_bounded() -> None:
    times = ArrivalTimes(limit=3)
    for pts in range(5):
        times.put(pts, pts * 10)
    assert times.pop(0, -1) == -1  # forgotten
    assert times.pop(4, -1) == 40
    assert times.pop(4, -1) == -1


async def test_pictures_come_in_the_decoder_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_decoder(monkeypatch, as_picture)
    rig = Rig()
    threads: list[str] = []
    done = threading.Event()

    def on_picture(picture: av.VideoFrame, **times: int) -> None:
        threads.append(threading.current_thread().name)
        done.set()

    rig.wrapped._on_picture = on_picture
    await rig.start()
    await rig.packet(KEY, 0)
    assert done.wait(5)  # the loop does not turn here: nothing passes through it
    assert threads == ["video-decoder"]
    await rig.stop()
    assert rig.n_ended == 1


async def test_timestamps_stay_raw_across_a_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def decode(frame: JitterFrame) -> list[Any]:
        decoded.append(frame.timestamp)
        return as_picture(frame)

    replace_decoder(monkeypatch, decode)
    rig = Rig()
    await rig.start()
    stamps = [2**32 - 3000, 0, 3000, 6000]
    for index, stamp in enumerate(stamps):
        await rig.packet(DELTA if index else KEY, stamp)
    await rig.until(lambda: len(rig.pictures) == 4)
    assert [picture["rtp_timestamp"] for picture in rig.pictures] == stamps
    assert decoded == sorted(decoded)  # what the decoder sees only grows
    for picture in rig.pictures:
        assert picture["received_ns"] <= picture["decoded_ns"]
    await rig.stop()


async def test_a_decoder_that_falls_behind_restarts_at_a_key_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = threading.Event()

    def decode(frame: JitterFrame) -> list[Any]:
        gate.wait(10)
        return as_picture(frame)

    replace_decoder(monkeypatch, decode)
    rig = Rig()
    await rig.start()
    await rig.packet(KEY, 0)
    n_delta = DECODER_BACKLOG + 20
    for index in range(1, n_delta + 1):
        await rig.packet(DELTA, index * 3000)
        assert len(rig.wrapped._queue) <= DECODER_BACKLOG
    await asyncio.sleep(0)  # the request leaves
    await rig.packet(KEY, (n_delta + 1) * 3000)
    gate.set()
    await rig.until(
        lambda: bool(rig.pictures) and rig.pictures[-1]["rtp_timestamp"] > n_delta * 3000
    )
    stats = rig.wrapped.stats()
    assert stats.decode_drops >= DECODER_BACKLOG
    assert stats.keyframe_requests >= 1
    assert rig.transport.sent  # the PLI
    await rig.stop()


async def test_a_failing_callback_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replace_decoder(monkeypatch, as_picture)
    rig = Rig()

    def fail(picture: av.VideoFrame, **times: int) -> None:
        rig._on_picture(picture, **times)
        raise RuntimeError("a bug in the consumer")

    rig.wrapped._on_picture = fail
    await rig.start()
    await rig.packet(KEY, 0)
    await rig.packet(DELTA, 3000)
    await rig.until(lambda: len(rig.pictures) == 2)
    await rig.stop()
    assert rig.wrapped.stats().callback_errors == 2
    assert caplog.text.count("a frame callback failed") == 1


async def test_a_new_stream_is_followed_and_the_old_one_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace_decoder(monkeypatch, as_picture)
    rig = Rig()
    await rig.start()
    await rig.packet(KEY, 0, ssrc=5)
    rig.sequence = 40_000
    await rig.packet(KEY, 90_000, ssrc=6)
    await rig.packet(KEY, 3000, ssrc=5)
    rig.sequence -= 1
    await rig.packet(DELTA, 93_000, ssrc=6)
    await rig.until(lambda: len(rig.pictures) == 3)
    assert [picture["rtp_timestamp"] for picture in rig.pictures] == [0, 90_000, 93_000]
    await rig.stop()


async def test_reports_are_passed_on_and_a_pause_is_not_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace_decoder(monkeypatch, as_picture)
    rig = Rig()
    await rig.start()
    info = RtcpSenderInfo(ntp_timestamp=7 << 32, rtp_timestamp=9, packet_count=1, octet_count=1)
    await rig.receiver._handle_rtcp_packet(RtcpSrPacket(ssrc=5, sender_info=info))
    assert [report[:3] for report in rig.reports] == [(5, 7 << 32, 9)]
    await rig.receiver._handle_rtcp_packet(RtcpByePacket(sources=[5]))
    await rig.packet(KEY, 0)
    await rig.until(lambda: len(rig.pictures) == 1)
    await rig.stop()


async def test_stopping_ends_the_thread_and_delivers_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace_decoder(monkeypatch, as_picture)
    rig = Rig()
    await rig.start()
    thread = rig.receiver._RTCRtpReceiver__decoder_thread
    await rig.wrapped.stop()
    thread.join(5)
    assert not thread.is_alive()
    await rig.packet(KEY, 0)
    await rig.receiver.stop()
    assert rig.pictures == []
    assert rig.n_ended == 1


async def test_a_missing_packet_is_asked_for_on_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_decoder(monkeypatch, as_picture)
    rig = Rig()
    rig.wrapped.set_round_trip(0)
    await rig.start()
    await rig.packet(KEY, 0)
    rig.sequence += 1
    await rig.packet(DELTA, 6000)
    await rig.until(lambda: rig.wrapped.stats().nacks_sent >= 3)  # no packet comes meanwhile
    await rig.until(lambda: rig.wrapped.stats().keyframe_requests >= 1)
    assert rig.wrapped.stats().holes_abandoned == 1
    await rig.stop()


async def test_wrapping_needs_a_track_and_a_receiver_not_yet_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace_decoder(monkeypatch, as_picture)
    rig = Rig()
    await rig.start()
    with pytest.raises(TransportError, match="already started"):
        _wrap(rig.receiver)
    await rig.stop()
    bare: Any = RTCRtpReceiver("video", rig.transport)  # type: ignore[arg-type]
    with pytest.raises(TransportError, match="no track"):
        _wrap(bare)


def _wrap(receiver: RTCRtpReceiver) -> WrappedReceiver:
    return wrap_receiver(
        receiver,
        on_picture=lambda picture, **times: None,
        on_sender_report=lambda *report: None,
        on_ended=lambda: None,
    )


async def test_the_coroutine_handed_to_the_loop_is_a_good_one() -> None:
    from detect.rtc.decoding import _DONE

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await _DONE
        await asyncio.create_task(_DONE)
        with pytest.raises(KeyError):
            _DONE.throw(KeyError())
        _DONE.close()
