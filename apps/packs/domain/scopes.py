"""Scopes and the chain of a run, as `domain.md` 2 writes them: weakest first, at most one of each type."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from apps.core.errors import problem

Tier = Literal["personal", "team", "enterprise"]
Segment = Literal["individual", "enterprise"]

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# "*" alone stands for all users where row security is told whose content is read, and so is nobody's reference.
_USER_REF = re.compile(r"(?!\*\Z)[^\x00-\x20\x7f\ud800-\udfff]{1,200}")


class ScopeType(StrEnum):
    """Ordered from the weakest to the strongest: `ScopeType.GLOBAL < ScopeType.USER`."""

    GLOBAL = "global"
    SEGMENT = "segment"
    DOMAIN = "domain"
    TENANT = "tenant"
    TEAM = "team"
    AGENT = "agent"
    USER = "user"

    @property
    def rank(self) -> int:
        """0 for global to 6 for user."""
        return _RANK[self.value]

    @property
    def above_tenant(self) -> bool:
        """Whether its layers belong to the shared library (the tenant `platform`)."""
        return self.rank < _RANK["tenant"]

    # A StrEnum would compare by spelling.
    def __lt__(self, other: str) -> bool:
        return self.rank < ScopeType(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= ScopeType(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > ScopeType(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= ScopeType(other).rank


_RANK = {kind.value: rank for rank, kind in enumerate(ScopeType)}


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope. `ref` is "" for global, a slug for segment, domain and tenant, and `<tenant>/<slug or user reference>` below tenant."""

    type: ScopeType
    ref: str

    def __post_init__(self) -> None:
        if not _valid(self.type, self.ref):
            raise problem("invalid", f"{self} is not a scope. Scopes look like {_EXAMPLES[self.type]}.", pointer="/scope")

    def __str__(self) -> str:
        return f"{self.type.value}:{self.ref}" if self.ref else self.type.value

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Reads `global`, `segment:enterprise`, `team:acme/support`, … Raises Problem `invalid` for anything else."""
        name, colon, ref = text.partition(":")
        if name not in _RANK or bool(colon) != bool(ref):
            known = ", ".join(_EXAMPLES.values())
            raise problem("invalid", f"{text[:100]!r} is not a scope. Scopes look like {known}.", pointer="/scope")
        return cls(ScopeType(name), ref)

    @property
    def tenant_slug(self) -> str | None:
        """The tenant a scope lies in; None above tenant."""
        return None if self.type.above_tenant else self.ref.partition("/")[0]


_EXAMPLES = {
    ScopeType.GLOBAL: "global",
    ScopeType.SEGMENT: "segment:enterprise or segment:individual",
    ScopeType.DOMAIN: "domain:hr-ops",
    ScopeType.TENANT: "tenant:acme",
    ScopeType.TEAM: "team:acme/support",
    ScopeType.AGENT: "agent:acme/helpdesk-1",
    ScopeType.USER: "user:acme/u-42",
}


def _valid(kind: ScopeType, ref: str) -> bool:
    if kind is ScopeType.GLOBAL:
        return ref == ""
    if kind is ScopeType.SEGMENT:
        return ref in ("individual", "enterprise")
    if kind in (ScopeType.DOMAIN, ScopeType.TENANT):
        return _SLUG.fullmatch(ref) is not None
    tenant, slash, name = ref.partition("/")
    # A user reference is the harness's own string and may hold anything printable, "/" too.
    form = _USER_REF if kind is ScopeType.USER else _SLUG
    return bool(slash) and _SLUG.fullmatch(tenant) is not None and form.fullmatch(name) is not None


def segment_of(tier: str) -> Segment:
    """The segment that follows from a tenant's tier. Raises Problem `invalid` for an unknown tier."""
    if tier not in ("personal", "team", "enterprise"):
        raise problem("invalid", f"{tier!r} is not a tier. Tiers are personal, team and enterprise.", pointer="/tier")
    return "individual" if tier == "personal" else "enterprise"


def chain_for(
    *, tier: str, domain: str, tenant: str, team: str | None = None, agent: str | None = None, user: str | None = None
) -> tuple[Scope, ...]:
    """The scopes of a run, weakest first. `domain` is the pack's; `tenant`, `team`, `agent` are slugs, `user` the harness's reference.

    Raises Problem `invalid` when one of them can't be part of a scope.
    """
    chain = [
        Scope(ScopeType.GLOBAL, ""),
        Scope(ScopeType.SEGMENT, segment_of(tier)),
        Scope(ScopeType.DOMAIN, domain),
        Scope(ScopeType.TENANT, tenant),
    ]
    below = ((ScopeType.TEAM, team), (ScopeType.AGENT, agent), (ScopeType.USER, user))
    chain += [Scope(kind, f"{tenant}/{name}") for kind, name in below if name is not None]
    return tuple(chain)
