"""The cards of the dashboard: each owns its widgets, shows values, and reports what the user did.

A card knows nothing of the server: what was pressed leaves through callbacks, and what is to be
seen comes in through ``show``. Setting a widget to the value it has costs no message.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape

import ipywidgets as w
from ipywebrtc import ImageRecorder, VideoRecorder

from detect.dashboard import markup
from detect.dashboard.client import ModelChoice, Pairing, Settings, Status, Stream
from detect.dashboard.view import DetectionView


def set_class(widget: w.DOMWidget, name: str, *, on: bool) -> None:
    """Add or remove a CSS class, with no message when nothing changes."""
    if on == (name in widget._dom_classes):
        return
    (widget.add_class if on else widget.remove_class)(name)


def card(children: Sequence[w.Widget], *names: str) -> w.VBox:
    """A rounded box."""
    box = w.VBox(list(children)).add_class("detect-card")
    for name in names:
        box.add_class(name)
    return box


def button(
    text: str, on_click: Callable[[], None], *, tooltip: str = "", style: str = ""
) -> w.Button:
    """A button in the dashboard's look; ``style`` is an extra CSS class."""
    made = w.Button(description=text, tooltip=tooltip or text).add_class("detect-button")
    if style:
        made.add_class(style)
    made.on_click(lambda _: on_click())
    return made


class PairingCard:
    """QR code, address, time left, and the computer's own camera as an alternative."""

    def __init__(self, *, on_renew: Callable[[], None], on_camera: Callable[[bool], None]) -> None:
        self._code: Pairing | None = None
        self._until_s = 0.0
        self._is_camera_on = False
        self._on_camera = on_camera
        self._body = w.HTML(markup.pairing(None))
        self._expiry = w.HTML().add_class("detect-expiry")
        self._camera = button("Use this computer's camera", self._toggle_camera, style="is-quiet")
        actions = w.HBox([button("New code", on_renew), self._camera, self._expiry])
        self.widget = card([self._body, actions.add_class("detect-actions")], "detect-pairing")

    @property
    def remaining_s(self) -> float | None:
        """Life of the shown code; None when none is shown."""
        return None if self._code is None else self._until_s - time.monotonic()

    def show(self, code: Pairing) -> None:
        """Show this code from now on."""
        self._until_s = time.monotonic() + code.expires_s
        if self._code is None or code.url != self._code.url:
            self._body.value = markup.pairing(code)
        self._code = code
        self.tick()

    def tick(self) -> None:
        """Count down."""
        self._expiry.value = markup.expiry(self.remaining_s)

    def set_camera(self, *, is_on: bool) -> None:
        """The computer's own camera is a source now, or no longer."""
        self._is_camera_on = is_on
        self._camera.description = (
            "Stop this computer's camera" if is_on else "Use this computer's camera"
        )

    def _toggle_camera(self) -> None:
        self._on_camera(not self._is_camera_on)


class DevicesCard:
    """The connected phones: which one is watched, and a way to remove each."""

    def __init__(
        self, *, on_watch: Callable[[str], None], on_remove: Callable[[str], None]
    ) -> None:
        self._on_watch, self._on_remove = on_watch, on_remove
        self._lines: dict[str, w.HTML] = {}
        self._rows: dict[str, w.HBox] = {}
        self._list = w.VBox().add_class("detect-devices")
        self.widget = card([w.HTML("<h3>Phones</h3>"), self._list], "detect-devices-card")

    def show(self, streams: Sequence[Stream], watched: str | None) -> None:
        """List these; ``watched`` is marked."""
        if list(self._lines) != [stream.stream_id for stream in streams]:
            self._rebuild(streams)
        for stream in streams:
            self._lines[stream.stream_id].value = markup.device(stream)
            set_class(self._rows[stream.stream_id], "is-watched", on=stream.stream_id == watched)

    def _rebuild(self, streams: Sequence[Stream]) -> None:
        old = self._list.children
        self._lines = {stream.stream_id: w.HTML() for stream in streams}
        self._rows = {stream_id: self._row(stream_id) for stream_id in self._lines}
        self._list.children = list(self._rows.values())
        for row in old:
            row.close()

    def _row(self, stream_id: str) -> w.HBox:
        watch = button("Watch", lambda: self._on_watch(stream_id), style="detect-watch")
        remove = button(
            "Remove",
            lambda: self._on_remove(stream_id),
            tooltip="Disconnect this phone; it needs a new code to come back",
            style="is-quiet",
        )
        return w.HBox([self._lines[stream_id], watch, remove]).add_class("detect-device")


