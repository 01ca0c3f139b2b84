"""``detect serve`` as a process: its ready line, its files, and every way it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from detect.server.private_files import write_private

pytestmark = pytest.mark.integration

TOKEN = "process-test-token-0123456789"
COMMAND = [
    sys.executable,
    "-c",
    "from detect.cli.serve import serve; import typer; typer.run(serve)",
]
ARGUMENTS = ["--lan-port", "0", "--local-port", "0", "--offline"]
END_S = 30
"""Patience of the test; how long it really takes is the benchmark's business."""


@dataclass
class Served:
    process: subprocess.Popen[str]
    ready: dict[str, Any]
    home: Path

    def get(self, path: str) -> httpx.Response:
        return httpx.get(
            self.ready["local_url"] + path, headers={"Authorization": f"Bearer {TOKEN}"}
        )


@contextmanager
def serving(home: Path, *arguments: str) -> Iterator[Served]:
    env = {**os.environ, "DETECT_HOME": str(home), "DETECT_ACCESS_TOKEN": TOKEN}
    process = subprocess.Popen(
        [*COMMAND, *ARGUMENTS, "--json", *arguments],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    watchdog = threading.Timer(60, process.kill)  # a server that never gets ready
    watchdog.start()
    try:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield Served(process, json.loads(line), home)
    finally:
        watchdog.cancel()
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_the_ready_line_and_the_files(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        ready = served.ready
        assert ready["event"] == "ready"
        assert ready["pid"] == served.process.pid
        assert ready["pairing_url"].startswith(ready["phone_url"] + "/#")
        assert ready["local_url"] == f"http://127.0.0.1:{ready['local_port']}"
        assert served.get("/api/health").json()["pid"] == served.process.pid
        assert served.get("/api/status").status_code == 200
        token_file = tmp_path / "data" / "access-token"
        assert token_file.read_text() == TOKEN
        if os.name != "nt":
            assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        runtime = json.loads((tmp_path / "data" / "server.json").read_text())
        assert runtime["local_url"] == ready["local_url"]
        assert Path(runtime["access_token_file"]) == token_file


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path) as served:
        served.process.send_signal(number)
        _, errors = served.process.communicate(timeout=END_S)
        assert served.process.returncode == 0, errors
        assert "Traceback" not in errors
        assert TOKEN not in errors
        assert served.ready["pairing_url"].partition("#")[2] not in errors
        assert not (tmp_path / "data" / "server.json").exists()
        for port in (served.ready["lan_port"], served.ready["local_port"]):
            with socket.socket() as again:
                again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                again.bind(("0.0.0.0", port))


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    with serving(tmp_path, "--exit-with-stdin") as served:
        assert served.process.stdin is not None
        served.process.stdin.close()
        served.process.stdin = None  # communicate() would flush it
        assert served.process.wait(END_S) == 0


def test_an_unknown_aiortc_is_named_before_any_phone_comes(tmp_path: Path) -> None:
    program = (
        "from detect.cli import main; from detect.rtc import receiver;"
        "receiver.PRIVATE_ATTRIBUTES += ('_from_the_past',); main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "serve", *ARGUMENTS, "--json"],
        env={**os.environ, "DETECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert ended.returncode == 2
    assert "lacks _from_the_past" in ended.stderr
    assert "pip install" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_an_access_token_is_made_and_kept(tmp_path: Path) -> None:
    from detect.server import process

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("DETECT_HOME", str(tmp_path))
    monkeypatch.delenv("DETECT_ACCESS_TOKEN", raising=False)
    with monkeypatch.context():
        made = process.read_access_token()
        assert len(made) >= 32
        write_private(tmp_path / "data" / process.TOKEN_FILE, made.encode())
        assert process.read_access_token() == made
        monkeypatch.setenv("DETECT_ACCESS_TOKEN", "from-the-environment")
        assert process.read_access_token() == "from-the-environment"
        assert "DETECT_ACCESS_TOKEN" not in os.environ
    monkeypatch.undo()


def test_words_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from detect.server.app import ReadyInfo
    from detect.server.process import print_words

    fingerprint = "D9:AB:06"  # ":AB:" is an emoji to rich
    info = ReadyInfo(
        pid=1,
        local_url="http://127.0.0.1:8764",
        phone_url="https://192.168.1.5:8765",
        pairing_url="https://192.168.1.5:8765/#token",
        lan_port=8765,
        local_port=8764,
        lan_addresses=("192.168.1.5",),
        fingerprint=fingerprint,
        is_self_signed=True,
        notices=("phones: port 8765 is taken",),
    )
    print_words(info, tmp_path / "access-token")
    words = capsys.readouterr().out
    assert fingerprint in words
    assert info.pairing_url in words
    assert info.notices[0] in words
    assert "▄" in words
