"""Everybody who may come to a door, and what the role table gives them."""

from __future__ import annotations

from dataclasses import dataclass

from apps.core.domain.actions import Action
from apps.identity.domain.roles import ROLE_ACTIONS


@dataclass(frozen=True)
class Person:
    """`team`: the role holds for team support only (an agent is of that team, and acts for itself all the same). `dead`: why the token is
    refused or, for a membership, gives nothing. `lent`: a role that somebody delegated to them. `granted`: what the group that they are in
    may do to the pack of the place `own`. `service`: a program's account."""

    tenant: str
    role: str = ""
    team: bool = False
    scopes: tuple[str, ...] = ()
    dead: str = ""
    lent: str = ""
    granted: tuple[str, ...] = ()
    service: bool = False

    @property
    def acts(self) -> frozenset[Action]:
        """What the role table gives them, in the tenant or their team."""
        found = ROLE_ACTIONS.get(self.role, frozenset()) | (ROLE_ACTIONS.get(self.lent, frozenset()) - NOT_LENT)
        return found - {Action.APPROVE} if self.service else found


# What lasts is not lent, and four eyes are people's (`docs/security.md`: Delegation, Service accounts).
NOT_LENT = {Action.MANAGE_MEMBERS, Action.MANAGE_TOKENS, Action.MANAGE_TENANT, Action.REVEAL}
LENDABLE = ("author", "operator", "manager", "tenant_admin")


# Whose tokens open doors. `domain.md` 2 says what each role may; `tests/identity/test_roles.py` holds the role table to it.
PEOPLE = {
    "viewer": Person("acme", "viewer"),
    "author": Person("acme", "author"),
    "operator": Person("acme", "operator"),
    "manager": Person("acme", "manager"),
    "admin": Person("acme", "tenant_admin"),
    "auditor": Person("acme", "auditor"),
    "team-author": Person("acme", "author", team=True),
    "team-manager": Person("acme", "manager", team=True),
    "team-admin": Person("acme", "tenant_admin", team=True),
    "narrowed-admin": Person("acme", "tenant_admin", scopes=("view",)),
    "delegate": Person("acme", "viewer", lent="tenant_admin"),
    "service-manager": Person("acme", "manager", service=True),
    "grouped": Person("acme", granted=("view", "author")),
    "former-admin": Person("acme", "tenant_admin", dead="membership"),
    "agent": Person("acme", "agent"),
    "team-agent": Person("acme", "agent", team=True),
    "narrowed-agent": Person("acme", "agent", scopes=("heartbeat",)),
    "stranger": Person("globex", "tenant_admin"),
    "platform-admin": Person("platform", "tenant_admin"),
    "platform-author": Person("platform", "author"),
    "expired": Person("acme", "tenant_admin", dead="expired"),
    "revoked": Person("acme", "tenant_admin", dead="revoked"),
    "inactive": Person("acme", "tenant_admin", dead="inactive"),
    "of-a-suspended-tenant": Person("shut", "tenant_admin", dead="tenant"),
    "expired-agent": Person("acme", "agent", dead="expired"),
    "suspended-agent": Person("acme", "agent", dead="suspended"),
}
REFUSED = [name for name, person in PEOPLE.items() if person.dead not in ("", "membership")]
ADMITTED = [name for name in PEOPLE if name not in REFUSED]
# Where each place's objects belong: (tenant, whether to team support).
PLACES = {"own": ("acme", False), "team": ("acme", True), "other": ("globex", False), "shared": ("platform", False)}


# The kinds of `world` that stand under the place's pack, and so under what is granted on it. A run stands there by the name it reports; what
# is put together from all over the tenant does not.
UNDER_THE_PACK = {
    *("pack", "layer", "live", "draft", "pointer"),
    *("eval set", "case", "answered run", "replay", "harness run", "item", "result"),
    *("run", "score"),
}


def holds(name: str, act: str, tenant: str, *, team: bool = False) -> bool:
    """Whether the role table lets this person do the act (`a|b`: either) on an object of this tenant (of its team support). A role for a
    team counts for its objects, and for looking at the rest."""
    person = PEOPLE[name]
    if person.dead or person.tenant != tenant:
        return False
    narrow = person.team and person.role != "agent"
    allowed = [each for each in act.split("|") if not person.scopes or each in person.scopes]
    return any(Action(each) in person.acts and (not narrow or team or each == "view") for each in allowed)


def holds_anywhere(name: str, act: str) -> bool:
    """In their tenant, or in one of its teams."""
    return any(holds(name, act, PEOPLE[name].tenant, team=team) for team in (False, True))


def granted(name: str, act: str, place: str, kind: str) -> bool:
    """Whether it is granted to them on the container that this object stands under."""
    return place == "own" and kind in UNDER_THE_PACK and act in PEOPLE[name].granted


def lends(name: str, role: str, *, team: bool) -> bool:
    """Whether this is a role that the person can hand over, there: their own, and they are a person."""
    person = PEOPLE[name]
    mine = role in LENDABLE and person.role == role and not person.dead and not person.service and not person.scopes
    return mine and (team or not person.team)


def sees(name: str, place: str, *, kind: str, library: bool) -> bool:
    """Whether an object in this place exists for them: their tenant's do, and those of the shared library that are `library`; for who holds
    no role, what is granted, and the name of the tenant that they work in."""
    tenant, _ = PLACES[place]
    home = PEOPLE[name].tenant
    if PEOPLE[name].granted:
        return granted(name, "view", place, kind) or (kind == "tenant" and tenant == home)
    return holds(name, "view", home) and (tenant == home or (library and tenant == "platform"))
