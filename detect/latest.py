"""One place between a fast producer and a slow consumer."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class LatestSlot(Generic[T]):
    """Hand over the newest item without building a queue.

    ``put`` and ``take`` may be called from any thread and never wait for each other longer than a
    few instructions. An item that was not taken when the next one comes is replaced and counted: a
    camera does not wait, and an old picture is worth nothing once a newer one is there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._item: T | None = None
        self._n_replaced = 0

    def put(self, item: T) -> bool:
        """Leave an item; True when it replaced one that nobody took."""
        with self._lock:
            has_replaced = self._item is not None
            self._item = item
            self._n_replaced += has_replaced
            return has_replaced

    def take(self) -> T | None:
        """Remove and return the item, None where there is none."""
        with self._lock:
            item, self._item = self._item, None
            return item

    @property
    def is_full(self) -> bool:
        """Whether an item waits."""
        return self._item is not None

    @property
    def n_replaced(self) -> int:
        """How many items were replaced before they were taken."""
        return self._n_replaced
