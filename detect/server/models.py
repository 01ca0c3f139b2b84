"""Loading and swapping the model while the server runs.

The server is ready before its model is: loading (and a download, at first) runs in a thread of its
own, one at a time. The present model keeps working until the next one is ready and warm; when the
next one fails, it stays, and the status says why.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from detect.errors import DetectError

if TYPE_CHECKING:
    from detect.vision.pipeline import Pipeline

logger = logging.getLogger(__name__)


class ModelState(StrEnum):
    """Where the model is."""

    LOADING = "loading"
    READY = "ready"
    NONE = "none"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The model part of ``GET api/status``."""

    state: ModelState = ModelState.NONE
    name: str = ""
    message: str = ""
    provider: str = ""
    threads: int = 0
    sha256: str = ""
    class_names: tuple[str, ...] = ()


class LoadPipeline(Protocol):
    """The part of :func:`detect.vision.pipeline.load_pipeline` used here."""

    def __call__(
        self, model: str, *, on_progress: Callable[[int, int], None] | None = None
    ) -> Pipeline:
        """Load ``model``; blocks."""
        ...


class _CancelledLoadError(Exception):
    """The server is closing: ends a download from inside its progress callback."""


class ModelHost:
    """Owner of the present model's status and of the thread that loads the next one.

    Parameters
    ----------
    load : LoadPipeline
        Loads a pipeline, blocking; runs in a thread.
    install : callable
        Takes a ready, warm pipeline into use (and closes the old one).
    on_change : callable
        Called on the loop after every change of :attr:`status`.

    Attributes
    ----------
    status : ModelStatus
        What runs, and what is being done.
    requested : str
        Model that was asked for last; the one in use again when that failed.
    """

    def __init__(
        self,
        *,
        load: LoadPipeline,
        install: Callable[[Pipeline], None],
        on_change: Callable[[ModelStatus], None],
    ) -> None:
        self._load = load
        self._install = install
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._waiting: str | None = None
        self._in_use = ""
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self.requested = ""
        self.status = ModelStatus()

    def request(self, model: str) -> None:
        """Load ``model`` and take it into use; a later request replaces one that waits."""
        self.requested = self._waiting = model
        if self._thread is None:
            self._start_next()

    def close(self, timeout_s: float = 1.0) -> None:
        """Give up loading. A load inside the runtime cannot be stopped; its thread is a daemon."""
        self._is_closed = True
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _start_next(self) -> None:
        model, self._waiting = self._waiting, None
        if model is None or self._is_closed:
            return
        self._set(replace(self.status, state=ModelState.LOADING, message=f"loading {model}"))
        self._thread = threading.Thread(
            target=self._run, args=(model,), name="detect-model-load", daemon=True
        )
        self._thread.start()

    def _run(self, model: str) -> None:
        """Body of the loading thread."""
        pipeline: Pipeline | None = None
        failure = ""
        try:
            pipeline = self._load(model, on_progress=self._on_progress)
            pipeline.warm_up()
        except _CancelledLoadError:
            return
        except DetectError as error:
            failure = str(error)
        except Exception as error:  # a runtime's own exception must not end the server
            logger.exception("loading %s failed", model)
            failure = f"loading {model} failed: {error!r}"
        if self._is_closed and pipeline is not None:
            pipeline.close()
            return
        self._call_loop(self._finish, model, None if failure else pipeline, failure)

    def _on_progress(self, done_bytes: int, total_bytes: int) -> None:
        if self._is_closed:
            raise _CancelledLoadError
        percent = 100 * done_bytes // max(total_bytes, 1)
        self._call_loop(self._on_percent, percent)

    def _on_percent(self, percent: int) -> None:
        message = f"downloading the model: {percent} %"
        if self.status.state is ModelState.LOADING and self.status.message != message:
            self._set(replace(self.status, message=message))

    def _call_loop(self, function: Callable[..., None], *args: object) -> None:
        if self._is_closed:
            return
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # closed between the check and the call
            logger.debug("the loop is gone; loading ends")

    def _finish(self, model: str, pipeline: Pipeline | None, failure: str) -> None:
        """On the loop: the load has ended."""
        self._thread = None
        if self._is_closed:
            if pipeline is not None:
                pipeline.close()
            return
        if pipeline is not None:
            self._in_use = model
            self._take(pipeline)
        else:
            if self._waiting is None and self._in_use:
                self.requested = self._in_use
            self._set(self._failed(failure))
        self._start_next()

    def _take(self, pipeline: Pipeline) -> None:
        spec = pipeline.spec
        self._install(pipeline)
        self._set(
            ModelStatus(
                state=ModelState.READY,
                name=spec.name,
                message=pipeline.notice or "",
                provider=pipeline.provider,
                threads=pipeline.threads,
                sha256=spec.sha256,
                class_names=tuple(spec.class_names),
            )
        )

    def _failed(self, failure: str) -> ModelStatus:
        if not self.status.name:
            return ModelStatus(state=ModelState.FAILED, message=failure)
        message = f"{failure} ({self.status.name} stays in use)"
        return replace(self.status, state=ModelState.READY, message=message)

    def _set(self, status: ModelStatus) -> None:
        self.status = status
        self._on_change(status)
