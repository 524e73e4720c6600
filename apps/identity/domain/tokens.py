"""What a token may be: how long it lasts and what it may do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from apps.core.domain.actions import Action
from apps.core.errors import FieldError, problem

DEFAULT_LIFE: Final = timedelta(days=365)
LONGEST_LIFE: Final = timedelta(days=730)
DEFAULT_OVERLAP: Final = timedelta(hours=24)
LONGEST_OVERLAP: Final = timedelta(days=7)


def expiry(wanted: datetime | None, now: datetime) -> datetime:
    """When the token ends: `wanted`, else a year from now. Raises Problem `invalid` for the past and for more than two years."""
    if wanted is None:
        return now + DEFAULT_LIFE
    if wanted <= now:
        raise problem("invalid", "A token ends in the future.", pointer="/expires_at")
    if wanted > now + LONGEST_LIFE:
        raise problem("invalid", "A token lasts two years at most.", pointer="/expires_at")
    return wanted


def end_of_overlap(expires_at: datetime | None, overlap: timedelta, now: datetime) -> datetime:
    """Until when a token that is replaced now goes on working: `overlap` from now, never longer than it would have. Raises Problem
    `invalid` for less than none and for more than seven days."""
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        longest = int(LONGEST_OVERLAP.total_seconds())
        raise problem("invalid", f"The overlap is 0 to {longest} seconds (seven days).", pointer="/overlap_s")
    return now + overlap if expires_at is None else min(expires_at, now + overlap)


def same_life(created_at: datetime, expires_at: datetime | None, now: datetime) -> datetime:
    """When the successor ends: it lives as long as its predecessor was meant to, a year where that had no end."""
    life = DEFAULT_LIFE if expires_at is None else expires_at - created_at
    return now + min(life, LONGEST_LIFE)


def scopes_within(wanted: Sequence[str], allowed: Iterable[Action], *, narrowed: bool) -> list[str]:
    """The scopes to store: `wanted` in a fixed order; when none are named, [] (all that the role allows, now and later), or `allowed`
    by name when the issuer may hand on less than that (`narrowed`).

    Raises Problem `invalid` for names that are no action, `permission_denied` for actions outside `allowed`.
    """
    open_to = {action.value for action in allowed}
    known = {action.value for action in Action}
    unknown = [
        FieldError(f"/scopes/{index}", "invalid", f"'{scope}' is not an action; the actions are {', '.join(sorted(known))}.")
        for index, scope in enumerate(wanted)
        if scope not in known
    ]
    if unknown:
        raise problem("invalid", unknown[0].detail, errors=unknown)
    beyond = sorted(set(wanted) - open_to)
    if beyond:
        raise problem("permission_denied", f"This token cannot be given: {', '.join(beyond)}.", pointer="/scopes")
    if not wanted and narrowed:
        if not open_to:
            raise problem("permission_denied", "There is nothing that this token could be allowed to do.", pointer="/scopes")
        return sorted(open_to)
    return sorted(set(wanted))
