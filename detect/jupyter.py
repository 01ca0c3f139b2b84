"""Jupyter server extension: frees the kernels of pages that were closed.

Voila starts a kernel per page, and its good-bye message is refused for want of an XSRF cookie
(voila#1458), so the kernels of closed pages would pile up. Such a kernel belongs to no Jupyter
session and has no WebSocket; when both were true for :data:`GRACE_S` it is shut down. Kernels of
notebooks opened in JupyterLab have a session and are never touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

GRACE_S = 30.0
"""A page that is still loading, or reconnecting, has no WebSocket either."""
CHECK_EVERY_S = 5.0


class KernelReaper:
    """Decides which kernels nobody looks at any more.

    Parameters
    ----------
    grace_s : float
        How long a kernel may be without session and connection.
    now_s : callable
        A clock in seconds; tests pass their own.
    """

    def __init__(
        self, *, grace_s: float = GRACE_S, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._grace_s = grace_s
        self._now_s = now_s
        self._alone_since_s: dict[str, float] = {}

    def overdue(
        self, kernels: Iterable[Mapping[str, Any]], in_session: Collection[str]
    ) -> list[str]:
        """Ids of the kernels to shut down now.

        Parameters
        ----------
        kernels : iterable of mapping
            Kernel models of the Jupyter server, with ``id`` and ``connections``.
        in_session : collection of str
            Ids of the kernels that belong to a Jupyter session.
        """
        now_s = self._now_s()
        alone = {
            str(kernel["id"])
            for kernel in kernels
            if not kernel["connections"] and kernel["id"] not in in_session
        }
        self._alone_since_s = {
            kernel_id: self._alone_since_s.get(kernel_id, now_s) for kernel_id in alone
        }
        return sorted(
            kernel_id
            for kernel_id, since_s in self._alone_since_s.items()
            if now_s - since_s >= self._grace_s
        )


async def reap(app: ServerApp, reaper: KernelReaper) -> list[str]:
    """Shut down the kernels that are overdue; returns their ids."""
    from jupyter_core.utils import ensure_async

    kernel_manager: Any = app.kernel_manager  # not annotated upstream
    kernels = await ensure_async(kernel_manager.list_kernels())
    sessions = await ensure_async(app.session_manager.list_sessions())
    in_session = {session["kernel"]["id"] for session in sessions if session.get("kernel")}
    overdue = reaper.overdue(kernels, in_session)
    for kernel_id in overdue:
        app.log.info("Shutting down kernel %s: its page was closed", kernel_id)
        try:
            await ensure_async(kernel_manager.shutdown_kernel(kernel_id, now=True))
        except KeyError:  # it ended by itself in the meantime
            app.log.debug("Kernel %s was gone already", kernel_id)
    return overdue


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "detect.jupyter"}]


def _load_jupyter_server_extension(app: ServerApp) -> None:
    """Start looking for left kernels; it ends with the server's loop.

    Configuration ``KernelReaper``: ``grace_s`` and ``check_every_s``.
    """
    from tornado.ioloop import PeriodicCallback

    settings = app.config.get("KernelReaper", {})
    reaper = KernelReaper(grace_s=settings.get("grace_s", GRACE_S))

    async def look() -> None:
        try:
            await reap(app, reaper)
        except Exception:  # the next look may succeed; the server must not suffer
            app.log.exception("Could not look for left kernels")

    callback = PeriodicCallback(look, settings.get("check_every_s", CHECK_EVERY_S) * 1000)
    app.web_app.settings["detect_kernel_reaper"] = callback  # keeps it alive
    callback.start()
