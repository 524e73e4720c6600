"""Where a right comes from. `explain` is the one answer: a yes is at least one source, and the page of effective access shows the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol
from uuid import UUID

from apps.core.domain.actions import Action as A  # noqa: N817 -- a table reads better with short names
from apps.identity.domain.platform import PLATFORM_ID
from apps.identity.domain.roles import allows

_COMMON: Final = (A.VIEW, A.AUTHOR, A.EVALUATE, A.REQUEST_PROMOTION, A.APPROVE, A.PROMOTE, A.FORCE, A.SUSPEND, A.ROLL_BACK)
_KEEPING: Final = (A.AUDIT, A.EXPORT)
# What can be granted on a container of each kind. Nothing that governs people, tokens, money or the tenant: that takes a role.
GRANTABLE: Final[dict[str, tuple[A, ...]]] = {
    "pack": (*_COMMON, A.DISTRIBUTE, A.ADOPT, *_KEEPING),
    "team": (*_COMMON, A.OPERATE, A.DISTRIBUTE, A.REVEAL, *_KEEPING),
    "agent": (*_COMMON, A.OPERATE, A.DISTRIBUTE, A.REVEAL, *_KEEPING),
    "evalset": (A.VIEW, A.EVALUATE, *_KEEPING),
}
ANY_GRANTABLE: Final = frozenset(action for actions in GRANTABLE.values() for action in actions)

Container = tuple[str, UUID]
Kind = Literal["role", "team_role", "provider_group", "delegation", "grant", "library", "installation"]


def permissions(kind: str) -> Any:
    """The custom permissions of a container's model: one for each act."""
    return [(action.value, f"Can {action.value.replace('_', ' ')}") for action in GRANTABLE[kind]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object stands: whose it is, in which team, and under which containers (itself included)."""

    tenant_id: UUID
    team_id: UUID | None = None
    containers: frozenset[Container] = frozenset()


class Role(Protocol):
    """A role held now, in the person's tenant; `via`: who delegated it."""

    @property
    def role(self) -> str: ...
    @property
    def team_id(self) -> UUID | None: ...
    @property
    def via(self) -> UUID | None: ...


@dataclass(frozen=True, slots=True)
class Held:
    """A role with what a page says of it. `provider`: the sign-in provider whose group map gave it."""

    role: str
    team_id: UUID | None = None
    via: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    team: str = ""
    provider: str = ""
    lender: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """An act granted to a group that the person is in, on a container. `until` is the earlier end of the grant's and the person's own in
    the group."""

    action: A
    container: Container
    group: str = ""
    name: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """One reason why somebody may do something; `until`: when it ends by itself."""

    kind: Kind
    held: Role | None = None
    given: Given | None = None

    @property
    def until(self) -> datetime | None:
        return self.given.until if self.given else getattr(self.held, "until", None)

    @property
    def since(self) -> datetime | None:
        return self.given.since if self.given else getattr(self.held, "since", None)

    def sentence(self) -> str:
        """For a person; without its times."""
        if self.given is not None:
            return f"granted to the group {self.given.group} on {self.given.container[0].replace('evalset', 'evaluation set')} {self.given.name}"
        assert self.held is not None
        role = self.held.role.replace("_", " ")
        team, provider, lender = (getattr(self.held, name, "") for name in ("team", "provider", "lender"))
        where = f"in the team {team}" if self.held.team_id else "in the tenant"
        how = f", delegated by {lender or 'somebody else'}" if self.held.via else f", by the group map of {provider}" if provider else ""
        what = {"library": "the shared library, as ", "installation": "the installation, as "}.get(self.kind, "")
        return f"{what}{role} {where}{how}"


def explain(action: A, at: Place, *, here: UUID, roles: Iterable[Role], grants: Iterable[Given]) -> Iterator[Source]:
    """Every source of the right to do `action` on an object at `at`, for a person of the tenant `here` with these roles and grants (all of
    them live). Roles come first; `grants` is not read before they are through.

    A role held in a team counts for that team's objects, and for looking at the rest of the tenant. Of another tenant's objects one sees
    the shared library; and whoever manages `platform` manages the tenants of the installation (not what is in them). What a tenant grants
    holds for its own objects and, on a pack of the shared library, for looking at that pack.
    """
    for held in roles:
        if not allows(held.role, action, delegated=held.via is not None):
            continue
        if at.tenant_id == here:
            if held.team_id is None or held.team_id == at.team_id or action is A.VIEW:
                yield Source(_kind(held), held)
        elif action is A.VIEW and at.tenant_id == PLATFORM_ID:
            yield Source("library", held)
        elif action is A.MANAGE_TENANT and here == PLATFORM_ID and held.team_id is None:
            yield Source("installation", held)
    if action in ANY_GRANTABLE and (at.tenant_id == here or (action is A.VIEW and at.tenant_id == PLATFORM_ID)):
        for given in grants:
            if given.action is action and given.container in at.containers:
                yield Source("grant", given=given)


def _kind(held: Role) -> Kind:
    if held.via is not None:
        return "delegation"
    if getattr(held, "provider", ""):
        return "provider_group"
    return "role" if held.team_id is None else "team_role"


def lasts(sources: Iterable[Source]) -> tuple[bool, datetime | None]:
    """Whether there is a source at all, and how long the right lasts by itself: until the latest end, None for good. A right that is lent
    cannot be lent on, so a delegation does not count."""
    found = [source for source in sources if source.kind != "delegation"]
    ends = [source.until for source in found]
    return bool(found), None if None in ends or not ends else max(end for end in ends if end is not None)
