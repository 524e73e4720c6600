"""Token buckets, kept as one number a key: the moment at which the bucket would be full again (the "virtual scheduling" form of the
generic cell rate algorithm, ITU-T I.371)."""

from __future__ import annotations

from itertools import islice
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key")


class Buckets(Generic[Key]):
    """One bucket a key, each holding `burst_s` seconds' worth of its rate. Safe to share among threads.

    At most `limit` keys are remembered: full buckets are forgotten first, since they are as good as new, then those longest known.
    """

    def __init__(self, *, burst_s: float, limit: int) -> None:
        self.burst_s, self.limit = burst_s, limit
        self._full_at: dict[Key, float] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: Key, rate: float, now: float) -> float:
        """Takes one token and gives 0, or takes none and gives the seconds until there is one. `rate` in tokens a second (0: no limit),
        `now` in seconds of a clock that does not go back."""
        if rate <= 0:
            return 0.0
        with self._lock:
            known = self._full_at.get(key)
            each = 1.0 / rate
            full_at = each + (known if known is not None and known > now else now)
            # A bucket of less than one token would never give any.
            wait = full_at - now - (self.burst_s if self.burst_s > each else each)
            if wait > 1e-9:
                return wait
            if known is None and len(self._full_at) >= self.limit:
                self._forget(now)
            self._full_at[key] = full_at
            return 0.0

    def wait(self, key: Key, rate: float, now: float) -> float:
        """What `take` would answer, taking nothing."""
        if rate <= 0:
            return 0.0
        found = max(self._full_at.get(key, now), now) + 1.0 / rate - now - max(self.burst_s, 1.0 / rate)
        return found if found > 1e-9 else 0.0

    def clear(self) -> None:
        with self._lock:
            self._full_at.clear()

    def _forget(self, now: float) -> None:
        self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        if len(self._full_at) >= self.limit:
            # An eighth at once, so that a crowd of new keys does not sweep each time.
            for key in list(islice(self._full_at, self.limit // 8 + 1)):
                del self._full_at[key]
