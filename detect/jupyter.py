"""Jupyter server extension: frees the kernels of closed pages, and opens the first page.

Voila starts a kernel per page, and its good-bye message is refused for want of an XSRF cookie
(voila#1458), so the kernels of closed pages would pile up. Such a kernel belongs to no Jupyter
session and has no WebSocket; when both were true for :data:`GRACE_S` it is shut down. Kernels of
notebooks opened in JupyterLab have a session and are never touched.

The browser is opened on a one-time address that leads to the dashboard: a browser's command line
can be read by everybody on the machine, so Jupyter's token must not stand on it, and the redirect
file Jupyter uses instead cannot be read by browsers in a sandbox (snap, flatpak).
"""

from __future__ import annotations

import secrets
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


class OneTimeCode:
    """A secret that is good once."""

    def __init__(self, code: str) -> None:
        self._code: str | None = code or None

    def take(self, code: str) -> bool:
        """Whether ``code`` is the one, and was not taken before."""
        if self._code is None or not secrets.compare_digest(code, self._code):
            return False
        self._code = None
        return True


def _add_open_handler(app: ServerApp, code: OneTimeCode, path: str) -> None:
    """Serve ``<base_url>detect-open/<code>``: a redirect to ``path`` that signs the browser in."""
    from jupyter_server.auth.decorator import allow_unauthenticated
    from jupyter_server.base.handlers import JupyterHandler
    from jupyter_server.utils import url_path_join
    from tornado.httputil import url_concat
    from tornado.web import HTTPError

    class OpenHandler(JupyterHandler):
        @allow_unauthenticated
        def get(self, given: str) -> None:
            if not code.take(given):
                raise HTTPError(404)
            self.set_header("Cache-Control", "no-store")
            address = url_path_join(self.base_url, path)
            self.redirect(url_concat(address, {"token": app.identity_provider.token}))

    web_app: Any = app.web_app  # not annotated upstream
    route = url_path_join(web_app.settings["base_url"], r"/detect-open/([\w-]+)")
    web_app.add_handlers(".*$", [(route, OpenHandler)])


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "detect.jupyter"}]


def _load_jupyter_server_extension(app: ServerApp) -> None:
    """Start looking for left kernels, which ends with the server's loop, and serve the first page.

    Configuration: ``KernelReaper`` with ``grace_s`` and ``check_every_s``; ``FirstPage`` with
    ``code`` and ``path``.
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
    if first_page := app.config.get("FirstPage"):
        _add_open_handler(app, OneTimeCode(first_page["code"]), first_page["path"])
