"""The one place where an access question is answered: `can`, `require` for an act, and the filter behind `restrict`."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Model, Q

from apps.core.access import Action, register_answer, register_demand
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.identity.domain.platform import platform_id
from apps.identity.domain.roles import ROLE_ACTIONS, allows
from apps.identity.models import TenantStatus


def can(ctx: ActionContext, action: Action, *, tenant_id: UUID, team_id: UUID | None = None) -> bool:
    """Whether `ctx` may do `action` on an object of this tenant and team. A role held in a team counts for that team's objects, and
    for looking at the rest of the tenant. Of another tenant's objects one sees the shared library; and whoever manages `platform` manages
    the tenants of the installation (not what is in them)."""
    if ctx.scopes is not None and action.value not in ctx.scopes and "*" not in ctx.scopes:
        return False
    if tenant_id != ctx.tenant_id:
        if action is Action.VIEW:
            return tenant_id == platform_id() and any(allows(grant.role, Action.VIEW) for grant in ctx.roles)
        return action is Action.MANAGE_TENANT and manages_platform(ctx)
    return any(
        allows(grant.role, action, delegated=grant.via is not None)
        and (grant.team_id is None or grant.team_id == team_id or action is Action.VIEW)
        for grant in ctx.roles
    )


def manages_platform(ctx: ActionContext) -> bool:
    """Whether `ctx` manages the installation's organisations and tenants: MANAGE_TENANT, tenant-wide, in `platform`."""
    return ctx.tenant_id == platform_id() and can(ctx, Action.MANAGE_TENANT, tenant_id=platform_id())


def lacking(ctx: ActionContext, role: str, *, tenant_id: UUID, team_id: UUID | None = None) -> list[Action]:
    """The actions of a role that `ctx` may not do itself there, and so may not hand on."""
    return sorted(action for action in ROLE_ACTIONS[role] if not can(ctx, action, tenant_id=tenant_id, team_id=team_id))


@register_demand
def require(ctx: ActionContext, action: Action, *, tenant_id: UUID, team_id: UUID | None = None) -> None:
    """Raises Problem `not_found` where the object is invisible, `permission_denied` where it is visible and the act is not allowed."""
    if can(ctx, action, tenant_id=tenant_id, team_id=team_id):
        return
    if tenant_id not in (ctx.tenant_id, platform_id()):
        raise problem("not_found", "There is no such object.")
    if tenant_id != ctx.tenant_id:
        raise problem("permission_denied", "This belongs to the shared library; it is changed by the people of the tenant 'platform'.")
    raise problem("permission_denied", f"Your role in this tenant does not allow '{action.value.replace('_', ' ')}' here.")


@register_answer
def restrict(ctx: ActionContext, action: Action, model: type[Model]) -> Q:
    """The rows of `model` on which `ctx` may do `action`: its tenant's (its teams' only, for a role held in a team) and, for looking,
    those of the shared library."""
    if model._meta.label in ("identity.Tenant", "identity.Organisation"):
        return _governing(ctx, action, tenants=model._meta.label == "identity.Tenant")
    shared = getattr(model, "SHARED", False) and can(ctx, action, tenant_id=platform_id())
    rows = Q(tenant_id=platform_id()) if shared else Q(pk__in=[])
    if can(ctx, action, tenant_id=ctx.tenant_id):
        return rows | Q(tenant_id=ctx.tenant_id)
    path = getattr(model, "TEAM_PATH", None)
    teams = [grant.team_id for grant in ctx.roles if grant.team_id and can(ctx, action, tenant_id=ctx.tenant_id, team_id=grant.team_id)]
    if path and teams:
        return rows | Q(tenant_id=ctx.tenant_id, **{f"{path}__in": teams})
    return rows


def _governing(ctx: ActionContext, action: Action, *, tenants: bool) -> Q:
    """The tenants, or organisations, that one sees or manages: one's own; all that are not deleted for who manages `platform`."""
    if action in (Action.VIEW, Action.MANAGE_TENANT) and manages_platform(ctx):
        return ~Q(status=TenantStatus.DELETED) if tenants else Q()
    if not can(ctx, action, tenant_id=ctx.tenant_id):
        return Q(pk__in=[])
    return Q(pk=ctx.tenant_id) if tenants else Q(tenants=ctx.tenant_id)
