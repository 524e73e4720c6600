"""The one place where an access question is answered: `can`, `require` for an act, and the filter behind `restrict`.

Roles answer first, without a query. Then, for who is in a group, what is granted on the containers that the object stands under.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from django.db.models import CharField, Exists, Model, Q
from django.db.models.functions import Cast

from apps.core.access import Action, register_answer, register_demand, register_listing
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.identity.domain.access import ANY_GRANTABLE, Container, Given, Place, explain
from apps.identity.domain.platform import platform_id
from apps.identity.domain.roles import actions_of, allows
from apps.identity.groups import GrantTable, containers
from apps.identity.models import Tenant, TenantStatus

# The object of an act or, for what is not there yet, what it will stand under.
On = Model | Iterable[Model] | None


def can(ctx: ActionContext, action: Action, *, tenant_id: UUID, team_id: UUID | None = None, on: On = None) -> bool:
    """Whether `ctx` may do `action` on an object of this tenant and team (`explain` says why). Without `on`, what is granted on single
    objects does not count."""
    if not _in_scopes(ctx, action):
        return False
    at = Place(tenant_id, team_id)
    if any(explain(action, at, here=ctx.tenant_id, roles=ctx.roles, grants=())):
        return True
    if on is None or not ctx.groups or action not in ANY_GRANTABLE:
        return False
    at = Place(tenant_id, team_id, containers_of(on))
    return any(explain(action, at, here=ctx.tenant_id, roles=(), grants=_grants(ctx, action, at.containers)))


def _in_scopes(ctx: ActionContext, action: Action) -> bool:
    return ctx.scopes is None or action.value in ctx.scopes or "*" in ctx.scopes


def containers_of(on: On) -> frozenset[Container]:
    """The containers that an object stands under, itself included."""
    return frozenset(found for obj in ([on] if isinstance(on, Model) else on or ()) for found in _containers_of(obj))


def _containers_of(obj: Model) -> Iterator[Container]:
    for kind, paths in getattr(obj, "GRANT_PATHS", {}).items():
        for each in paths:
            path, field = _split(each)
            value: Any = obj
            for name in path.split("__"):
                value = getattr(value, name) if value is not None else None
            if value is not None and field == "text":
                value = _uuid(value)
            elif value is not None and field:
                owner = containers()[kind]._meta.get_field("content_object").related_model
                named = Q(tenant_id__in=[obj.tenant_id, platform_id()], **{field: value})  # type: ignore[attr-defined]
                value = owner._default_manager.filter(named).values_list("pk", flat=True).first()
            if value is not None:
                yield kind, value


def _split(path: str | tuple[str, str]) -> tuple[str, str]:
    """A path, and the field by which it names the container ("" for its id)."""
    return path if isinstance(path, tuple) else (path, "")


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _grants(ctx: ActionContext, action: Action, at: frozenset[Container]) -> Iterator[Given]:
    """What the groups of `ctx` are granted there now: one query, whatever the number of containers."""
    found: list[Any] = []
    for kind, model in containers().items():
        keys = [key for name, key in at if name == kind]
        if keys:
            found.append(granted(ctx, action, model).filter(content_object_id__in=keys).values_list("content_object_id", flat=True))
    if found:
        known = {key: kind for kind, key in at}
        for key in found[0].union(*found[1:], all=True) if len(found) > 1 else found[0]:
            yield Given(action, (known[key], key))


def granted(ctx: ActionContext, action: Action, model: GrantTable) -> Any:
    """The rows of a table of grants that count for `ctx` now."""
    rows = model.objects.live().of(action).filter(tenant_id=ctx.tenant_id, group_id__in=sorted(ctx.groups)).order_by()
    return rows if _in_scopes(ctx, action) else rows.none()


def manages_platform(ctx: ActionContext) -> bool:
    """Whether `ctx` manages the installation's organisations and tenants: MANAGE_TENANT, tenant-wide, in `platform`."""
    return ctx.tenant_id == platform_id() and can(ctx, Action.MANAGE_TENANT, tenant_id=platform_id())


def lacking(ctx: ActionContext, role: str, *, tenant_id: UUID, team_id: UUID | None = None) -> list[Action]:
    """The actions of a role that `ctx` may not do itself there, and so may not hand on."""
    return sorted(action for action in actions_of(role) if not can(ctx, action, tenant_id=tenant_id, team_id=team_id))


@register_demand
def require(ctx: ActionContext, action: Action, *, tenant_id: UUID, team_id: UUID | None = None, on: On = None) -> None:
    """Raises Problem `not_found` where the object is invisible, `permission_denied` where it is visible and the act is not allowed."""
    if can(ctx, action, tenant_id=tenant_id, team_id=team_id, on=on):
        return
    if tenant_id not in (ctx.tenant_id, platform_id()):
        raise problem("not_found", "There is no such object.")
    if isinstance(on, Model) and not can(ctx, Action.VIEW, tenant_id=tenant_id, team_id=team_id, on=on):
        raise problem("not_found", f"There is no such {on._meta.verbose_name}.")
    if tenant_id != ctx.tenant_id:
        raise problem("permission_denied", "This belongs to the shared library; it is changed by the people of the tenant 'platform'.")
    raise problem("permission_denied", f"Nothing that you hold in this tenant allows '{action.value.replace('_', ' ')}' here.")


