"""The context of a signed-in person: exactly one tenant, the session's choice."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest

from apps.core.context import ActionContext, Actor, Channel, RoleGrant, in_tenant
from apps.core.http import request_id_of
from apps.identity.models import Tenant
from apps.identity.selectors import groups_of, platform_id, roles_of, tenants_of

SESSION_KEY = "tenant"


def context_for_session(request: HttpRequest, channel: Channel = "admin") -> ActionContext:
    """The person's context. Without a valid choice it is their first tenant; without any role or group, `platform` with neither."""
    user = request.user
    groups = groups_of(user)  # type: ignore[arg-type]
    tenants = tenants_of(user)  # type: ignore[arg-type]
    chosen = request.session.get(SESSION_KEY)
    tenant = next((tenant for tenant in tenants if str(tenant.pk) == chosen), tenants[0] if tenants else None)
    tenant_id: UUID = tenant.pk if tenant else platform_id()
    request.tenant, request.tenants = tenant, tenants  # type: ignore[attr-defined]
    roles: frozenset[RoleGrant] = frozenset()
    if tenant is not None:
        with in_tenant(tenant_id):
            roles = roles_of(user, tenant_id)  # type: ignore[arg-type]
    return ActionContext(
        actor=Actor("user", user.pk, user.get_username()),
        tenant_id=tenant_id,
        channel=channel,
        roles=roles,
        groups=frozenset(group.group_id for group in groups if tenant and group.tenant_id == tenant_id),
        request_id=request_id_of(request),
    )


def choose_tenant(request: HttpRequest, tenant: Tenant) -> None:
    """Binds the session to a tenant in which the person holds a role or is in a group."""
    request.session[SESSION_KEY] = str(tenant.pk)
