"""The folder of one run: what Jupyter and its kernels need to find each other.

It holds secrets while ``detect up`` runs, so nobody else may read it, and it goes with the run. A
run that was killed leaves at most its folder; the next start sweeps it.
"""

from __future__ import annotations

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
