"""The picture on the dashboard: a widget that is an ipywebrtc stream as well.

The page fetches pictures from the media server itself; this class holds the few, slow traits that
say what to show and what is being shown. ``docs/decisions/0005-dashboard-view.md`` says why.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import anywidget
import traitlets as t
from ipywebrtc import MediaStream
from ipywidgets import widget_serialization

from detect.errors import ConfigError
from detect.resources import static_dir

HERE = Path(__file__).parent

PageEvent: TypeAlias = Literal["heartbeat", "bye"]

STREAM_STATES = ("waiting", "connecting", "live", "stalled", "ended")


def bundle_name() -> str:
    """File name of the built front-end, empty when it has not been built."""
    try:
        assets = json.loads((static_dir() / "assets.json").read_text("utf-8"))
        return str(assets["view.js"])
    except (ConfigError, OSError, ValueError, KeyError):
        return ""


class DetectionView(anywidget.AnyWidget, MediaStream):  # type: ignore[misc]  # untyped base
    """Live picture of one stream with the objects a model sees in it.

    Any number of views may watch one stream. It is an :class:`ipywebrtc.MediaStream`, so that
    ``ipywebrtc.ImageRecorder(stream=view)`` records the annotated picture, and it takes one as
    ``source``, so that the computer's own camera can stand in for a phone.

    Parameters
    ----------
    **traits
        Values of the traits below; an unknown name is a ``TypeError``.

    Attributes
    ----------
    stream_id : str or None
        Stream to watch; None is the newest live one.
    source : ipywebrtc.MediaStream or None
        Camera or video of the page to send to the media server and then watch.
    server_url : str
        Where the page reaches the media server; empty is ``detect/`` below Jupyter's base URL.
    state : str
        What the watched stream does: one of :data:`STREAM_STATES`.
    shown_stream : str or None
        The stream that is watched in fact.
    message : str
        Words about the state.
    connection : str
        ``connecting``, ``open`` or ``closed``: the page's connection to the media server.
    is_visible : bool
        False while the page is in the background.
    """

    _esm = HERE / "view.js"
    _css = HERE / "style.css"

    _self_id = t.Unicode().tag(sync=True)
    _bundle = t.Unicode().tag(sync=True)
    server_url = t.Unicode().tag(sync=True)
    stream_id = t.Unicode(None, allow_none=True).tag(sync=True)
    source = t.Instance(MediaStream, allow_none=True).tag(sync=True, **widget_serialization)
    state = t.Enum(STREAM_STATES, default_value="waiting").tag(sync=True)
    shown_stream = t.Unicode(None, allow_none=True).tag(sync=True)
    message = t.Unicode().tag(sync=True)
    connection = t.Enum(("connecting", "open", "closed"), default_value="connecting").tag(sync=True)
    is_visible = t.Bool(default_value=True).tag(sync=True)

    def __init__(self, **traits: Any) -> None:  # noqa: ANN401  # whatever the traits take
        unknown = [name for name in traits if not self.has_trait(name)]
        if unknown:
            raise TypeError(f"DetectionView has no trait {unknown[0]!r}")
        # The id must be known before the model is opened: JupyterLab builds its side at once, and
        # that side cannot ask for its own id (measured: set afterwards, recorders find no stream).
        model_id = uuid.uuid4().hex
        self._listeners: list[Callable[[PageEvent], None]] = []
        self._heard_s: float | None = None
        super().__init__(model_id=model_id, _self_id=model_id, _bundle=bundle_name(), **traits)
        self.on_msg(self._on_message)

    @property
    def silence_s(self) -> float | None:
        """Seconds since a page spoke; None before its first word and after its goodbye."""
        return None if self._heard_s is None else time.monotonic() - self._heard_s

    def on_page(self, listener: Callable[[PageEvent], None]) -> None:
        """Call ``listener`` with every heartbeat and goodbye of a page."""
        self._listeners.append(listener)

    def download(self, name: str, content: bytes, mime: str = "application/json") -> None:
        """Hand a file to the person in front of the page."""
        self.send({"type": "download", "name": name, "mime": mime}, buffers=[content])

    def _on_message(self, _: object, content: object, __: object) -> None:
        event = content.get("type") if isinstance(content, dict) else None
        if event == "heartbeat":
            self._heard_s = time.monotonic()
        elif event == "bye":
            self._heard_s = None
        else:
            return
        for listener in self._listeners:
            listener(event)
