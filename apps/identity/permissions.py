"""The one place where an access question is answered: `can`, `require` for an act, and the filter behind `restrict`."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Model, Q

from apps.core.access import Action, register_answer
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.identity.domain.roles import allows
from apps.identity.selectors import platform_id


def can(ctx: ActionContext, action: Action, *, tenant_id: UUID, team_id: UUID | None = None) -> bool:
    """Whether `ctx` may do `action` on an object of this tenant and team. A role held in a team counts for that team's objects, and
    for looking at the rest of the tenant."""
    if ctx.scopes is not None and action.value not in ctx.scopes and "*" not in ctx.scopes:
        return False
    if tenant_id != ctx.tenant_id:
        return action is Action.VIEW and tenant_id == platform_id() and bool(ctx.roles)
    return any(
        allows(grant.role, action) and (grant.team_id is None or grant.team_id == team_id or action is Action.VIEW) for grant in ctx.roles
    )


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
    if model._meta.label == "identity.Tenant":
        return Q(pk=ctx.tenant_id) if can(ctx, action, tenant_id=ctx.tenant_id) else Q(pk__in=[])
    if model._meta.label == "identity.Organisation":
        return Q(tenants=ctx.tenant_id) if can(ctx, action, tenant_id=ctx.tenant_id) else Q(pk__in=[])
    shared = getattr(model, "SHARED", False) and can(ctx, action, tenant_id=platform_id())
    rows = Q(tenant_id=platform_id()) if shared else Q(pk__in=[])
    if can(ctx, action, tenant_id=ctx.tenant_id):
        return rows | Q(tenant_id=ctx.tenant_id)
    path = getattr(model, "TEAM_PATH", None)
    teams = [grant.team_id for grant in ctx.roles if grant.team_id and can(ctx, action, tenant_id=ctx.tenant_id, team_id=grant.team_id)]
    if path and teams:
        return rows | Q(tenant_id=ctx.tenant_id, **{f"{path}__in": teams})
    return rows