class ControlsCard:
    """Model and thresholds. What the user changes leaves at once through ``on_change``."""

    def __init__(self, *, on_change: Callable[[str, str | float], None]) -> None:
        self._on_change = on_change
        self._is_showing = False
        self.model = w.Dropdown(description="Model")
        self.score = w.FloatSlider(
            description="Score", min=0.05, max=0.95, step=0.05, readout_format=".2f"
        )
        self.iou = w.FloatSlider(
            description="Overlap", min=0.05, max=0.95, step=0.05, readout_format=".2f"
        )
        self.score.tooltip = "Boxes the model is less sure of are left out"
        self.iou.tooltip = "Two boxes of a class that overlap more are taken for one object"
        self._note = w.HTML().add_class("detect-note")
        controls = (
            (self.model, "model"),
            (self.score, "score_threshold"),
            (self.iou, "iou_threshold"),
        )
        for control, name in controls:
            control.observe(lambda change, name=name: self._changed(name, change.new), "value")
        self.widget = card(
            [w.HTML("<h3>Detection</h3>"), self.model, self.score, self.iou, self._note],
            "detect-controls",
        )

    def set_choices(self, models: Sequence[ModelChoice]) -> None:
        """Offer these models; the one in use stays selected."""
        with self._showing():
            current = self.model.value
            self.model.options = [(_model_label(m), m.name) for m in models]
            if current is not None:
                self._select(current)

    def show(self, settings: Settings) -> None:
        """Show what the server uses, without sending it back."""
        with self._showing():
            self._select(settings.model)
            self.score.value = settings.score_threshold
            self.iou.value = settings.iou_threshold

    def set_note(self, text: str, *, is_error: bool = False) -> None:
        """Words below the controls."""
        self._note.value = escape(text)
        set_class(self._note, "is-error", on=is_error)

    def _select(self, name: str) -> None:
        if name not in {value for _, value in self.model.options}:
            self.model.options = [*self.model.options, (name, name)]
        self.model.value = name

    def _changed(self, name: str, value: str | float) -> None:
        if not self._is_showing and value is not None:
            self._on_change(name, value)

    @contextmanager
    def _showing(self) -> Iterator[None]:
        self._is_showing = True
        try:
            yield
        finally:
            self._is_showing = False


def _model_label(model: ModelChoice) -> str:
    words = [model.name]
    if model.ap50_95 is not None:
        words.append(f"AP {model.ap50_95:.2f}")
    if model.opt_in:
        words.append(model.licence)
    if not model.is_available:
        words.append("to be downloaded")
    return " · ".join(words)


class CountsCard:
    """What is in the newest picture, as bars."""

    def __init__(self) -> None:
        self._bars = w.HTML()
        self.widget = card([w.HTML("<h3>In the picture</h3>"), self._bars], "detect-counts")

    def show(self, stream: Stream | None, class_names: Sequence[str]) -> None:
        """Show the counts of ``stream``."""
        self._bars.value = markup.counts(stream, class_names)


class ModeCard:
    """Which mode runs, on what, and why."""

    def __init__(self) -> None:
        self._text = w.HTML()
        self.widget = card([self._text], "detect-mode")

    def show(self, status: Status) -> None:
        """Show what the server says of itself."""
        self._text.value = markup.mode(status.mode, status.model, status.version)


class SessionCard:
    """Take something home: the figures, a picture, a clip."""

    def __init__(self, view: DetectionView, *, on_export: Callable[[], None]) -> None:
        self._drops = w.HTML().add_class("detect-note")
        picture = ImageRecorder(stream=view, filename="detect-picture")
        clip = VideoRecorder(stream=view, filename="detect-clip")
        recorders = w.VBox(
            [
                w.HTML("<p>A picture, or a clip, with the boxes in it.</p>"),
                w.HBox([picture, clip]).add_class("detect-recorders"),
            ]
        )
        accordion = w.Accordion([recorders], titles=("Record",), selected_index=None)
        export = button(
            "Export metrics.json",
            on_export,
            tooltip="Every frame's times, rates and counts of this session",
            style="is-primary",
        )
        self.widget = card(
            [w.HTML("<h3>This session</h3>"), self._drops, export, accordion], "detect-session"
        )

    def show(self, stream: Stream | None) -> None:
        """Show what was left out of ``stream``."""
        self._drops.value = markup.drops(stream)
