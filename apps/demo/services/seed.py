"""Puts the demo organisation into the portal, through the services that people use. What is there already is left as it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from apps.audit.services import record
from apps.core.context import ActionContext, in_tenant, system_context
from apps.core.errors import Problem, problem
from apps.demo import catalogue
from apps.demo.services.library import seed_library
from apps.identity.models import Agent, Membership, Organisation, Team, User
from apps.identity.selectors import platform_id, tenant_by_slug
from apps.identity.services import add_member, create_agent, create_organisation, create_team, create_tenant

NAME = "seed_demo"
HARNESS = "simulated"
PLATFORM = "platform"


@dataclass(slots=True)
class Seeding:
    """One run of seeding: the tenants by slug, and how many things of each kind were made."""

    tenants: dict[str, UUID] = field(default_factory=dict)
    made: Counter[str] = field(default_factory=Counter)

    def ctx(self, tenant: str) -> ActionContext:
        """The system actor in a tenant, over the command line."""
        return context(self.tenants[tenant])


def context(tenant_id: UUID) -> ActionContext:
    return system_context(NAME, tenant_id=tenant_id, channel="cli")


def seed(*, password: str | None = None) -> Counter[str]:
    """Makes what is missing of the demo; how many things of each kind were made. With a password, the demo's people get it.

    Repeatable, and goes on where a broken run stopped: each thing is one transaction. Raises Problem `invalid` for a weak password.
    """
    seeding = Seeding()
    house = catalogue.organisation()
    _tenants(seeding, house)
    teams, agents, people, roles = rows_of(
        seeding.tenants,
        (Team.objects.all(), ("slug",)),
        (Agent.objects.all(), ("slug",)),
        (Membership.objects.all(), ("user__email",)),
        (Membership.objects.filter(team=None), ("user__email", "role")),
    )
    _teams_and_agents(seeding, house, teams, agents)
    _people(seeding, house, people)
    _admins(seeding, house, roles)
    seed_library(seeding.ctx, seeding.made)
    if password is not None:
        _passwords(seeding, house, password)
    return +seeding.made


def known_tenants(house: catalogue.Organisation) -> dict[str, UUID]:
    """Those of the house's tenants that are there, and `platform`, by slug."""
    found = {PLATFORM: platform_id()}
    for tenant in house.tenants:
        try:
            found[tenant.slug] = tenant_by_slug(tenant.slug).pk
        except Problem:
            continue
    return found


def _tenants(seeding: Seeding, house: catalogue.Organisation) -> None:
    seeding.tenants = known_tenants(house)
    for tenant in house.tenants:
        if tenant.slug not in seeding.tenants:
            ctx = seeding.ctx(PLATFORM)
            with ctx.transaction():
                if not Organisation.objects.filter(slug=house.slug).exists():
                    create_organisation(ctx=ctx, slug=house.slug, name=house.name)
                made = create_tenant(ctx=ctx, organisation=house.slug, slug=tenant.slug, name=tenant.name, tier=tenant.tier)
            seeding.tenants[tenant.slug] = made.pk
            seeding.made["tenants"] += 1


Wanted = tuple[QuerySet[Any], tuple[str, ...]]
Known = set[tuple[Any, ...]]


def rows_of(tenants: dict[str, UUID], *wanted: Wanted) -> list[Known]:
    """For each (rows, fields): (tenant, *fields) of those rows; each tenant's are read in one transaction of its own."""
    found: list[Known] = [set() for _ in wanted]
    for slug, tenant_id in tenants.items():
        with in_tenant(tenant_id):
            for known, (rows, fields) in zip(found, wanted, strict=True):
                known |= {(slug, *values) for values in rows.filter(tenant_id=tenant_id).values_list(*fields)}
    return found


def _teams_and_agents(seeding: Seeding, house: catalogue.Organisation, teams: Known, agents: Known) -> None:
    for team in house.teams:
        if (team.tenant, team.slug) not in teams:
            create_team(ctx=seeding.ctx(team.tenant), slug=team.slug, name=team.name)
            seeding.made["teams"] += 1
    for agent in house.agents:
        if (agent.tenant, agent.slug) not in agents:
            create_agent(
                ctx=seeding.ctx(agent.tenant),
                slug=agent.slug,
                team=agent.team,
                name=agent.name,
                domain=agent.domain,
                autonomy=agent.autonomy,
                default_pack=agent.pack,
                harness_kind=HARNESS,
            )
            seeding.made["agents"] += 1


def _people(seeding: Seeding, house: catalogue.Organisation, known: Known) -> None:
    for user in house.users:
        if (user.tenant, user.email) not in known:
            add_member(
                ctx=seeding.ctx(user.tenant), email=user.email, name=user.name, role=user.role, team=user.team, user_ref=user.user_ref
            )
            seeding.made["people"] += 1


def _admins(seeding: Seeding, house: catalogue.Organisation, known: Known) -> None:
    """Who administers the installation sees the demo's tenants from inside, and may approve what waits for a manager there."""
    own = {user.email for user in house.users}
    emails = sorted(email for tenant, email, role in known if (tenant, role) == (PLATFORM, "tenant_admin") and email not in own)
    for tenant in house.tenants:
        for email in emails:
            for role in ("tenant_admin", "manager"):
                if (tenant.slug, email, role) not in known:
                    add_member(ctx=seeding.ctx(tenant.slug), email=email, role=role)
                    seeding.made["memberships of admins"] += 1


def _passwords(seeding: Seeding, house: catalogue.Organisation, password: str) -> None:
    for email, tenant in sorted((user.email, user.tenant) for user in house.users):
        ctx = seeding.ctx(tenant)
        with ctx.transaction():
            user = User.objects.get(email=email)
            try:
                validate_password(password, user)
            except ValidationError as error:
                raise problem("invalid", " ".join(error.messages), pointer="/password") from None
            user.set_password(password)
            user.save(update_fields=["password"])
            record(ctx, "identity.password_set", user)
        seeding.made["passwords"] += 1
