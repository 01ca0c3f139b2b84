"""What a result must say about where it came from."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = ("aiortc", "av", "numpy", "onnxruntime", "simplejpeg", "uvicorn", "uvloop", "voila")


def collect(browser_version: str | None = None) -> dict[str, object]:
    """Hardware, versions, load and command line of this run."""
    return {
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m bench", *map(_without_folders, sys.argv[1:])]),
        "commit": _commit(),
        "cpu": _cpu_name(),
        "n_cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_1min_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "browser": browser_version,
        "packages": {name: _package_version(name) for name in PACKAGES},
    }


def _without_folders(argument: str) -> str:
    """File names only: where somebody keeps the files is nobody's business, and differs anyway."""
    path = Path(argument)
    return path.name if path.is_absolute() else argument


def _package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str | None:
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()
