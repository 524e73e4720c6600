"""Small builders that tests share. They go through services where a service exists, so that what they make is what users make."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID

from django.utils import timezone

from apps.core.context import ActionContext, Actor, RoleGrant, system_context
from apps.evals.models import EvalSet
from apps.evals.services.cases import add_cases, create_eval_set
from apps.identity.models import (
    Agent,
    AgentToken,
    ApiToken,
    Delegation,
    Membership,
    OidcProvider,
    Organisation,
    Team,
    Tenant,
    TenantGroup,
    User,
)
from apps.identity.selectors import groups_of, roles_of
from apps.identity.services.access import add_group_member, create_group
from apps.identity.services.oidc import add_provider, map_group
from apps.identity.tokens import new_secret
from apps.packs.models import Pack, PackVersion, Subscription
from apps.packs.services.layers import locked_layer, set_champion
from apps.packs.services.packs import create_pack, subscribe
from apps.packs.services.versions import create_version

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


def delegation(tenant: Tenant, lender: User, *, role: str = "manager", team: Team | None = None) -> Delegation:
    """What the lender holds, lent to a new viewer for a week."""
    return Delegation.objects.create(
        tenant=tenant, from_user=lender, to_user=user(tenant, "viewer"), role=role, team=team, until=timezone.now() + timedelta(days=7)
    )


def provider(tenant: Tenant, slug: str, issuer: str = "https://id.example.test", *, groups: dict[str, str] | None = None) -> OidcProvider:
    """A way to sign in, whose client is `mission-control` with the secret of OIDC_SECRET_TEST; `groups` is group -> role."""
    made = add_provider(
        ctx=system(tenant.pk), slug=slug, name=slug.title(), issuer=issuer, client_id=f"mission-control{'' if '127.0.0.1' in issuer else slug}",
        secret_env="OIDC_SECRET_TEST",
    )  # fmt: skip
    for group, role in (groups or {}).items():
        map_group(ctx=system(tenant.pk), provider_id=made.pk, group=group, role=role)
    return made


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


def member(tenant: Tenant, *roles: str, team: Team | None = None) -> ActionContext:
    """A new person's context, who holds these roles by membership: what they approve stands."""
    return context(tenant.pk, *roles, user=user(tenant, *roles, team=team), team=team)


def role_context(tenant: Tenant, role: str, *, team: Team | None = None, until: Any = None) -> ActionContext:
    """The context of a new person who holds the role as a membership, as a sign-in would give it."""
    person = user(email="")
    Membership.objects.create(tenant=tenant, user=person, role=role, team=team, until=until)
    return member_context(person, tenant)


def group(tenant: Tenant, *people: User, name: str = "") -> TenantGroup:
    made = create_group(ctx=system(tenant.pk), name=name or f"group {next(_numbers)}")
    for person in people:
        add_group_member(ctx=system(tenant.pk), group_id=made.pk, email=person.email)
    return made


def member_context(person: User, tenant: Tenant) -> ActionContext:
    """What a sign-in gives this person in the tenant: their roles and groups of now."""
    groups = frozenset(found.group_id for found in groups_of(person) if found.tenant_id == tenant.pk)
    roles = roles_of(person, tenant.pk)
    return ActionContext(actor=Actor("user", person.pk, person.email), tenant_id=tenant.pk, channel="api", roles=roles, groups=groups)


def system(tenant_id: UUID) -> ActionContext:
    return system_context("tests", tenant_id=tenant_id)


def bearer(token: str) -> dict[str, str]:
    """Headers for Django's test client."""
    return {"Authorization": f"Bearer {token}"}


def content(text: str = "You answer questions of staff.", **blocks: Any) -> dict[str, Any]:
    """A small, valid content of a domain pack."""
    return {"sections": {"role": {"text": text, "order": 10, "file": "AGENTS", "mode": "append"}}, **blocks}


def version(tenant: Tenant, pack: str, scope: str, body: dict[str, Any] | None = None, **fields: Any) -> PackVersion:
    """A draft, written by the system."""
    return create_version(ctx=system(tenant.pk), pack_slug=pack, scope=scope, content=body if body is not None else content(), **fields)


def champion(tenant: Tenant, pack: str, scope: str, body: dict[str, Any] | None = None) -> PackVersion:
    """A version that is live, put there without the gate."""
    made = version(tenant, pack, scope, body)
    ctx = system(tenant.pk)
    with ctx.transaction():
        set_champion(ctx, locked_layer(made.layer_id), made, archived_reason="replaced")
    made.refresh_from_db()
    return made


def platform() -> Tenant:
    return Tenant.objects.get(slug="platform")


def own_pack(tenant: Tenant, slug: str = "", *, kind: str = "domain", domain: str = "hr-ops") -> Pack:
    """A pack of the tenant's own (or, for platform, of the shared library), with nothing live."""
    slug = slug or f"pack-{next(_numbers)}"
    return create_pack(ctx=system(tenant.pk), slug=slug, kind=kind, title=slug.title(), domain=domain if kind == "domain" else "")


def subscription(tenant: Tenant, pack: Pack, pinned: PackVersion | None = None) -> Subscription:
    return subscribe(ctx=system(tenant.pk), pack_slug=pack.slug, pinned_version_id=pinned.pk if pinned else None)


def eval_set(tenant: Tenant, pack: Pack, cases: int | list[dict[str, Any]] = 3) -> EvalSet:
    """A set of validation cases: as given, or so many questions whose answer holds `fact <n>`."""
    made = create_eval_set(ctx=system(tenant.pk), pack=pack.slug, slug=f"set-{next(_numbers)}", title="Questions")
    if isinstance(cases, int):
        cases = [{"input": f"question {n}", "expected": {"contains": [f"fact {n}"]}} for n in range(1, cases + 1)]
    if cases:
        add_cases(ctx=system(tenant.pk), eval_set_id=made.pk, cases=cases)
    return made
