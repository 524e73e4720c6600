"""Who may lend a role to whom, and for how long."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from apps.core.errors import problem

# Roles that do something. Who may only look has nothing to hand over, and an auditor's independence is not lent.
DELEGABLE: Final = ("author", "operator", "manager", "tenant_admin")
LONGEST: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Held:
    """A role that a person holds: in the tenant (team None) or for one team's objects; `via`: who delegated it."""

    role: str
    team_id: UUID | None = None
    via: UUID | None = None


def covers(held: Iterable[Held], role: str, team_id: UUID | None) -> bool:
    """Whether one of these roles, held in one's own right, is this role there: tenant-wide covers each team."""
    return any(each.role == role and each.via is None and each.team_id in (None, team_id) for each in held)


def check_may_delegate(
    *,
    from_user: UUID,
    to_user: UUID,
    role: str,
    team_id: UUID | None,
    held: Iterable[Held],
    to_member: bool,
    until: datetime,
    now: datetime,
) -> None:
    """Whether `from_user`, who holds `held`, may lend the role. `to_member`: the other holds a role in the tenant of their own.

    Raises Problem `permission_denied` for a role that one lacks or holds only by delegation, or that is not lent, `invalid` for oneself,
    somebody outside the tenant, or an end that is past or more than 90 days away.
    """
    held = list(held)
    name = role.replace("_", " ")
    if not covers(held, role, team_id):
        lent = covers([Held(each.role, each.team_id) for each in held], role, team_id)
        why = "you hold it by delegation, and what is lent is not lent on" if lent else "you do not hold it yourself there"
        raise problem("permission_denied", f"You cannot hand over the role '{name}': {why}.", pointer="/role")
    if role not in DELEGABLE:
        raise problem("permission_denied", f"The role '{name}' is not handed over; what can be: {', '.join(DELEGABLE)}.", pointer="/role")
    if to_user == from_user:
        raise problem("invalid", "This is you: name somebody else.", pointer="/to_user")
    if not to_member:
        raise problem("invalid", "The tenant has no member with this e-mail address; add them first.", pointer="/to_user")
    if until <= now:
        raise problem("invalid", "The delegation must end in the future.", pointer="/until")
    if until > now + LONGEST:
        raise problem("invalid", f"A delegation ends after {LONGEST.days} days at most; renew it when it does.", pointer="/until")
