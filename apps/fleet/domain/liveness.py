"""When a harness counts as live, and when one that is behind is named (`domain.md` 7, 10)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

# Heartbeats a harness may miss, in its own intervals.
MISSED: Final = 3
# Who has not followed after so long is named.
LAGGARD_AFTER: Final = timedelta(seconds=30)
# How often a harness says that it is there, in seconds, unless it names another interval.
DEFAULT_TTL_S: Final = 30
SHORTEST_TTL_S: Final = 1
LONGEST_TTL_S: Final = 3600


def silent_after(ttl_s: int) -> timedelta:
    """How long after its last heartbeat a harness counts as silent."""
    return timedelta(seconds=MISSED * ttl_s)


def is_live(last_seen_at: datetime, ttl_s: int, now: datetime) -> bool:
    return now - last_seen_at <= silent_after(ttl_s)


def is_laggard(since: datetime, now: datetime) -> bool:
    """Whether who should have followed at `since`, and has not, is named."""
    return now - since >= LAGGARD_AFTER
