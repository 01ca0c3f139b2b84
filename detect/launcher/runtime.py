"""The folder of one run: connection files and the page that opens the browser.

It holds secrets while ``detect up`` runs, so nobody else may read it, and it goes with the run. A
run that was killed leaves at most its folder; the next start sweeps it.
"""

from __future__ import annotations

import html
import os
import shutil
from pathlib import Path

import psutil

from detect.config import data_dir


def make_runtime_dir() -> Path:
    """Make the folder of this run, named after this process, and sweep those of dead ones."""
    parent = data_dir() / "run"
    parent.mkdir(mode=0o700, exist_ok=True)
    for left in parent.iterdir():
        if not (left.name.isdigit() and psutil.pid_exists(int(left.name))):
            shutil.rmtree(left, ignore_errors=True)
    own = parent / str(os.getpid())
    shutil.rmtree(own, ignore_errors=True)  # an earlier run may have had our number
    own.mkdir(mode=0o700)
    return own


def write_redirect_page(runtime_dir: Path, url: str) -> Path:
    """Write a page that leads to ``url``, so that its token is on no command line of a browser."""
    path = runtime_dir / "open.html"
    escaped = html.escape(url, quote=True)
    content = (
        '<!doctype html><meta charset="utf-8">'
        f'<meta http-equiv="refresh" content="0; url={escaped}">'
        f'<title>detect</title><p><a href="{escaped}">Open the dashboard</a></p>\n'
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    return path
