"""Reads of identity that several rooms share."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from apps.core.context import RoleGrant
from apps.core.errors import problem
from apps.identity.models import Membership, Tenant, TenantStatus, User

# Made by a migration with this key, so that no process needs to look it up.
PLATFORM_ID = UUID("00000000-0000-7000-8000-000000000001")


def platform_id() -> UUID:
    """The tenant that owns the shared library and the scopes above tenant."""
    return PLATFORM_ID


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
    tenant = Tenant.objects.filter(slug=slug).exclude(status=TenantStatus.DELETED).first()
    if tenant is None:
        raise problem("not_found", f"There is no tenant '{slug}'.")
    return tenant


