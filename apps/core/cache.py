"""A process's memory of rows that seldom change, correct under changes that arrive while a value is being read."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar
from uuid import UUID

from apps.core.context import Topic
from apps.core.generations import on_change

K = TypeVar("K")
V = TypeVar("V")


class GenerationCache(Generic[K, V]):
    """Values of tenants, dropped when a topic's generation moves for their tenant.

    `tenant_of` tells whose a value is; a change of `root`'s (the shared library) drops everybody's. A value that was read while a change
    arrived is returned and not kept: it may be older than the change.
    """

    def __init__(self, *topics: Topic, tenant_of: Callable[[K, V], UUID], limit: int, root: UUID | None = None) -> None:
        self._values: dict[K, V] = {}
        self._tenant_of = tenant_of
        self._limit = limit
        self._root = root
        self._epoch = 0
        self._lock = Lock()
        for topic in topics:
            on_change(topic, self.forget)

    def get(self, key: K, load: Callable[[K], V]) -> V:
        found = self._values.get(key)
        if found is not None:
            return found
        epoch = self._epoch
        found = load(key)
        with self._lock:
            if epoch == self._epoch:
                if len(self._values) >= self._limit:
                    self._values.clear()
                self._values[key] = found
        return found

    def drop(self, key: K) -> None:
        self._values.pop(key, None)

    def forget(self, tenant_id: UUID | None) -> None:
        """Drops what is kept of a tenant, or everything."""
        with self._lock:
            self._epoch += 1
            if tenant_id is None or tenant_id == self._root:
                self._values.clear()
                return
            for key in [key for key, value in self._values.items() if self._tenant_of(key, value) == tenant_id]:
                del self._values[key]
