"""The dashboard: cards around one view, kept up to date by one task per page."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as w
from ipywebrtc import CameraStream

from detect.dashboard import markup
from detect.dashboard.cards import (
    ControlsCard,
    CountsCard,
    DevicesCard,
    ModeCard,
    PairingCard,
    SessionCard,
    card,
    set_class,
)
from detect.dashboard.charts import FPS, LATENCY, STAGES, LiveChart, StackedChart
from detect.dashboard.client import ServerClient, Status, Stream
from detect.dashboard.jobs import Jobs, LatestChange
from detect.dashboard.presence import Presence
from detect.dashboard.series import RecentRows, group_medians_ms
from detect.dashboard.view import DetectionView
from detect.errors import DetectError

logger = logging.getLogger(__name__)

PERIOD_S = 0.5
"""Two figures a second read as live, and three charts at that rate cost 7 % of a core."""
HIDDEN_PERIOD_S = 2.0
PAIRING_PERIOD_S = 5.0
"""A used code is replaced this soon on the card."""
NOTICE_S = 8.0

CAMERA_CONSTRAINTS = {
    "audio": False,
    "video": {
        "width": {"ideal": 640},
        "height": {"ideal": 480},
        "frameRate": {"ideal": 30},
    },
}


def watched_stream(status: Status, wanted: str | None) -> Stream | None:
    """Return the stream ``wanted``, else the newest that is live, else any that connects."""
    by_id = {stream.stream_id: stream for stream in status.streams}
    if wanted in by_id:
        return by_id[wanted]
    present = [s for s in status.streams if s.state in ("live", "stalled", "connecting")]
    return min(present, key=lambda s: (not s.is_live, s.since_s or 0.0), default=None)


class Charts:
    """Three charts fed from the status and the samples of one stream."""

    def __init__(self) -> None:
        self.latency = LiveChart("Latency", LATENCY, "ms")
        self.fps = LiveChart("Rate", FPS, "fps")
        self.stages = StackedChart("Where the time goes", STAGES, "ms")
        self.widget = w.Box().add_class("detect-charts")
        self._all = (self.latency, self.fps, self.stages)
        self._recent = RecentRows()

    def add(self, time_s: float, stream: Stream | None, rows: Mapping[str, Sequence[Any]]) -> None:
        """Remember one point per chart from new ``rows``; gaps where ``stream`` is None."""
        if stream is None:
            self._recent.clear()
        self._recent.add(time_s, rows)
        self._add_latency(time_s, stream)
        self.fps.add(time_s, _rates(stream))
        self.stages.add(time_s, group_medians_ms(self._recent))

    def _add_latency(self, time_s: float, stream: Stream | None) -> None:
        figures, note = self._recent.percentiles("latency"), None
        # Nobody may have drawn the newest frames yet; the status looks back further.
        if figures is None and stream is not None and stream.latency_ms is None:
            figures = self._recent.percentiles("processing")
            note = "processing only: clocks are not synchronised"
        self.latency.set_title_note(note)
        self.latency.add(time_s, figures or {})

    def clear(self) -> None:
        """Another stream: its figures have nothing to do with the old ones."""
        self._recent.clear()
        for chart in self._all:
            chart.clear()

    def redraw(self) -> None:
        """Send the points to the page."""
        if not self.widget.children:
            # Not before there is something to see: bqplot logs errors when drawn without a size.
            self.widget.children = self._all
        for chart in self._all:
            chart.redraw()


def _rates(stream: Stream | None) -> dict[str, float | None]:
    if stream is None:
        return {}
    return {
        "camera": stream.camera_fps,
        "processed": stream.processed_fps,
        "shown": stream.shown_fps,
    }


class Dashboard(w.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Everything on one page; ``start()`` brings it to life.

    Parameters
    ----------
    client : ServerClient, optional
        How to reach the media server; by default :func:`detect.dashboard.client.find_server`.
    view : DetectionView, optional
        The picture; by default one that watches the newest phone.
    presence : Presence, optional
        When to stop because nobody looks.
    """

    def __init__(
        self,
        client: ServerClient | None = None,
        *,
        view: DetectionView | None = None,
        presence: Presence | None = None,
    ) -> None:
        self.client = client or ServerClient()
        self.view = view or DetectionView()
        self.presence = presence or Presence()
        self.jobs = Jobs(self._say)
        self._changes = LatestChange(self._send_settings)
        self._task: asyncio.Task[None] | None = None
        self._camera: CameraStream | None = None
        self._stream: Stream | None = None
        self._next_seq = 0
        self._pairing_due_s = 0.0
        self._notice_until_s = 0.0
        self._settings_error = ""
        self._device_ids: tuple[str, ...] = ()
        self._stream_ids: set[str] = set()
        self._has_models = False
        self._make_cards()
        super().__init__(self._layout())
        self.add_class("detect-dash").add_class("is-waiting")
        self.view.on_page(self.presence.on_page)

    def _make_cards(self) -> None:
        self.pairing = PairingCard(on_renew=self._renew, on_camera=self._set_camera)
        self.devices = DevicesCard(on_watch=self._watch, on_remove=self._remove)
        self.controls = ControlsCard(on_change=self._change)
        self.counts = CountsCard()
        self.mode = ModeCard()
        self.session = SessionCard(self.view, on_export=self._export)
        self.charts = Charts()
        self._header = w.HTML(markup.header(None, None)).add_class("detect-header")
        self._notice = w.HTML().add_class("detect-notice")

    def _layout(self) -> Sequence[w.Widget]:
        side = w.VBox([self.devices.widget, self.counts.widget, self.controls.widget])
        grid = w.Box(
            [
                self.pairing.widget,
                card([self.view], "detect-view-card"),
                side.add_class("detect-side"),
                self.charts.widget,
                self.mode.widget,
                self.session.widget,
            ]
        )
        return self._header, self._notice, grid.add_class("detect-grid")

    # ── life ────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Follow the media server from now on; call it in the notebook's last cell."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End the task and what the user set off; may be called again."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self.jobs.close()
        await self.client.close()

    async def _run(self) -> None:
        while True:
            await self.presence.wait()
            await self.tick()
            await asyncio.sleep(PERIOD_S if self.view.is_visible else HIDDEN_PERIOD_S)

    async def tick(self) -> None:
        """Ask once, show once."""
        try:
            await self._refresh()
        except DetectError as error:
            self._show_down(str(error))
        except Exception:
            logger.exception("the dashboard could not be brought up to date")
            self._say("Something went wrong; the kernel's log has the details.")

    # ── from the server to the page ─────────────────────────────────────────────────────────

    async def _refresh(self) -> None:
        status = await self.client.status()
        if not self._has_models:
            self.controls.set_choices(await self.client.models())
            self._has_models = True
        self._show(status)
        await self._refresh_pairing(status)
        await self._refresh_charts()

    def _show(self, status: Status) -> None:
        self._stop_watching_what_is_gone(status)
        self._follow(watched_stream(status, self.view.stream_id or self.view.shown_stream))
        stream = self._stream
        has_phone = stream is not None and stream.state != "ended"
        set_class(self, "is-down", on=False)
        set_class(self, "is-live", on=has_phone)
        set_class(self, "is-waiting", on=not has_phone)
        self._header.value = markup.header(status, stream)
        if time.monotonic() >= self._notice_until_s:
            self._notice.value = ""
        self.devices.show(status.streams, stream.stream_id if stream else None)
        self.counts.show(stream, status.model.class_names)
        self.mode.show(status)
        self.session.show(stream)
        self._show_controls(status)

    def _show_controls(self, status: Status) -> None:
        if self._changes.is_idle:
            self.controls.show(status.settings)
        model = status.model
        if self._settings_error:
            self.controls.set_note(self._settings_error, is_error=True)
        elif model.state == "loading":
            self.controls.set_note(model.message or f"Loading {model.name or 'the model'}…")
        else:
            self.controls.set_note(model.message, is_error=model.state in ("failed", "none"))

    def _show_down(self, words: str) -> None:
        self._header.value = markup.header(None, None)
        self._say(words, for_s=0)  # gone as soon as the server is back
        set_class(self, "is-down", on=True)
        self._pairing_due_s = 0.0  # a restarted server has other codes
        self._has_models = False

    def _stop_watching_what_is_gone(self, status: Status) -> None:
        """Watch the newest again when the wanted stream is no longer there.

        One that was never listed may be newer than ``status``.
        """
        ids = {stream.stream_id for stream in status.streams}
        if self.view.stream_id in self._stream_ids - ids:
            self.view.stream_id = None
        self._stream_ids = ids

    def _follow(self, stream: Stream | None) -> None:
        old = self._stream.stream_id if self._stream else None
        if stream is not None and stream.stream_id != old:
            self.charts.clear()
            self._next_seq = 0
        self._stream = stream

    async def _refresh_pairing(self, status: Status) -> None:
        self.pairing.tick()
        ids = tuple(stream.stream_id for stream in status.streams)
        is_due = time.monotonic() >= self._pairing_due_s or ids != self._device_ids
        if not is_due or not self.view.is_visible:
            return
        self._device_ids = ids
        self._pairing_due_s = time.monotonic() + PAIRING_PERIOD_S
        self.pairing.show(await self.client.pairing())

    async def _refresh_charts(self) -> None:
        stream = self._stream
        rows: Mapping[str, Sequence[Any]] = {}
        if stream is not None and stream.is_live:
            samples = await self.client.samples(stream.stream_id, self._next_seq)
            self._next_seq = samples.next_seq
            rows = samples.rows
        if stream is not None:
            self.charts.add(time.monotonic(), stream if stream.is_live else None, rows)
        if self.view.is_visible and stream is not None:
            self.charts.redraw()

    # ── from the user to the server ─────────────────────────────────────────────────────────

    def _say(self, words: str, *, for_s: float = NOTICE_S) -> None:
        self._notice.value = markup.notice(words)
        self._notice_until_s = time.monotonic() + for_s

    def _renew(self) -> None:
        async def renew() -> None:
            self.pairing.show(await self.client.pairing(renew=True))

        self.jobs.start(renew())

    def _watch(self, stream_id: str) -> None:
        self.view.stream_id = stream_id

    def _remove(self, stream_id: str) -> None:
        async def remove() -> None:
            if self.view.stream_id == stream_id:
                self.view.stream_id = None
            await self.client.remove_stream(stream_id)
            await self.tick()

        self.jobs.start(remove())

    def _change(self, name: str, value: str | float) -> None:
        if self._changes.put(name, value):
            self.jobs.start(self._changes.flush())

    async def _send_settings(self, changes: dict[str, str | float]) -> None:
        try:
            await self.client.change_settings(**changes)
            self._settings_error = ""
        except DetectError as error:
            self._settings_error = str(error)
        self.controls.set_note(self._settings_error, is_error=True)

    def _export(self) -> None:
        async def export() -> None:
            if self._stream is None:
                self._say("There is nothing to export yet: connect a phone first.")
                return
            content = await self.client.metrics_json(self._stream.stream_id)
            self.view.download("metrics.json", content)

        self.jobs.start(export())

    def _set_camera(self, on: bool) -> None:
        camera, self._camera = self._camera, None
        if on:
            self._camera = CameraStream(constraints=CAMERA_CONSTRAINTS)
        self.view.source = self._camera
        if camera is not None:
            camera.close()  # puts the camera's light out
        self.pairing.set_camera(is_on=on)
