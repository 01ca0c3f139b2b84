"""The media server as a process: signals, the parent's death, files others find it by."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import segno
from rich.console import Console

from detect.config import TOKEN_ENV, ServerConfig, data_dir
from detect.server.app import ReadyInfo, run_server
from detect.server.private_files import write_private

TOKEN_FILE = "access-token"
"""In :func:`detect.config.data_dir`: the access token, for Prometheus and scripts."""
RUNTIME_FILE = "server.json"
"""In :func:`detect.config.data_dir` while a server runs: where it is, for notebooks."""

_STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
_MIN_TOKEN_LENGTH = 16


def read_access_token() -> str:
    """Token of the environment, else the kept one, else a new one.

    The variable is taken out of the environment, so that no child process sees it by accident.
    """
    token = os.environ.pop(TOKEN_ENV, "")
    if token:
        return token
    try:
        kept = (data_dir() / TOKEN_FILE).read_text("utf-8").strip()
    except OSError:
        kept = ""
    return kept if len(kept) >= _MIN_TOKEN_LENGTH else secrets.token_urlsafe(32)


def run(config: ServerConfig, *, as_json: bool, exit_with_stdin: bool) -> None:
    """Run the server until a signal or the end of stdin."""
    logging.basicConfig(
        level=logging.INFO if as_json else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # At info it writes a line for every candidate pair of every phone.
    logging.getLogger("aioice").setLevel(max(logging.WARNING, logging.root.level))
    token_file = data_dir() / TOKEN_FILE
    runtime_file = data_dir() / RUNTIME_FILE
    write_private(token_file, config.access_token.encode())

    def on_ready(info: ReadyInfo) -> None:
        runtime = {
            "pid": info.pid,
            "local_url": info.local_url,
            "access_token_file": str(token_file),
        }
        write_private(runtime_file, json.dumps(runtime).encode())
        if as_json:
            print_json(info)
        else:
            print_words(info, token_file)

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_until_stopped(config, on_ready, exit_with_stdin=exit_with_stdin))
    finally:
        _remove_own(runtime_file)
    _leave_native_threads()


async def _until_stopped(
    config: ServerConfig, on_ready: Callable[[ReadyInfo], None], *, exit_with_stdin: bool
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in _STOP_SIGNALS:
        if number := getattr(signal, name, None):
            if sys.platform == "win32":
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
            else:
                loop.add_signal_handler(number, stop.set)
    if exit_with_stdin:
        threading.Thread(
            target=_watch_stdin, args=(loop, stop), name="detect-stdin", daemon=True
        ).start()
    await run_server(config, on_ready=on_ready, stop=stop)


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Set ``stop`` when stdin closes: the parent is gone, however it ended."""
    try:
        # Straight from the descriptor: a daemon thread inside sys.stdin's lock would abort the
        # interpreter when it ends.
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    try:
        loop.call_soon_threadsafe(stop.set)
    except RuntimeError:  # ended in the meantime
        return


def _leave_native_threads() -> None:
    """End at once when a worker is still inside the runtime, which cannot be interrupted.

    The interpreter's own end would unwind such a thread through C++, which aborts the process.
    Sockets, sessions and files are closed by now.
    """
    busy = {"detect-model-load", "detect-engine"}
    if any(thread.name in busy for thread in threading.enumerate()):
        sys.stdout.flush()
        logging.shutdown()
        os._exit(0)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Loop of uvloop (a quarter less time per packet), where there is one."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def print_json(info: ReadyInfo) -> None:
    """The one line of ``--json``."""
    line = {
        "event": "ready",
        "pid": info.pid,
        "local_url": info.local_url,
        "phone_url": info.phone_url,
        "pairing_url": info.pairing_url,
        "lan_port": info.lan_port,
        "local_port": info.local_port,
        "lan_addresses": list(info.lan_addresses),
        "fingerprint": info.fingerprint,
        "notices": list(info.notices),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def print_words(info: ReadyInfo, token_file: Path) -> None:
    """Where everything is, for people."""
    console = Console(emoji=False)  # a fingerprint's ":AB:" would become one
    for notice in info.notices:
        console.print(f"[yellow]![/] {notice}", highlight=False)
    console.print("Scan with the phone, or open the address there:", highlight=False)
    drawn = io.StringIO()
    segno.make(info.pairing_url, error="l").terminal(drawn, compact=True, border=2)
    sys.stdout.write(drawn.getvalue())
    console.print(f"  {info.pairing_url}", soft_wrap=True, highlight=False, markup=False)
    if info.is_self_signed:
        console.print(
            "  The phone will warn about the certificate, which this computer made itself. "
            f"Its SHA-256 fingerprint:\n  {info.fingerprint}",
            soft_wrap=True,
            highlight=False,
        )
    console.print(f"Dashboards: {info.local_url}  (access token: {token_file})", soft_wrap=True)
    console.print("Ctrl-C ends the server.", highlight=False)


def _remove_own(runtime_file: Path) -> None:
    """Remove the runtime file, unless a newer server has written its own."""
    try:
        if json.loads(runtime_file.read_text("utf-8")).get("pid") == os.getpid():
            runtime_file.unlink()
    except (OSError, ValueError):
        return
