"""What a token may be: how long it lasts and what it may do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from apps.core.domain.actions import Action
from apps.core.errors import FieldError, problem

DEFAULT_LIFE: Final = timedelta(days=365)
LONGEST_LIFE: Final = timedelta(days=730)


def expiry(wanted: datetime | None, now: datetime) -> datetime:
    """When the token ends: `wanted`, else a year from now. Raises Problem `invalid` for the past and for more than two years."""
    if wanted is None:
        return now + DEFAULT_LIFE
    if wanted <= now:
        raise problem("invalid", "A token ends in the future.", pointer="/expires_at")
    if wanted > now + LONGEST_LIFE:
        raise problem("invalid", "A token lasts two years at most.", pointer="/expires_at")
    return wanted


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
