"""Reads of identity that several rooms share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from apps.core.access import Action
from apps.core.context import ActionContext, RoleGrant
from apps.core.errors import problem
from apps.identity.domain.platform import PLATFORM_ID as PLATFORM_ID
from apps.identity.domain.platform import platform_id as platform_id
from apps.identity.domain.roles import actions_of
from apps.identity.models import AgentToken, ApiToken, Membership, Team, Tenant, TenantStatus, User


def roles_of(user: User, tenant_id: UUID) -> frozenset[RoleGrant]:
    """The roles that a person holds in a tenant now; none once the membership, the person or the tenant has ended."""
    if not user.is_active:
        return frozenset()
    rows = Membership.objects.filter(user=user, tenant_id=tenant_id, tenant__status=TenantStatus.ACTIVE).filter(
        Q(until__isnull=True) | Q(until__gt=timezone.now())
    )
    return frozenset(RoleGrant(role, team_id) for role, team_id in rows.values_list("role", "team_id"))


@dataclass(frozen=True, slots=True)
class InGroup:
    """That a person is in a group of a tenant now; `group_id` is the key of Django's group."""

    tenant_id: UUID
    group_id: int
    until: datetime | None


def groups_of(user: User) -> list[InGroup]:
    """The groups that a person is in now, of all tenants; none once the membership, the person or the tenant has ended."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id, group_id, until FROM identity_groups_of(%s)", [user.pk])
        return [InGroup(*row) for row in cursor.fetchall()]


def tenants_of(user: User, groups: Iterable[InGroup] = ()) -> Iterable[Tenant]:
    """The active tenants in which a person holds a role or is in one of these groups, by name."""
    now = timezone.now()
    held = Membership.objects.filter(Q(until__isnull=True) | Q(until__gt=now), user=user)
    here = Q(pk__in=held.values("tenant_id")) | Q(pk__in={group.tenant_id for group in groups})
    return Tenant.objects.filter(here, status=TenantStatus.ACTIVE).order_by("slug")


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
    return frozenset(action for grant in roles for action in actions_of(grant.role, delegated=grant.via is not None))


def visible_token(ctx: ActionContext, token_id: UUID | str, *, lock: bool = False) -> AgentToken | ApiToken:
    """The agent's or person's token with this id. Raises Problem `not_found`."""
    for model, holder in ((AgentToken, "agent"), (ApiToken, "user")):
        rows = model.objects.select_related(holder).restrict(ctx)
        try:
            found = (rows.select_for_update(of=("self",)) if lock else rows).filter(pk=token_id).first()
        except ValidationError:
            break
        if found is not None:
            token: AgentToken | ApiToken = found
            return token
    raise problem("not_found", "There is no such token.")
