"""What the wrapped receive path saves: aiortc as it is against detect's, clean and with one loss.

Two aiortc peers in this process, 640x480 VP8 at 30 frames/s. Printed per path: time from a frame's
last packet being sent to its decoded picture, and the longest time without a picture.

    python -m bench.receive_path [--seconds 12]
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated

import aiortc
import typer
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from bench.stats import QUANTILES, percentiles
from detect.clock import now_ns
from detect.rtc.session import PhoneSession
from detect.types import Frame
from tests.integration.peers import FakePhone, Outgoing

LOSS_AT_FRAME = 90


class Wire:
    """Notes when each frame's last packet leaves; may lose one packet and all its repeats."""

    def __init__(self, *, loses_one: bool) -> None:
        self.sent_ns: dict[int, int] = {}
        self._loses_one = loses_one
        self._victim: int | None = None

    def __call__(self, packet: Outgoing) -> list[bytes]:
        """Script of a :class:`FakePhone`."""
        if not packet.is_repeat:
            self.sent_ns[packet.timestamp] = now_ns()
        if self._loses_one and self._victim is None and len(self.sent_ns) > LOSS_AT_FRAME:
            self._victim = packet.sequence
        return [] if packet.sequence == self._victim else [packet.data]


class Pictures:
    """When each picture was there, by raw RTP timestamp."""

    def __init__(self) -> None:
        self.shown_ns: dict[int, int] = {}

    def take(self, rtp_timestamp: int) -> None:
        """Note one."""
        self.shown_ns[rtp_timestamp] = now_ns()


async def run_wrapped(phone: FakePhone, pictures: Pictures, seconds: float) -> None:
    """Receive with detect's session."""

    def on_frame(frame: Frame) -> None:
        pictures.take(frame.rtp_timestamp)

    session = PhoneSession(
        stream_id="bench", ice_servers=(), on_frame=on_frame, on_state=lambda state: None
    )
    try:
        await phone.accept(await session.answer(await phone.offer()))
        await asyncio.sleep(seconds)
    finally:
        await session.close()


async def run_stock(phone: FakePhone, pictures: Pictures, seconds: float) -> None:
    """Receive with aiortc alone, reading as fast as frames come."""
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pumps: list[asyncio.Task[None]] = []
    origin = asyncio.get_running_loop().create_future()

    async def pump(track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if not origin.done():
                assert isinstance(phone.script, Wire)
                origin.set_result(next(iter(phone.script.sent_ns)))
            assert frame.pts is not None
            pictures.take((origin.result() + frame.pts) % 2**32)

    pc.on("track", lambda track: pumps.append(asyncio.ensure_future(pump(track))))
    try:
        await pc.setRemoteDescription(RTCSessionDescription(await phone.offer(), "offer"))
        await pc.setLocalDescription(await pc.createAnswer())
        await phone.accept(pc.localDescription.sdp)
        await asyncio.sleep(seconds)
    finally:
        await pc.close()
        await asyncio.gather(*pumps)


async def measure(name: str, run: Callable[..., object], *, loses_one: bool, seconds: float) -> str:
    """One row of the table."""
    wire, pictures = Wire(loses_one=loses_one), Pictures()
    phone = FakePhone(script=wire)
    try:
        await run(phone, pictures, seconds)  # type: ignore[misc]
    finally:
        await phone.close()
    shown = pictures.shown_ns
    latencies_ms = [(shown[ts] - wire.sent_ns[ts]) / 1e6 for ts in shown if ts in wire.sent_ns]
    tail_ms = latencies_ms[-30:]
    longest_ms = max(b - a for a, b in pairwise(shown.values())) / 1e6
    figures = percentiles(latencies_ms)
    p50, p95, p99, tail_p50 = (
        "—" if value is None else f"{value:.1f}"
        for value in (*(figures[name] for name in QUANTILES), percentiles(tail_ms)["p50"])
    )
    return (
        f"{name:<16} {'one packet' if loses_one else 'none':<11} {len(latencies_ms):>6} "
        f"{p50:>8} {p95:>8} {p99:>8} {tail_p50:>12} {longest_ms:>14.0f}"
    )


async def measure_all(seconds: float) -> None:
    """Print the table."""
    typer.echo(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"aiortc {aiortc.__version__}, load {os.getloadavg()[0]:.1f}"
    )
    typer.echo(
        f"{'path':<16} {'lost':<11} {'frames':>6} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} "
        f"{'last 30 p50':>12} {'longest gap ms':>14}"
    )
    for loses_one in (False, True):
        for name, run in (("aiortc", run_stock), ("detect", run_wrapped)):
            typer.echo(await measure(name, run, loses_one=loses_one, seconds=seconds))


def main(seconds: Annotated[float, typer.Option(help="Of each of the four runs.")] = 12.0) -> None:
    """Compare aiortc's receive path with detect's, clean and with one lost packet."""
    asyncio.run(measure_all(seconds))


if __name__ == "__main__":
    typer.run(main)
