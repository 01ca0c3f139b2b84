"""One child process: started in its own group, tied to our life, ended for certain."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from detect.config import data_dir

MAX_LOG_BYTES = 2_000_000
N_TAIL_LINES = 15


class LogFile:
    """A log file that grows from run to run up to a bound, and knows where this run begins."""

    def __init__(self, name: str) -> None:
        folder = data_dir() / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        self.path: Path = folder / f"{name}.log"
        is_full = self.path.exists() and self.path.stat().st_size > MAX_LOG_BYTES
        self.file: IO[bytes] = self.path.open("wb" if is_full else "ab")
        self._start = self.file.tell()

    def tail(self) -> str:
        """The last lines of this run."""
        with self.path.open("rb") as file:
            file.seek(self._start)
            lines = file.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-N_TAIL_LINES:])

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class Child:
    """A running child process with its log.

    Its standard input is a pipe that we hold and nobody else: when this process ends in whatever
    way, the pipe closes and the child ends itself.
    """

    def __init__(self, process: asyncio.subprocess.Process, log: LogFile) -> None:
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @classmethod
    async def start(
        cls,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        log_name: str,
        cwd: Path | None = None,
        reads_stdout: bool = False,
    ) -> Child:
        """Start ``arguments``; what they print goes to the log named ``log_name``."""
        log = LogFile(log_name)
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                env=dict(env),
                cwd=cwd,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE if reads_stdout else log.file,
                stderr=log.file,
                # Keeps Ctrl-C and terminal signals away: the parent decides when a child ends.
                start_new_session=sys.platform != "win32",
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except BaseException:
            log.close()
            raise
        return cls(process, log)

    def tell(self, line: str) -> None:
        """Write one line to the child's standard input, which stays open."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    def let_go(self) -> None:
        """Close the life line: a well-behaved child ends itself."""
        if self.process.stdin is not None:
            self.process.stdin.close()

    async def ended(self) -> str:
        """Wait until the child ends; returns what happened in words."""
        code = await self.process.wait()
        return f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}"

    async def end(self, patience_s: float) -> None:
        """End the child: first by closing the life line, after ``patience_s`` by force."""
        self.let_go()
        try:
            async with asyncio.timeout(patience_s):
                await self.process.wait()
        except TimeoutError:
            kill_tree(self.pid)
            await self.process.wait()
        finally:
            self.log.close()


def kill_tree(pid: int) -> None:
    """Kill process ``pid`` and everything below it."""
    try:
        root = psutil.Process(pid)
        family = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def kill_kernels(runtime_dir: Path) -> None:
    """Kill kernels that outlived their Jupyter server, found by their connection file."""
    marker = str(runtime_dir) + os.sep
    for process in psutil.process_iter(["cmdline"]):
        if any(marker in argument for argument in process.info["cmdline"] or ()):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process.kill()
