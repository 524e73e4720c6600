"""Everybody who may come to a door, and what the role table gives them."""

from __future__ import annotations

from dataclasses import dataclass

from apps.core.domain.actions import Action
from apps.identity.domain.roles import ROLE_ACTIONS


@dataclass(frozen=True)
class Person:
    """`team`: the role holds for team support only (an agent is of that team, and acts for itself all the same). `dead`: why the token is
    refused or, for a membership, gives nothing."""

    tenant: str
    role: str = ""
    team: bool = False
    scopes: tuple[str, ...] = ()
    dead: str = ""


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


def holds(name: str, act: str, tenant: str, *, team: bool = False) -> bool:
    """Whether the role table lets this person do the act on an object of this tenant (of its team support). A role for a team counts for its
    objects, and for looking at the rest."""
    person = PEOPLE[name]
    if person.dead or person.tenant != tenant or (person.scopes and act not in person.scopes):
        return False
    narrow = person.team and person.role != "agent"
    return Action(act) in ROLE_ACTIONS[person.role] and (not narrow or team or act == "view")


def sees(name: str, place: str, *, library: bool) -> bool:
    """Whether an object in this place exists for them: their tenant's do, and those of the shared library that are `library`."""
    tenant, _ = PLACES[place]
    home = PEOPLE[name].tenant
    return holds(name, "view", home) and (tenant == home or (library and tenant == "platform"))
