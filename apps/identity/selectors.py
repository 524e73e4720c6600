"""Reads of identity that several rooms share."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils import timezone

from apps.core.access import Action
from apps.core.context import ActionContext, RoleGrant
from apps.core.errors import problem
from apps.identity.domain.platform import PLATFORM_ID as PLATFORM_ID
from apps.identity.domain.platform import platform_id as platform_id
from apps.identity.domain.roles import ROLE_ACTIONS
from apps.identity.models import AgentToken, ApiToken, Membership, Team, Tenant, TenantStatus, User


def roles_of(user: User, tenant_id: UUID) -> frozenset[RoleGrant]:
    """The roles that a person holds in a tenant now; none once the membership, the person or the tenant has ended."""
    if not user.is_active:
        return frozenset()
    rows = Membership.objects.filter(user=user, tenant_id=tenant_id, tenant__status=TenantStatus.ACTIVE).filter(
        Q(until__isnull=True) | Q(until__gt=timezone.now())
    )
    return frozenset(RoleGrant(role, team_id) for role, team_id in rows.values_list("role", "team_id"))


def tenants_of(user: User) -> Iterable[Tenant]:
    """The active tenants in which a person holds a role, by name."""
    now = timezone.now()
    held = Membership.objects.filter(Q(until__isnull=True) | Q(until__gt=now), user=user)
    return Tenant.objects.filter(status=TenantStatus.ACTIVE, pk__in=held.values("tenant_id")).order_by("slug")


def tenant_by_slug(slug: str) -> Tenant:
    """Raises Problem `not_found`."""
    tenant: Tenant | None = Tenant.objects.filter(slug=slug).exclude(status=TenantStatus.DELETED).first()
    if tenant is None:
        raise problem("not_found", f"There is no tenant '{slug}'.")
    return tenant


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
