"""Groups of a tenant, who is in them, and what is granted to them on single objects."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import Model
from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext, Topic
from apps.core.domain.canonical import pointer
from apps.core.errors import FieldError, problem
from apps.core.generations import bump
from apps.core.ids import new_id
from apps.identity.domain.access import GRANTABLE
from apps.identity.groups import GrantTable, GroupMember, TenantGroup, containers
from apps.identity.holdings import lasting
from apps.identity.models import User
from apps.identity.permissions import can, require
from apps.identity.selectors import id_by_email
from apps.identity.services.people import create_person, normal_email, revoke_tokens_of_leaver
from apps.identity.services.rows import assign, save, validate


def create_group(*, ctx: ActionContext, name: str, description: str = "") -> TenantGroup:
    """An empty group of the context's tenant. Raises Problem `invalid`, `slug_taken` (the name), `permission_denied`."""
    with ctx.transaction():
        require(ctx, Action.MANAGE_MEMBERS, tenant_id=ctx.tenant_id)
        group = TenantGroup(id=new_id(), tenant_id=ctx.tenant_id, name=name.strip(), description=description.strip())
        validate(group, "name", "description")
        group.group = Group.objects.create(name=str(group.pk))
        save(group, taken=_taken(group))
        record(ctx, "identity.group_created", group, data={"name": group.name})
        return group


def update_group(*, ctx: ActionContext, group_id: UUID | str, **changes: Any) -> TenantGroup:
    """Changes name or description. Raises Problem `not_found`, `permission_denied`, `invalid`, `unknown_key`, `slug_taken`."""
    with ctx.transaction():
        group = _governed(ctx, group_id)
        moved = assign(
            group, {key: value.strip() if isinstance(value, str) else value for key, value in changes.items()}, ("name", "description")
        )
        if moved:
            save(group, fields=[*moved], taken=_taken(group))
            record(ctx, "identity.group_changed", group, data={"changes": moved})
        return group


def delete_group(*, ctx: ActionContext, group_id: UUID | str, reason: str = "") -> None:
    """Ends the group: what was granted to it is granted no more, and its people are in it no more. Raises Problem `not_found`,
    `permission_denied`."""
    with ctx.transaction():
        group = _governed(ctx, group_id)
        gone = {kind: model.objects.filter(group_id=group.group_id).delete()[0] for kind, model in containers().items()}
        members = list(group.members.all())
        record(
            ctx,
            "identity.group_deleted",
            group,
            data={"name": group.name, "members": [member.user_id for member in members], "grants": gone},
            reason=reason,
        )
        for member in members:
            revoke_tokens_of_leaver(member)
            member.delete()
        key = group.group_id
        group.delete()
        # Nothing else refers to it: what Django would look for beside it, the application may not even touch.
        Group.objects.filter(pk=key)._raw_delete(connection.alias)
        bump(ctx, Topic.TOKENS, ctx.tenant_id)


def add_group_member(*, ctx: ActionContext, group_id: UUID | str, email: str, until: datetime | None = None, name: str = "") -> GroupMember:
    """Puts a person (made when the address is new) into a group, for good or until a time.

    It hands on all that is granted to the group: who adds must hold each of those acts in the whole tenant, and as long.
    Raises Problem `not_found`, `permission_denied`, `invalid`, `wrong_state` (in it already).
    """
    with ctx.transaction():
        group = _governed(ctx, group_id)
        _check_until(until)
        for model in containers().values():
            acts = model.objects.filter(group_id=group.group_id).values_list("permission__codename", flat=True).distinct()
            _require_held(ctx, [Action(act) for act in acts.order_by()], None, until, "add people to this group")
        # Somebody whom this tenant does not know yet is seen here from now on.
        user_id = id_by_email(normal_email(email)) or create_person(ctx, email, name).pk
        member = GroupMember(tenant_id=ctx.tenant_id, group=group, user_id=user_id, until=until)
        taken = problem("wrong_state", "This person is in the group already.", pointer="/email")
        elsewhere = problem("invalid", "This is a service account of another tenant.", pointer="/email")
        save(member, taken={"identity_groupmember_once": taken, "identity_service_at_home": elsewhere})
        member.user = User.objects.get(pk=user_id)
        record(ctx, "identity.group_member_added", member, data=_member_facts(member))
        bump(ctx, Topic.TOKENS, ctx.tenant_id)
        return member


