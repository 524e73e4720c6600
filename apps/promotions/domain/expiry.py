"""How long a demand for approval stays open, how long what was given stands, and when people are reminded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Limits:
    """`demand`: an open demand expires after it; `approval`: what was given and not started is void after it."""

    demand: timedelta
    approval: timedelta


class Reminder(StrEnum):
    FIRST = "first"
    LAST = "last"


def expires_at(since: datetime, limits: Limits) -> datetime:
    """When a demand that is open since then expires."""
    return since + limits.demand


def is_over(since: datetime, now: datetime, limits: Limits) -> bool:
    return now >= expires_at(since, limits)


def reminder_due(since: datetime, now: datetime, limits: Limits, sent: Collection[Reminder | str]) -> Reminder | None:
    """The reminder to send now, if any: the first a day after the demand, the last a day before its end, each once. Where both are due (the
    portal was away), only the last; where there is no day between, none."""
    first, last = since + DAY, expires_at(since, limits) - DAY
    if is_over(since, now, limits) or last <= since:
        return None
    if now >= last:
        return None if Reminder.LAST in sent else Reminder.LAST
    return Reminder.FIRST if now >= first and not sent else None


def days(length: timedelta) -> str:
    """For a sentence: `7 days`, `1 day`, `12 hours`."""
    if length < DAY:
        hours = max(1, round(length / timedelta(hours=1)))
        return f"{hours} hour{'' if hours == 1 else 's'}"
    found = round(length / DAY)
    return f"{found} day{'' if found == 1 else 's'}"
