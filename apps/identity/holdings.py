"""Who holds what, with where it comes from: what the page of effective access shows, and what decides how long a right can be handed on.

Everything here is read in the transaction of the tenant that is asked about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db.models import Case, Exists, F, IntegerField, Model, OuterRef, Q, QuerySet, When
from django.db.models.functions import Now

from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.identity.domain.access import Given, Held, Place, Source, explain, lasts
from apps.identity.domain.platform import platform_id
from apps.identity.domain.roles import MEMBER_ROLES, allows
from apps.identity.groups import GroupMember, containers
from apps.identity.models import Delegation, Membership, User
from apps.identity.permissions import can, containers_of
from apps.identity.selectors import roles_in

LIVE = Q(until__isnull=True) | Q(until__gt=Now())
# What the page asks of an object; the rest is what agents do.
ACTS = tuple(
    action
    for action in Action
    if action not in (Action.RESOLVE, Action.TELEMETRY, Action.HEARTBEAT, Action.SUGGEST, Action.REQUEST_ACTION, Action.ANSWER_EVALUATION)
)


def place_of(obj: Model) -> Place:
    """Where an object of a tenant stands."""
    value: Any = obj
    for name in (getattr(obj, "TEAM_PATH", None) or "").split("__"):
        value = getattr(value, name) if name and value is not None else None
    return Place(obj.tenant_id, value, containers_of(obj))  # type: ignore[attr-defined]


def roles_held(tenant_id: UUID, users: Collection[UUID]) -> dict[UUID, list[Held]]:
    """The roles that these people hold in the tenant now: their own, and those delegated to them."""
    rows = Membership.objects.filter(LIVE, tenant_id=tenant_id, tenant__status="active", user__is_active=True, user__in=list(users))
    found: defaultdict[UUID, list[Held]] = defaultdict(list)
    for row in rows.select_related("team", "source").order_by("created_at"):
        found[row.user_id].append(
            Held(
                role=row.role,
                team_id=row.team_id,
                since=row.created_at,
                until=row.until,
                team=row.team.slug if row.team else "",
                provider=row.source.name if row.source else "",
            )
        )
    for lent in _delegated(tenant_id, users):
        found[lent.to_user_id].append(
            Held(
                role=lent.role,
                team_id=lent.team_id,
                via=lent.from_user_id,
                since=lent.created_at,
                until=lent.until,
                team=lent.team.slug if lent.team else "",
                lender=lent.from_user.email,
            )
        )
    return found


def _delegated(tenant_id: UUID, users: Iterable[UUID] | None = None) -> list[Delegation]:
    """The delegations to these people, or to all, that count now."""
    held = {user: {(grant.role, grant.team_id, grant.via) for grant in grants} for user, grants in roles_in(tenant_id, users).items()}
    rows = Delegation.objects.filter(tenant_id=tenant_id, to_user__in=list(held), revoked_at__isnull=True, until__gt=Now())
    live = rows.select_related("team", "from_user").order_by("created_at")
    return [row for row in live if (row.role, row.team_id, row.from_user_id) in held[row.to_user_id]]


def grants_held(tenant_id: UUID, at: Place, users: Iterable[UUID] | None = None) -> dict[UUID, list[Given]]:
    """What the tenant has granted there, by person (of these people, or of all)."""
    found: defaultdict[UUID, list[Given]] = defaultdict(list)
    for kind, model in containers().items():
        keys = [key for name, key in at.containers if name == kind]
        if not keys:
            continue
        grants = model.objects.live().filter(tenant_id=tenant_id, content_object_id__in=keys)
        rows = grants.filter(_in_group(tenant_id, "group__of_tenant__members__")).annotate(
            person=F("group__of_tenant__members__user_id"), left=F("group__of_tenant__members__until")
        )
        if users is not None:
            rows = rows.filter(group__of_tenant__members__user__in=list(users))
        columns = rows.order_by("group__of_tenant__name", "created_at").values_list(
            "person", "permission__codename", "content_object_id", "group__of_tenant__name", f"content_object__{model.NAME}", "created_at",
            "until", "left",
        )  # fmt: skip
        for person, act, key, group, name, since, until, left in columns:
            ends = [end for end in (until, left) if end is not None]
            found[person].append(Given(Action(act), (kind, key), group, name, since, min(ends) if ends else None))
    return found


def _in_group(tenant_id: UUID, path: str) -> Q:
    """That the joined membership of a group counts now."""
    live = Q(**{f"{path}until__isnull": True}) | Q(**{f"{path}until__gt": Now()})
    return live & Q(**{f"{path}tenant_id": tenant_id, f"{path}user__is_active": True, f"{path}tenant__status": "active"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What one person may do to one object, and why."""

    user: User
    sources: dict[Action, list[Source]]

    def may(self, action: Action) -> bool:
        return bool(self.sources[action])


def access_of(tenant_id: UUID, users: Iterable[User], obj: Model) -> list[Answer]:
    """For each person every act with its sources, by the rules that `can` goes by."""
    people, at = list(users), place_of(obj)
    keys = [user.pk for user in people]
    roles, grants = roles_held(tenant_id, keys), grants_held(tenant_id, at, keys)
    return [
        Answer(
            user,
            {
                act: list(explain(act, at, here=tenant_id, roles=roles.get(user.pk, ()), grants=grants.get(user.pk, ())))
                for act in acts_on(obj)
            },
        )
        for user in people
    ]


