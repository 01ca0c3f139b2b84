"""The product under test: ``detect up`` as a child process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

READY_TIMEOUT_S = 90


@contextmanager
def running_product(*options: str) -> Iterator[dict[str, Any]]:
    """Run ``detect up`` on free ports in a home of its own; yield its ready line.

    Besides what ``detect up --json`` says, it holds ``up_pid``, ``start_s`` and ``access_token``.

    Raises
    ------
    RuntimeError
        If it ends, or says nothing, before it is ready; the text holds what it said.
    """
    with tempfile.TemporaryDirectory(prefix="detect-bench-") as home:
        log_path = Path(home) / "up.log"
        command = [sys.executable, "-m", "detect", "up", "--json", "--no-browser"]
        command += ["--lan-port", "0", "--local-port", "0", "--jupyter-port", "0", *options]
        started = time.perf_counter()
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "DETECT_HOME": home},
            )
            try:
                line = _read_line(process, log_path)
                ready: dict[str, Any] = json.loads(line)
                ready["up_pid"] = process.pid
                ready["access_token"] = _access_token(Path(home))
                ready["start_s"] = round(time.perf_counter() - started, 2)
                yield ready
            finally:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                if process.stdout is not None:
                    process.stdout.close()


def _read_line(process: subprocess.Popen[bytes], log_path: Path) -> bytes:
    assert process.stdout is not None, "started with a pipe"
    line = process.stdout.readline()
    if not line:
        tail = log_path.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"`detect up` ended before it was ready; it said:\n{tail}")
    return line


def _access_token(home: Path) -> str:
    about = json.loads((home / "data" / "server.json").read_text(encoding="utf-8"))
    return Path(about["access_token_file"]).read_text(encoding="utf-8").strip()


class ResourceMeter:
    """CPU time and memory of a process tree between two moments."""

    def __init__(self, pid: int, *, with_children: bool = True) -> None:
        self._root = psutil.Process(pid)
        self._with_children = with_children
        self._start_s = time.perf_counter()
        self._start_cpu_s = self._cpu_s()

    def read(self) -> dict[str, float]:
        """Return ``cpu_percent`` since the start (100 = one core) and ``rss_mib`` now."""
        elapsed_s = time.perf_counter() - self._start_s
        cpu_s = self._cpu_s() - self._start_cpu_s
        rss = sum(p.memory_info().rss for p in self._processes())
        return {"cpu_percent": round(100 * cpu_s / elapsed_s, 1), "rss_mib": round(rss / 2**20, 1)}

    def _processes(self) -> list[psutil.Process]:
        children = self._root.children(recursive=True) if self._with_children else []
        return [self._root, *children]

    def _cpu_s(self) -> float:
        total = 0.0
        for process in self._processes():
            times = process.cpu_times()
            total += times.user + times.system
        return total
