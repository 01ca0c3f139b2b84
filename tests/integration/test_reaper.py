"""The kernel reaper inside a real Jupyter server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.waiting import wait_until

pytestmark = pytest.mark.integration

TOKEN = "a-token-for-this-test-only"
GRACE_S = 8.0
"""More than a kernel takes to start on a busy machine: its page connects only then."""


@pytest.fixture
def jupyter(tmp_path: Path) -> Iterator[httpx.Client]:
    """A Jupyter server with our extension and a short grace; a client that may use it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = {
        "ServerApp": {
            "port": port,
            "root_dir": str(tmp_path),
            "open_browser": False,
            "allow_root": True,
            "jpserver_extensions": {"detect.jupyter": True},
        },
        "IdentityProvider": {"token": TOKEN},
        "KernelManager": {"shutdown_wait_time": 0.5},
        "KernelReaper": {"grace_s": GRACE_S, "check_every_s": 0.2},
    }
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    environment = {"JUPYTER_CONFIG_DIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(runtime)}
    with (tmp_path / "jupyter.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "detect.launcher.jupyter_child"],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
    assert process.stdin is not None
    process.stdin.write(json.dumps(config).encode() + b"\n")
    process.stdin.flush()
    headers = {"Authorization": f"token {TOKEN}"}
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=10
    ) as client:
        wait_until(lambda: answers(client), what="the Jupyter server")
        yield client
    process.stdin.close()  # its life line
    process.wait(5)
    assert not runtime.exists()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/api/status").is_success
    except httpx.TransportError:
        return False


def kernels(client: httpx.Client) -> set[str]:
    return {kernel["id"] for kernel in client.get("/api/kernels").json()}


def test_only_kernels_nobody_looks_at_are_freed(jupyter: httpx.Client) -> None:
    session = {"kernel": {"name": "python3"}, "name": "n", "path": "n.ipynb", "type": "notebook"}
    of_lab = jupyter.post("/api/sessions", json=session).json()["kernel"]["id"]
    watched = jupyter.post("/api/kernels", json={}).json()["id"]
    address = str(jupyter.base_url).replace("http", "ws").rstrip("/")
    with connect(
        f"{address}/api/kernels/{watched}/channels",
        additional_headers={"Authorization": f"token {TOKEN}"},
        proxy=None,
        open_timeout=30,
    ):
        left = jupyter.post("/api/kernels", json={}).json()["id"]
        wait_until(lambda: left not in kernels(jupyter), what="the left kernel to go", timeout_s=40)
        assert kernels(jupyter) == {of_lab, watched}
    wait_until(lambda: watched not in kernels(jupyter), what="the other one to go", timeout_s=40)
    assert kernels(jupyter) == {of_lab}