def acts_on(obj: Model) -> tuple[Action, ...]:
    """The acts that are asked of an object of this kind: those that govern a tenant are not a single object's."""
    return tuple(act for act in ACTS if not act.value.startswith("prompt_"))


def people_with_access(tenant_id: UUID, obj: Model, action: Action = Action.VIEW, search: str = "") -> QuerySet[User]:
    """Everybody who may do `action` to the object, by e-mail address; of those whose address or name contains `search`."""
    at = place_of(obj)
    here = at.tenant_id == tenant_id
    roles = [role for role in MEMBER_ROLES if allows(role, action)] if here or action is Action.VIEW else []
    held = Membership.objects.filter(LIVE, user=OuterRef("pk"), tenant_id=tenant_id, tenant__status="active", role__in=roles)
    if action is not Action.VIEW:
        held = held.filter(Q(team__isnull=True) | Q(team_id=at.team_id))
    found = Q(Exists(held))
    if here:
        lent = [row for row in _delegated(tenant_id) if allows(row.role, action, delegated=True)]
        in_team = [row.to_user_id for row in lent if action is Action.VIEW or row.team_id in (None, at.team_id)]
        found |= Q(pk__in=in_team)
    if here or (action is Action.VIEW and at.tenant_id == platform_id()):
        found |= Q(pk__in=granted_people(tenant_id, obj, action))
    named = Q(email__icontains=search) | Q(name__icontains=search) if search else Q()
    return User.objects.filter(found, named, is_active=True).order_by("email")


def granted_people(tenant_id: UUID, obj: Model, action: Action) -> set[UUID]:
    """Who may do it by a grant."""
    given = grants_held(tenant_id, Place(tenant_id, None, containers_of(obj)))
    return {person for person, grants in given.items() if any(grant.action is action for grant in grants)}


def lasting(ctx: ActionContext, action: Action, obj: Model | None) -> tuple[bool, datetime | None]:
    """Whether the actor of `ctx` holds the right on the object (None: in the whole tenant) so that it can be handed on, and until when
    (None: for good)."""
    if ctx.actor.kind == "system":
        return True, None
    if ctx.user_id is None:
        return False, None
    at = place_of(obj) if obj is not None else Place(ctx.tenant_id)
    if at.tenant_id != ctx.tenant_id:
        at = Place(ctx.tenant_id, None, at.containers)
    roles = roles_held(ctx.tenant_id, [ctx.user_id]).get(ctx.user_id, [])
    grants = grants_held(ctx.tenant_id, at, [ctx.user_id]).get(ctx.user_id, [])
    return lasts(explain(action, at, here=ctx.tenant_id, roles=roles, grants=grants))


def groups_here(tenant_id: UUID, user: User) -> QuerySet[GroupMember]:
    """The groups of the tenant that a person is in now."""
    rows: QuerySet[GroupMember] = GroupMember.objects.filter(LIVE, tenant_id=tenant_id, user=user).select_related("group")
    return rows.order_by("group__name")


def people_here(tenant_id: UUID) -> QuerySet[User]:
    """Everybody who holds a role in the tenant, or is in one of its groups."""
    members = Membership.objects.filter(tenant_id=tenant_id).values("user_id")
    in_groups = GroupMember.objects.filter(tenant_id=tenant_id).values("user_id")
    return User.objects.filter(Q(pk__in=members) | Q(pk__in=in_groups)).order_by("email")


def kinds() -> dict[str, type[Model]]:
    """What access can be asked about: every model whose rows stand under containers, by its name (`pack`, `promotion`, …)."""
    return {
        model._meta.model_name or "": model
        for model in apps.get_models()
        if getattr(model, "GRANT_PATHS", None) and any(field.attname == "tenant_id" for field in model._meta.concrete_fields)
    }


def object_called(ctx: ActionContext, reference: str) -> Model:
    """The object of `kind:id` or, for a container, `kind:slug` (`pack:desk`), one's own before the shared library's.

    Raises Problem `invalid` at `/object`, `not_found`.
    """
    kind, _, name = reference.strip().partition(":")
    model = kinds().get(kind)
    if model is None or not name:
        raise problem("invalid", f"Say what it is as <kind>:<id>; the kinds are {', '.join(sorted(kinds()))}.", pointer="/object")
    rows: Any = model._default_manager
    try:
        found: Model = rows.visible(ctx, pk=UUID(name))
        return found
    except ValueError:
        table = containers().get(kind)
    if table is not None:
        mine = Case(When(tenant_id=ctx.tenant_id, then=0), default=1, output_field=IntegerField())
        named: Model | None = rows.restrict(ctx).filter(**{table.NAME: name}).order_by(mine).first()
        if named is not None:
            return named
    raise problem("not_found", f"There is no {model._meta.verbose_name} '{name[:63]}' here.")


def require_to_ask(ctx: ActionContext, obj: Model, user_id: UUID | None = None) -> None:
    """About oneself everybody may ask; about others who governs the members there, or audits. Raises Problem `permission_denied`."""
    if user_id is not None and user_id == ctx.user_id:
        return
    at = place_of(obj)
    if not any(can(ctx, act, tenant_id=ctx.tenant_id, team_id=at.team_id, on=obj) for act in (Action.MANAGE_MEMBERS, Action.AUDIT)):
        raise problem(
            "permission_denied", "Who may do what here is shown to those who govern the members or audit; your own access is shown to you."
        )
