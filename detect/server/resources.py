"""What the server itself costs: processor time and memory, once a second while streams are live."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import psutil

MAX_SAMPLES = 3600
"""One hour; older samples are forgotten."""


@dataclass(frozen=True, slots=True)
class ResourceSample:
    """One look at the process."""

    cpu_percent: float
    """Of one core: 150 means one and a half cores busy since the last look."""
    rss_bytes: int
    n_threads: int


class ResourceSampler:
    """Bounded history of :class:`ResourceSample`."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only starts the count
        self._samples: deque[ResourceSample] = deque(maxlen=MAX_SAMPLES)

    def sample(self) -> ResourceSample:
        """Look now and remember."""
        with self._process.oneshot():
            look = ResourceSample(
                cpu_percent=self._process.cpu_percent(),
                rss_bytes=self._process.memory_info().rss,
                n_threads=self._process.num_threads(),
            )
        self._samples.append(look)
        return look

    def rss_bytes(self) -> int:
        """Resident memory now."""
        rss: int = self._process.memory_info().rss
        return rss

    @property
    def samples(self) -> tuple[ResourceSample, ...]:
        """Remembered samples, oldest first."""
        return tuple(self._samples)