def remove_group_member(*, ctx: ActionContext, member_id: UUID | str, reason: str = "") -> None:
    """Takes a person out of a group. Raises Problem `not_found`, `permission_denied`."""
    with ctx.transaction():
        seen: GroupMember = GroupMember.objects.visible(ctx, pk=member_id)
        _governed(ctx, seen.group_id)
        member: GroupMember = GroupMember.objects.select_for_update().visible(ctx, pk=member_id)
        data = {**_member_facts(member), "tokens_revoked": revoke_tokens_of_leaver(member)}
        record(ctx, "identity.group_member_removed", member, data=data, reason=reason)
        member.delete()
        bump(ctx, Topic.TOKENS, ctx.tenant_id)


def grant(*, ctx: ActionContext, group_id: UUID | str, obj: Model, actions: Iterable[str], until: datetime | None = None) -> list[Any]:
    """Lets the people of a group do these acts to an object (a pack, team, agent or evaluation set) and to all that stands under it, for
    good or until a time. To see the object is granted with them. An act granted before gets the new end.

    Nobody grants what they may not do to that very object themselves, nor for longer than they may.
    Raises Problem `not_found`, `permission_denied`, `invalid`.
    """
    with ctx.transaction():
        group: TenantGroup = TenantGroup.objects.select_for_update().visible(ctx, pk=group_id)
        model, kind = _grants_on(ctx, obj)
        _check_until(until)
        wanted = {Action.VIEW, *_acts(kind, actions)}
        require(ctx, Action.MANAGE_MEMBERS, tenant_id=ctx.tenant_id, team_id=_team_of(obj))
        before = {
            row.permission.codename: row
            for row in model.objects.filter(group_id=group.group_id, content_object=obj).select_related("permission")
        }
        ends: dict[Action, datetime | None] = dict.fromkeys(wanted, until)
        # Whoever may do something may see it, for as long.
        others = [row.until for act, row in before.items() if act not in {Action.VIEW, *wanted}]
        ends[Action.VIEW] = None if None in [until, *others] else max(end for end in [until, *others] if end is not None)
        for act in sorted(wanted):
            old = before.get(act.value)
            kept = old is not None and old.until == ends[act]
            if not kept and not (act is Action.VIEW and old is not None and _within(ends[act], old.until)):
                _require_held(ctx, [act], obj, ends[act], "grant this")
        keys = dict(
            Permission.objects.filter(content_type=ContentType.objects.get_for_model(type(obj)), codename__in=wanted).values_list(
                "codename", "pk"
            )
        )
        rows = []
        for act in sorted(wanted):
            row = before.get(act.value) or model(
                tenant_id=ctx.tenant_id, group_id=group.group_id, permission_id=keys[act.value], content_object=obj
            )
            new = act.value not in before
            row.until, row.granted_by_id = ends[act], ctx.user_id
            row.save(force_insert=new, update_fields=None if new else ["until", "granted_by"])
            rows.append(row)
        record(ctx, "identity.access_granted", obj, data=_grant_facts(group, wanted, until))
        return rows


def revoke(*, ctx: ActionContext, grant_id: UUID | str, reason: str = "") -> None:
    """Takes one act on one object back from a group; with the right to see it, all its acts on the object. Works from the next request on.

    Raises Problem `not_found`, `permission_denied`.
    """
    with ctx.transaction():
        row = visible_grant(ctx, grant_id)
        obj, act = row.content_object, Action(row.permission.codename)
        require(ctx, Action.MANAGE_MEMBERS, tenant_id=ctx.tenant_id, team_id=_team_of(obj))
        rows = type(row).objects.filter(group_id=row.group_id, content_object=obj)
        if act is not Action.VIEW:
            rows = rows.filter(pk=row.pk)
        gone = {Action(codename) for codename in rows.values_list("permission__codename", flat=True)}
        rows.delete()
        record(ctx, "identity.access_revoked", obj, data=_grant_facts(row.group.of_tenant, gone, None), reason=reason)


