"""Backpressure: a process works on a few batches at a time, lets a few wait, and sends the rest away before memory grows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from apps.core.errors import problem


class Gate:
    """At most `working` at a time, `waiting` more for at most `patience_s` seconds; who comes then is refused at once."""

    def __init__(self, *, working: int, waiting: int, patience_s: float, retry_after_s: int = 1) -> None:
        self._inside = BoundedSemaphore(working)
        self._places = BoundedSemaphore(working + waiting)
        self._patience_s = patience_s
        self._retry_after_s = retry_after_s

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Raises Problem `unavailable` with `retry_after`."""
        if not self._places.acquire(blocking=False):
            raise self._full()
        try:
            if not self._inside.acquire(timeout=self._patience_s):
                raise self._full()
            try:
                yield
            finally:
                self._inside.release()
        finally:
            self._places.release()

    def _full(self) -> Exception:
        return problem("unavailable", "This process has all the batches it can take; send this one again.", retry_after=self._retry_after_s)
