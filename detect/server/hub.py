"""The streams and what connects them: session → scheduler → metrics, phone, viewers.

Three threads meet here. Decoder threads bring frames (:meth:`Hub._on_frame`), the engine worker
brings results (:meth:`Hub._on_result`), everything else runs on the loop. From the worker to the
loop there is one place per stream: while the loop has not taken a result, a newer one replaces it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from detect.clock import NowNs, duration_ms, now_ns
from detect.config import DetectionSettings
from detect.flow.scheduler import FramePipeline, Scheduler
from detect.latest import LatestSlot
from detect.metrics import StreamMetrics
from detect.protocol import PhoneState, StreamChanged, build_results
from detect.rtc.session import SessionState
from detect.server.feed import SentPicture
from detect.server.pictures import Picture
from detect.server.sessions import NewSession, Session
from detect.server.viewers import Viewers
from detect.types import Frame, FrameResult, FrameTimes

logger = logging.getLogger(__name__)

MAX_STREAMS = 64
"""Streams remembered; beyond it the one that ended first is forgotten."""


class StreamKind(StrEnum):
    """Where a stream comes from."""

    PHONE = "phone"
    LOCAL = "local"


class StreamState(StrEnum):
    """State of a stream in the wire protocol."""

    WAITING = "waiting"
    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    ENDED = "ended"


# Which stream a page gets that asks for none: the most alive, then the newest.
_LIVENESS = {
    StreamState.ENDED: 0,
    StreamState.WAITING: 1,
    StreamState.CONNECTING: 2,
    StreamState.STALLED: 3,
    StreamState.LIVE: 4,
}


@dataclass(frozen=True, slots=True, eq=False)
class _Outgoing:
    """What one result means for the loop."""

    picture: Picture
    text: str


@dataclass(slots=True, eq=False)
class Stream:
    """One source of frames, over all its connections.

    Attributes
    ----------
    since_ns : int
        When it was opened.
    changed_ns : int
        When its state last changed.
    left_ns : int or None
        When its phone said goodbye; None while it may come back.
    counts : dict
        Objects per class id in the newest frame.
    """

    stream_id: str
    name: str
    kind: StreamKind
    since_ns: int
    changed_ns: int
    metrics: StreamMetrics
    state: StreamState = StreamState.WAITING
    message: str = ""
    left_ns: int | None = None
    session: Session | None = None
    size_wh: tuple[int, int] | None = None
    counts: dict[int, int] = field(default_factory=dict)
    outlet: LatestSlot[_Outgoing] = field(default_factory=LatestSlot)
    connecting: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_active(self) -> bool:
        """Whether media may flow."""
        return self.session is not None


class Hub:
    """All streams of the server.

    Parameters
    ----------
    new_session : NewSession
        Makes the session of a connection.
    settings : DetectionSettings
        Thresholds to begin with.
    engine_delay_ms : float
        Handed to the scheduler.
    max_viewers : int
        Handed to :class:`~detect.server.viewers.Viewers`.
    on_shown : callable
        Told the times of every picture a viewer drew, for telemetry.
    now : callable
        Clock.
    """

    def __init__(
        self,
        *,
        new_session: NewSession,
        settings: DetectionSettings,
        engine_delay_ms: float = 0.0,
        max_viewers: int = 32,
        on_shown: Callable[[FrameTimes], None] = lambda times: None,
        now: NowNs = now_ns,
    ) -> None:
        self._new_session = new_session
        self._on_shown = on_shown
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._streams: dict[str, Stream] = {}
        self.settings = settings
        self.last_engine_error = ""
        self.viewers = Viewers(self, max_viewers=max_viewers, now=now)
        self._scheduler = Scheduler(
            on_result=self._on_result,
            on_drop=self._on_drop,
            on_error=self._on_error,
            settings=settings,
            engine_delay_ms=engine_delay_ms,
            now=now,
        )

    def start(self) -> None:
        """Start the engine worker and the viewers' clock."""
        self._scheduler.start()
        self.viewers.start()

    async def close(self) -> None:
        """End every session, every viewer and the worker."""
        await self.viewers.close()
        sessions = [each.session for each in self._streams.values() if each.session is not None]
        await asyncio.gather(*(each.close() for each in sessions), return_exceptions=True)
        # Waiting for the worker in a thread keeps the loop free to finish what it has to send.
        await asyncio.to_thread(self._scheduler.close, 1.0)

    # Streams.

    @property
    def streams(self) -> tuple[Stream, ...]:
        """All streams, oldest first."""
        return tuple(self._streams.values())

    def get(self, stream_id: str) -> Stream | None:
        """Stream of this id."""
        return self._streams.get(stream_id)

    def open(self, name: str, kind: StreamKind, stream_id: str | None = None) -> Stream:
        """A new stream with no connection yet."""
        stream_id = stream_id or new_stream_id()
        now = self._now()
        stream = Stream(
            stream_id=stream_id,
            name=name,
            kind=kind,
            since_ns=now,
            changed_ns=now,
            metrics=StreamMetrics(stream_id, now=self._now),
        )
        self._streams[stream_id] = stream
        self._scheduler.add_stream(stream_id)
        self.viewers.on_stream_changed(stream_id)
        return stream

    async def connect(self, stream: Stream, offer_sdp: str) -> str:
        """Answer an offer; an earlier connection of the stream is closed.

        Raises
        ------
        TransportError
            If the offer cannot be answered.
        """
        async with stream.connecting:
            old, stream.session = stream.session, None
            if old is not None:
                await old.close()
            session = self._new_session(
                stream_id=stream.stream_id,
                on_frame=self._on_frame,
                on_state=lambda state: self._on_state(stream, session, state),
                on_phone_state=lambda state: self._on_phone_state(stream, state),
            )
            stream.session, stream.left_ns = session, None
            self._set_state(stream, StreamState.CONNECTING, "")
            try:
                return await session.answer(offer_sdp)
            except BaseException:
                stream.session = None
                self._set_state(stream, StreamState.WAITING, "")
                await session.close()
                raise

    async def end(self, stream: Stream, message: str, *, has_left: bool = False) -> None:
        """Close the stream's connection; the stream stays, with its measurements.

        With ``has_left`` it does not come back, and stays until another one is live.
        """
        if has_left:
            stream.left_ns = self._now()
        session, stream.session = stream.session, None
        self._set_state(stream, StreamState.ENDED, message)
        if session is not None:
            await session.close()

    async def remove(self, stream_id: str) -> None:
        """Close the stream's connection and forget it."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        self._forget(stream)
        session, stream.session = stream.session, None
        if session is not None:
            await session.close()

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.stream_id]
        self._scheduler.remove_stream(stream.stream_id)
        self.viewers.on_stream_changed(stream.stream_id)

    def surplus(self) -> list[str]:
        """Inactive streams beyond :data:`MAX_STREAMS`, those that changed longest ago first."""
        idle = sorted(
            (each for each in self._streams.values() if not each.is_active),
            key=lambda each: each.changed_ns,
        )
        n_surplus = max(0, len(self._streams) - MAX_STREAMS)
        return [each.stream_id for each in idle[:n_surplus]]

    # Model and settings.

    def set_pipeline(self, pipeline: FramePipeline | None) -> None:
        """Use another model from the next frame on."""
        self.last_engine_error = ""
        self._scheduler.set_pipeline(pipeline)

    def set_settings(self, settings: DetectionSettings) -> None:
        """Use other thresholds from the next frame on."""
        self.settings = settings
        self._scheduler.set_settings(settings)

    # What viewers ask (ViewerEvents).

    def resolve(self, requested: str | None) -> str | None:
        """Stream a viewer gets: the one it asked for, or the most alive and newest one."""
        if requested is not None:
            return requested
        best = max(self._streams.values(), key=_appeal, default=None)
        return best.stream_id if best is not None else None

    def describe(self, stream_id: str | None) -> StreamChanged:
        """State of a stream in the words of the protocol."""
        if stream_id is None:
            return StreamChanged(None, "waiting", "", "No phone is connected yet.")
        stream = self._streams.get(stream_id)
        if stream is None:
            return StreamChanged(stream_id, "ended", "", "This source was removed.")
        return StreamChanged(stream_id, stream.state.value, stream.name, stream.message)

    def on_drawn(self, sent: SentPicture, times: FrameTimes, error_ms: float | None) -> None:
        """A viewer drew a picture."""
        frame = sent.picture.result.frame
        stream = self._streams.get(frame.stream_id)
        if stream is not None:
            stream.metrics.on_shown(frame.rtp_timestamp, times, error_ms)
            self._on_shown(times)

    # What sessions say: state on the loop, frames in the decoder's thread.

    def _on_frame(self, frame: Frame) -> None:
        stream = self._streams.get(frame.stream_id)
        if stream is not None:
            stream.metrics.on_camera_frame(frame)
            self._scheduler.offer(frame)

    def _on_state(self, stream: Stream, session: Session, state: SessionState) -> None:
        if stream.session is not session:
            return  # the last words of a connection that was replaced
        if state is SessionState.ENDED:
            stream.session = None
        self._set_state(stream, StreamState(state.value), session.message)

    def _on_phone_state(self, stream: Stream, phone: PhoneState) -> None:
        if stream.session is not None and stream.state is not StreamState.ENDED:
            self._set_state(stream, stream.state, _phone_words(phone) or stream.session.message)

    def _set_state(self, stream: Stream, state: StreamState, message: str) -> None:
        if (stream.state, stream.message) == (state, message):
            return
        logger.debug("stream %s: %s: %s", stream.stream_id, state.value, message)
        stream.state, stream.message = state, message
        stream.changed_ns = self._now()
        if self._streams.get(stream.stream_id) is stream:
            self.viewers.on_stream_changed(stream.stream_id)
        if state is StreamState.LIVE:
            for other in self.streams:
                if other.left_ns is not None:
                    self._forget(other)

    # The engine worker's thread.

    def _on_result(self, result: FrameResult) -> None:
        stream = self._streams.get(result.frame.stream_id)
        if stream is None:
            return
        stream.metrics.on_result(result)
        stream.size_wh = result.frame.size_wh
        stream.counts = dict(Counter(result.detections.class_id.tolist()))
        picture = Picture(result)
        if self.viewers.is_wanted(stream.stream_id):
            picture.jpeg()
        outgoing = _Outgoing(picture, self._results_text(picture))
        if not stream.outlet.put(outgoing):  # else the loop has been called and not come yet
            self._loop.call_soon_threadsafe(self._deliver, stream)

    def _results_text(self, picture: Picture) -> str:
        frame = picture.result.frame
        now = self._now()
        captured_ns = frame.captured_ns
        return build_results(
            picture.result,
            picture.boxes,
            age_ms=None if captured_ns is None else duration_ms(captured_ns, now),
            processing_ms=duration_ms(frame.received_ns, now),
        )

    def _on_drop(self, stream_id: str, cause: str) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.metrics.on_drop(cause)

    def _on_error(self, stream_id: str, error: Exception) -> None:
        # The scheduler has logged it; the status repeats it until the model changes.
        self.last_engine_error = f"the model failed on a frame: {error}"

    # Back on the loop.

    def _deliver(self, stream: Stream) -> None:
        outgoing = stream.outlet.take()
        if outgoing is None:
            return
        self.viewers.show(outgoing.picture)
        if stream.session is not None:
            stream.session.send_results(outgoing.text)


def _phone_words(phone: PhoneState) -> str:
    """What the phone says about itself, when that explains why no picture comes."""
    if phone.track == "ended":
        return "The phone's camera was switched off."
    if not phone.visible:
        return "The phone shows another page or is locked."
    return "The phone paused its camera." if phone.track == "muted" else ""


def new_stream_id() -> str:
    """Short random name of a stream; no secret."""
    return secrets.token_hex(4)


def _appeal(stream: Stream) -> tuple[int, int]:
    return _LIVENESS[stream.state], stream.since_ns
