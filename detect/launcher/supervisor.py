"""The life of ``detect up``: start both servers, say where they are, watch them, end them."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import sys
import time
import webbrowser
from pathlib import Path

from rich.console import Console

from detect.errors import ServerError
from detect.launcher.children import kill_kernels
from detect.launcher.jupyter_config import JupyterPlan
from detect.launcher.jupyter_server import JupyterServer
from detect.launcher.media_server import MediaReady, MediaServer, RestartLimit
from detect.launcher.notebooks import notebooks_folder
from detect.launcher.options import UpOptions
from detect.launcher.progress import Addresses, Progress
from detect.launcher.runtime import make_runtime_dir
from detect.server.ports import bind_port

PATIENCE_S = 1.4
"""How long children may take to leave by themselves: all is gone within 2 s of Ctrl-C."""

STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


def run(options: UpOptions) -> None:
    """Blocking form of :class:`Supervisor` for the command line."""
    console = Console(stderr=options.as_json)
    progress = Progress(console, as_json=options.as_json)
    runtime_dir = make_runtime_dir()
    try:
        asyncio.run(_until_stopped(Supervisor(options, progress, runtime_dir)))
    except KeyboardInterrupt:  # where the loop cannot take signals (Windows)
        pass
    finally:
        kill_kernels(runtime_dir)
        shutil.rmtree(runtime_dir, ignore_errors=True)
    progress.good("Everything is stopped.")


async def _until_stopped(supervisor: Supervisor) -> None:
    """Run until a stop signal comes; a second one changes nothing, the end is bounded anyway."""
    running = asyncio.create_task(supervisor.run())
    _on_stop_signal(running)
    await asyncio.wait([running])
    if not running.cancelled():
        running.result()


def _on_stop_signal(task: asyncio.Task[None]) -> None:
    loop = asyncio.get_running_loop()
    is_stopping = False

    def stop() -> None:
        nonlocal is_stopping
        if not is_stopping:
            is_stopping = True
            task.cancel()

    for name in STOP_SIGNALS:
        if number := getattr(signal, name, None):
            if sys.platform == "win32":
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
            else:
                loop.add_signal_handler(number, stop)


class Supervisor:
    """Both servers of one ``detect up``."""

    def __init__(self, options: UpOptions, progress: Progress, runtime_dir: Path) -> None:
        self._options = options
        self._progress = progress
        ports = self._choose_ports()
        plan = JupyterPlan(
            port=ports["jupyter"],
            token=secrets.token_urlsafe(32),
            notebooks=notebooks_folder(options.notebooks),
            server_port=ports["local"],
            access_token=secrets.token_urlsafe(32),
            open_code=secrets.token_urlsafe(32),
        )
        self._jupyter_port = plan.port
        self._media = MediaServer(
            options,
            access_token=plan.access_token,
            lan_port=ports["lan"],
            local_port=ports["local"],
        )
        self._jupyter = JupyterServer(plan, runtime_dir=runtime_dir)

    async def run(self) -> None:
        """Start both, then watch them until cancelled.

        Raises
        ------
        ServerError
            When one of them cannot be started or brought back.
        """
        try:
            ready = await self._start()
            self._announce(ready)
            await self._watch()
        finally:
            await self._end()

    def _choose_ports(self) -> dict[str, int]:
        """Ports for the three listeners, all held until all are chosen: no two are the same."""
        wanted = {
            "lan": ("0.0.0.0", self._options.lan_port, "phones"),
            "local": ("127.0.0.1", self._options.local_port, "media server"),
            "jupyter": ("127.0.0.1", self._options.jupyter_port, "dashboard"),
        }
        bound = {}
        try:
            for name, (host, port, what) in wanted.items():
                bound[name] = bind_port(host, port, what=what)
        finally:
            for each in bound.values():
                each.socket.close()
        for each in bound.values():
            if each.notice:
                self._progress.note(each.notice)
        return {name: each.port for name, each in bound.items()}

    async def _start(self) -> MediaReady:
        """Start both servers at the same time."""
        # A task group wraps what a task raises; these two are gathered so that the first
        # ServerError comes out as it is.
        with self._progress.step(
            "Starting media server and Jupyter", "Media server and Jupyter answer"
        ):
            media = asyncio.create_task(self._media.start())
            jupyter = asyncio.create_task(self._jupyter.start())
            try:
                await asyncio.gather(media, jupyter)
            finally:
                for task in (media, jupyter):
                    task.cancel()
                await asyncio.wait([media, jupyter])
        return media.result()

    def _announce(self, ready: MediaReady) -> None:
        assert self._media.child is not None
        assert self._jupyter.child is not None
        addresses = Addresses(
            dashboard_url=self._jupyter.dashboard_url,
            lab_url=self._jupyter.lab_url,
            phone_url=ready.phone_url,
            pairing_url=ready.pairing_url,
            local_url=ready.local_url,
            lan_port=ready.lan_port,
            local_port=ready.local_port,
            jupyter_port=self._jupyter_port,
            pids={"media_server": self._media.child.pid, "jupyter": self._jupyter.child.pid},
        )
        self._progress.ready(addresses)
        if not ready.lan_addresses and not self._options.public_url:
            self._progress.note("no network: a phone cannot reach this computer. Join a Wi-Fi.")
        if self._options.open_browser:
            self._open_browser()

    def _open_browser(self) -> None:
        if not webbrowser.open(self._jupyter.open_url):
            self._progress.note("no browser could be opened: copy the dashboard's address")

    async def _watch(self) -> None:
        """Restart the media server when it dies; end when Jupyter dies."""
        jupyter = asyncio.create_task(self._jupyter.ended())
        media = asyncio.create_task(self._keep_media_server())
        try:
            await asyncio.wait({jupyter, media}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (jupyter, media):
                task.cancel()
            await asyncio.wait({jupyter, media})
        if not jupyter.cancelled():
            raise self._jupyter.failed(jupyter.result())
        media.result()

    async def _keep_media_server(self) -> None:
        """Start the media server again each time it ends, until it is of no use."""
        limit = RestartLimit()
        while True:
            started_s = time.monotonic()
            what = await self._media.ended()
            pause_s = limit.next_pause_s(ran_s=time.monotonic() - started_s)
            tail = self._media.tail()
            await self._media.end(PATIENCE_S)
            if pause_s is None:
                raise ServerError(f"media server: it {what} again and again. Its log:\n{tail}")
            self._progress.note(f"The media server {what}: starting it again …")
            await asyncio.sleep(pause_s)
            await self._restart()

    async def _restart(self) -> None:
        try:
            await self._media.start()
        except ServerError as error:  # counted when the loop sees it ended
            self._progress.note(str(error))
            await self._media.end(PATIENCE_S)
            return
        self._progress.good(
            "The media server is back; the dashboard and the phones find it by themselves."
        )

    async def _end(self) -> None:
        """End both at the same time."""
        await asyncio.gather(self._media.end(PATIENCE_S), self._jupyter.end(PATIENCE_S))