def visible_grant(ctx: ActionContext, grant_id: UUID | str) -> Any:
    """The grant of this id, on whatever it is. Raises Problem `not_found`."""
    try:
        key = UUID(str(grant_id))
    except ValueError:
        key = UUID(int=0)
    for model in containers().values():
        found = model.objects.restrict(ctx).filter(pk=key).select_related("permission", "group__of_tenant", "content_object").first()
        if found is not None:
            return found
    raise problem("not_found", "There is no such grant.")


def _governed(ctx: ActionContext, group_id: UUID | str) -> TenantGroup:
    group: TenantGroup = TenantGroup.objects.select_for_update().visible(ctx, pk=group_id)
    require(ctx, Action.MANAGE_MEMBERS, tenant_id=group.tenant_id)
    return group


def _grants_on(ctx: ActionContext, obj: Model) -> tuple[GrantTable, str]:
    """The table for grants on this object, seen once more by who grants. Raises Problem `invalid`, `not_found`."""
    kind = obj._meta.model_name or ""
    model = containers().get(kind)
    if model is None:
        raise problem("invalid", f"Access is granted on {_listed(containers())}; what stands under them follows.", pointer="/object")
    seen = type(obj)._default_manager.visible(ctx, pk=obj.pk)  # type: ignore[attr-defined]
    if seen.tenant_id != ctx.tenant_id and kind != "pack":
        raise problem(
            "permission_denied", "This belongs to the shared library; its packs alone can be granted on, for what is yours there."
        )
    return model, kind


def _acts(kind: str, actions: Iterable[str]) -> list[Action]:
    wanted = list(dict.fromkeys(actions))
    known = {action.value: action for action in GRANTABLE[kind]}
    wrong = [name for name in wanted if name not in known]
    if wrong or not wanted:
        what = f"'{wrong[0]}' cannot be granted on a single object" if wrong else "Name at least one act"
        raise problem("invalid", f"{what}; what can be granted here: {', '.join(known)}.", pointer="/actions")
    return [known[name] for name in wanted]


def _require_held(ctx: ActionContext, actions: Iterable[Action], obj: Model | None, until: datetime | None, what: str) -> None:
    """Raises Problem `permission_denied` for acts that `ctx` may not do itself there, `invalid` for an end beyond its own."""
    missing = []
    for action in sorted(actions):
        team_id = _team_of(obj) if obj is not None else None
        here = can(ctx, action, tenant_id=ctx.tenant_id, team_id=team_id, on=obj)
        held, end = lasting(ctx, action, obj)
        if not here or not held:
            missing.append(action.value.replace("_", " "))
        elif not _within(until, end):
            assert end is not None
            at = f"{end:%Y-%m-%d %H:%M} UTC"
            raise problem(
                "invalid", f"Your own right to {action.value.replace('_', ' ')} ends at {at}; you can {what} until then.", pointer="/until"
            )
    if missing:
        detail = f"You cannot {what}: you may not do these yourself {'there' if obj is not None else 'in the whole tenant'}: {', '.join(missing)}."
        raise problem(
            "permission_denied", detail, errors=[FieldError(pointer("actions"), "permission_denied", detail)] if obj is not None else ()
        )


def _within(until: datetime | None, end: datetime | None) -> bool:
    return end is None or (until is not None and until <= end)


def _check_until(until: datetime | None) -> None:
    if until is not None and until <= timezone.now():
        raise problem("invalid", "The end must lie in the future; to end it now, take it away.", pointer="/until")


def _team_of(obj: Model | None) -> UUID | None:
    found: UUID | None = obj.pk if obj is not None and obj._meta.model_name == "team" else getattr(obj, "team_id", None)
    return found


def _taken(group: TenantGroup) -> dict[str, Any]:
    return {"identity_tenantgroup_name": problem("slug_taken", f"The tenant has a group '{group.name}' already.", pointer="/name")}


def _listed(kinds: Iterable[str]) -> str:
    return ", ".join(f"{kind}s" for kind in kinds).replace("evalsets", "evaluation sets")


def _member_facts(member: GroupMember) -> dict[str, Any]:
    return {"group": member.group_id, "user": member.user_id, "until": member.until.isoformat() if member.until else None}


def _grant_facts(group: TenantGroup, actions: Iterable[Action], until: datetime | None) -> dict[str, Any]:
    return {"group": group.pk, "actions": sorted(actions), "until": until.isoformat() if until else None}
