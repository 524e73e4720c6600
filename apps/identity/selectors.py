"""Reads of identity that several rooms share."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from apps.core.access import Action
from apps.core.context import ActionContext, RoleGrant, in_tenant
from apps.core.errors import problem
from apps.identity.domain.platform import PLATFORM_ID as PLATFORM_ID
from apps.identity.domain.platform import platform_id as platform_id
from apps.identity.domain.roles import ROLE_ACTIONS
from apps.identity.models import AgentToken, ApiToken, Membership, OidcProvider, Team, Tenant, TenantStatus, User


def roles_of(user: User, tenant_id: UUID) -> frozenset[RoleGrant]:
    """The roles that a person holds in a tenant now; none once the membership, the person or the tenant has ended. Asked within a
    transaction of that tenant."""
    if not user.is_active:
        return frozenset()
    rows = Membership.objects.filter(user=user, tenant_id=tenant_id, tenant__status=TenantStatus.ACTIVE).filter(
        Q(until__isnull=True) | Q(until__gt=timezone.now())
    )
    return frozenset(RoleGrant(role, team_id) for role, team_id in rows.values_list("role", "team_id"))


def tenants_of(user: User) -> list[Tenant]:
    """The active tenants in which a person holds a role, by slug: id, slug, name and tier of each. For before a tenant is known."""
    return list(Tenant.objects.raw("SELECT id, slug, name, tier FROM identity_tenants_of(%s)", [user.pk]))


def tenant_by_slug(slug: str) -> Tenant:
    """Its id, slug, name, tier and status, for before a tenant is known. Raises Problem `not_found`."""
    found = list(Tenant.objects.raw("SELECT id, slug, name, tier, status FROM identity_tenant_by_slug(%s)", [slug]))
    if not found:
        raise problem("not_found", f"There is no tenant '{slug}'.")
    tenant: Tenant = found[0]
    return tenant


def provider_in_use(slug: str) -> OidcProvider | None:
    """The provider by which one may sign in: it and its tenant are switched on. For before a tenant is known."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT identity_provider_tenant(%s)", [slug])
        (tenant_id,) = cursor.fetchone()
    if tenant_id is None:
        return None
    with in_tenant(tenant_id):
        found: OidcProvider | None = OidcProvider.objects.filter(slug=slug).first()
    return found


def sign_in_choices() -> list[tuple[str, str]]:
    """Slug and name of each provider by which one may sign in."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT slug, name FROM identity_sign_in_choices()")
        return cursor.fetchall()


def active_person(person_id: UUID | str) -> User | None:
    """The person of a session, whatever the tenant."""
    return next(iter(User.objects.raw("SELECT * FROM identity_person(%s)", [person_id])), None)


def person_to_sign_in(email: str) -> User | None:
    """Whoever has this address (as addresses are stored), switched off or not, whatever the tenant."""
    return next(iter(User.objects.raw("SELECT * FROM identity_person_to_sign_in(%s)", [email])), None)


def id_by_email(email: str) -> UUID | None:
    """The id of the person with this address (as addresses are stored), whatever the tenant; their row is seen by those that know them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT identity_person_at(%s)", [email])
        found: UUID | None = cursor.fetchone()[0]
    return found


def team_by_slug(ctx: ActionContext, slug: str | None) -> Team | None:
    """The team of the context's tenant that a request names, or None when it names none. Raises Problem `invalid` at `/team`."""
    if not slug:
        return None
    team: Team | None = Team.objects.restrict(ctx).filter(slug=slug, tenant_id=ctx.tenant_id).first()
    if team is None:
        raise problem("invalid", f"The tenant has no team '{slug}'.", pointer="/team")
    return team


def actions_in(roles: Iterable[RoleGrant]) -> frozenset[Action]:
    """Every action that these roles allow, tenant-wide or for a team."""
    return frozenset(action for grant in roles for action in ROLE_ACTIONS.get(grant.role, frozenset()))


def live_tokens(now: datetime) -> Q:
    """Those that are neither revoked nor expired."""
    return Q(revoked_at__isnull=True) & (Q(expires_at__isnull=True) | Q(expires_at__gt=now))


def expiring_tokens(within: timedelta, now: datetime) -> Q:
    """Live tokens that end within this time."""
    return live_tokens(now) & Q(expires_at__lte=now + within)


def unused_tokens(since: timedelta, now: datetime) -> Q:
    """Live tokens that nobody has used for so long, and that are as old."""
    long_ago = now - since
    return live_tokens(now) & Q(created_at__lte=long_ago) & (Q(last_used_at__isnull=True) | Q(last_used_at__lte=long_ago))


def visible_token(ctx: ActionContext, token_id: UUID | str, *, lock: bool = False) -> AgentToken | ApiToken:
    """The agent's or person's token with this id. Raises Problem `not_found`."""
    for model, holder in ((AgentToken, "agent"), (ApiToken, "user")):
        rows = model.objects.select_related(holder, "successor").restrict(ctx)
        try:
            found = (rows.select_for_update(of=("self",)) if lock else rows).filter(pk=token_id).first()
        except ValidationError:
            break
        if found is not None:
            token: AgentToken | ApiToken = found
            return token
    raise problem("not_found", "There is no such token.")
