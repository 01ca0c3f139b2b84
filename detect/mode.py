"""Which mode fits this machine: the environment score, and the look at the machine it is made from.

The score is a pure function of a frozen :class:`MachineProbe`, so that the reasons the user reads
are exactly what the choice was made from. Points: Python 30, port free 20, four cores 20, 4 GB of
memory 15, model present 15; from :data:`SERVER_SCORE` on inference runs in Python (server mode).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import StrEnum

import psutil

MIN_PYTHON = (3, 11)
MIN_CORES = 4
# A "4 GB" machine reports a little less: firmware and the graphics chip keep their share.
MIN_MEMORY_BYTES = int(3.7 * 2**30)
SERVER_SCORE = 70


class Mode(StrEnum):
    """Where inference runs."""

    SERVER = "server"
    BROWSER = "browser"


@dataclass(frozen=True, slots=True)
class MachineProbe:
    """What was found on this machine.

    Attributes
    ----------
    python : tuple of int
        Major and minor version of the running Python.
    is_port_free : bool
        Whether the phones' port can be bound.
    n_cores : int
        Cores this process may use, at least 1.
    memory_bytes : int
        Memory of the machine.
    has_model : bool
        Whether the wanted model's file is here already.
    """

    python: tuple[int, int]
    is_port_free: bool
    n_cores: int
    memory_bytes: int
    has_model: bool

    def __post_init__(self) -> None:
        if self.n_cores < 1:
            raise ValueError(f"n_cores: expected at least 1, got {self.n_cores}")
        if self.memory_bytes < 0:
            raise ValueError(f"memory_bytes: expected 0 or more, got {self.memory_bytes}")


@dataclass(frozen=True, slots=True)
class ModeChoice:
    """The mode that runs, the score behind it, and the reasons in words."""

    chosen: Mode
    score: int
    reasons: tuple[str, ...]


def choose_mode(probe: MachineProbe) -> ModeChoice:
    """Score ``probe`` and choose a mode.

    A score below :data:`SERVER_SCORE` asks for browser mode. This version has no browser mode yet,
    so server mode runs all the same, and the last reason says so.
    """
    checks = _checks(probe)
    score = sum(points for points, is_met, _ in checks if is_met)
    reasons = [
        f"{words} (+{points})" if is_met else f"{words} (0 of {points})"
        for points, is_met, words in checks
    ]
    if score >= SERVER_SCORE:
        reasons.append(f"{score} of 100, at least {SERVER_SCORE}: inference runs in Python")
    else:
        reasons.append(
            f"{score} of 100, below {SERVER_SCORE}: inference in the browser would fit better, but "
            "this version has server mode only, so it runs in Python all the same"
        )
    return ModeChoice(Mode.SERVER, score, tuple(reasons))


def _checks(probe: MachineProbe) -> list[tuple[int, bool, str]]:
    """Points, whether they are earned, and what was found in words."""
    python = ".".join(map(str, probe.python))
    cores = "1 core" if probe.n_cores == 1 else f"{probe.n_cores} cores"
    return [
        (30, probe.python >= MIN_PYTHON, f"Python {python}"),
        (20, probe.is_port_free, f"port for phones {'free' if probe.is_port_free else 'taken'}"),
        (20, probe.n_cores >= MIN_CORES, cores),
        (
            15,
            probe.memory_bytes >= MIN_MEMORY_BYTES,
            f"{probe.memory_bytes / 2**30:.1f} GB of memory",
        ),
        (15, probe.has_model, f"model {'present' if probe.has_model else 'not here yet'}"),
    ]


def usable_cores() -> int:
    """Cores this process may run on, which in a container may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def probe_machine(*, is_port_free: bool, has_model: bool) -> MachineProbe:
    """Look at this machine; port and model are looked up by who knows them."""
    return MachineProbe(
        python=sys.version_info[:2],
        is_port_free=is_port_free,
        n_cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        has_model=has_model,
    )