@register_answer
def restrict(ctx: ActionContext, action: Action, model: type[Model]) -> Q:
    """The rows of `model` on which `ctx` may do `action`: its tenant's (its teams' only, for a role held in a team; those under what is
    granted, for who is in a group) and, for looking, those of the shared library."""
    if model._meta.label in ("identity.Tenant", "identity.Organisation"):
        return _governing(ctx, action, tenants=model._meta.label == "identity.Tenant")
    shared = getattr(model, "SHARED", False) and can(ctx, action, tenant_id=platform_id())
    rows = Q(tenant_id=platform_id()) if shared else Q(pk__in=[])
    if can(ctx, action, tenant_id=ctx.tenant_id):
        return rows | Q(tenant_id=ctx.tenant_id)
    path = getattr(model, "TEAM_PATH", None)
    teams = [grant.team_id for grant in ctx.roles if grant.team_id and can(ctx, action, tenant_id=ctx.tenant_id, team_id=grant.team_id)]
    if path and teams:
        rows |= Q(tenant_id=ctx.tenant_id, **{f"{path}__in": teams})
    # One's own tokens, for who holds no role.
    own = getattr(model, "OWN_PATH", None)
    if own and action is Action.VIEW and ctx.groups and _in_scopes(ctx, action):
        rows |= Q(tenant_id=ctx.tenant_id, **{own: ctx.user_id})
    return rows | _under_grants(ctx, action, model)


def _under_grants(ctx: ActionContext, action: Action, model: type[Model]) -> Q:
    """The rows that stand under a container on which `action` is granted. One path alone is a plain semi-join, which reads the grants and
    not the rows; so kinds of which nothing is granted are left out, and several paths are united by id."""
    paths = getattr(model, "GRANT_PATHS", {})
    if not ctx.groups or not paths or action not in ANY_GRANTABLE or not _in_scopes(ctx, action):
        return Q(pk__in=[])
    kinds = list(paths) if len(paths) == 1 else _kinds(ctx, action, list(paths))
    looked_at = [ctx.tenant_id, platform_id()] if action is Action.VIEW and getattr(model, "SHARED", False) else [ctx.tenant_id]
    arms = [_under(granted(ctx, action, containers()[kind]), path) for kind in kinds for path in paths[kind]]
    if len(arms) == 1:
        return Q(arms[0], tenant_id__in=looked_at)
    if not arms:
        return Q(pk__in=[])
    ids = [model._default_manager.filter(arm, tenant_id__in=looked_at).order_by().values("pk") for arm in arms]
    return Q(tenant_id__in=looked_at, pk__in=ids[0].union(*ids[1:], all=True))


def _under(grants: Any, path: str | tuple[str, str]) -> Q:
    path, field = _split(path)
    if field == "text":
        return Q(**{f"{path}__in": grants.values(named=Cast("content_object_id", CharField()))})
    if field:
        return Q(**{f"{path}__in": grants.values(f"content_object__{field}")})
    # Distinct and in the order of lists: the database can then read just as many grants as a page has rows.
    return Q(**{f"{path}__in": grants.order_by("-content_object_id").distinct("content_object_id").values("content_object_id")})


def _kinds(ctx: ActionContext, action: Action, kinds: list[str]) -> list[str]:
    """Of which kinds of container something is granted, by one query."""
    asked = {f"of_{kind}": Exists(granted(ctx, action, containers()[kind])) for kind in kinds}
    found = Tenant.objects.filter(pk=ctx.tenant_id).values(**asked).first() or {}
    return [kind for kind in kinds if found.get(f"of_{kind}")]


def anywhere(ctx: ActionContext, action: Action) -> bool:
    """Whether there may be anything in its tenant on which `ctx` may do `action`."""
    if not _in_scopes(ctx, action):
        return False
    if any(allows(grant.role, action, delegated=grant.via is not None) for grant in ctx.roles):
        return True
    return bool(ctx.groups) and action in ANY_GRANTABLE and bool(_kinds(ctx, action, list(containers())))


@register_listing
def may_list(ctx: ActionContext, action: Action, model: type[Model]) -> bool:
    """Whether a list of the rows on which `ctx` may do `action` is shown to it at all, if only an empty one."""
    if can(ctx, action, tenant_id=ctx.tenant_id):
        return True
    if not ctx.groups or not getattr(model, "GRANT_PATHS", None):
        return False
    return _in_scopes(ctx, action) if action is Action.VIEW else anywhere(ctx, action)


def _governing(ctx: ActionContext, action: Action, *, tenants: bool) -> Q:
    """The tenants, or organisations, that one sees or manages: one's own; all that are not deleted for who manages `platform`."""
    if action in (Action.VIEW, Action.MANAGE_TENANT) and manages_platform(ctx):
        return ~Q(status=TenantStatus.DELETED) if tenants else Q()
    # Who is in a group works in a tenant, whose name they see.
    works_here = tenants and action is Action.VIEW and bool(ctx.groups) and _in_scopes(ctx, action)
    if not works_here and not can(ctx, action, tenant_id=ctx.tenant_id):
        return Q(pk__in=[])
    return Q(pk=ctx.tenant_id) if tenants else Q(tenants=ctx.tenant_id)
