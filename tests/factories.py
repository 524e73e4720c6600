"""Small builders that tests share. They go through services where a service exists, so that what they make is what users make."""

from __future__ import annotations

from itertools import count
from typing import Any
from uuid import UUID

from apps.core.context import ActionContext, Actor, RoleGrant, system_context
from apps.identity.models import Agent, AgentToken, ApiToken, Membership, Organisation, Team, Tenant, User
from apps.identity.tokens import new_secret

_numbers = count(1)


def tenant(slug: str = "", *, tier: str = "enterprise", organisation: Organisation | None = None) -> Tenant:
    slug = slug or f"tenant-{next(_numbers)}"
    organisation = organisation or Organisation.objects.create(slug=f"org-{slug}", name=f"Organisation of {slug}")
    return Tenant.objects.create(organisation=organisation, slug=slug, name=slug.title(), tier=tier)


def team(tenant: Tenant, slug: str = "support") -> Team:
    return Team.objects.create(tenant=tenant, slug=slug, name=slug.title())


def user(tenant: Tenant | None = None, *roles: str, email: str = "", team: Team | None = None, password: str | None = None) -> User:
    person = User.objects.create_user(email or f"person-{next(_numbers)}@example.test", password=password)
    for role in roles:
        assert tenant is not None
        Membership.objects.create(tenant=tenant, user=person, role=role, team=team)
    return person


def agent(tenant: Tenant, slug: str = "", *, team: Team | None = None, domain: str = "hr-ops", **fields: Any) -> Agent:
    return Agent.objects.create(tenant=tenant, slug=slug or f"agent-{next(_numbers)}", team=team, domain=domain, **fields)


def agent_token(agent: Agent, *, scopes: list[str] | None = None, **fields: Any) -> str:
    prefix, token, hashed = new_secret()
    AgentToken.objects.create(tenant_id=agent.tenant_id, agent=agent, prefix=prefix, hash=hashed, scopes=scopes or [], **fields)
    return token


def api_token(user: User, tenant: Tenant, *, scopes: list[str] | None = None, **fields: Any) -> str:
    prefix, token, hashed = new_secret()
    ApiToken.objects.create(tenant=tenant, user=user, prefix=prefix, hash=hashed, scopes=scopes or [], **fields)
    return token


def context(tenant_id: UUID, *roles: str, user: User | None = None, team: Team | None = None) -> ActionContext:
    """A person's context with these roles (a new person unless one is given)."""
    person = user or User.objects.create_user(f"person-{next(_numbers)}@example.test")
    grants = frozenset(RoleGrant(role, team.pk if team else None) for role in roles)
    return ActionContext(actor=Actor("user", person.pk, person.email), tenant_id=tenant_id, channel="api", roles=grants)


def system(tenant_id: UUID) -> ActionContext:
    return system_context("tests", tenant_id=tenant_id)


def bearer(token: str) -> dict[str, str]:
    """Headers for Django's test client."""
    return {"Authorization": f"Bearer {token}"}
