"""Groups, who is in them, and what is granted to them; and on the pages of what can be granted on, to whom it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse

from apps.core.access import Action
from apps.core.admin import (
    Act,
    ActForm,
    Call,
    Done,
    Facts,
    GovernedAdmin,
    ReasonForm,
    Relatives,
    cells,
    columns,
    extend,
    filters,
    page_link,
)
from apps.core.context import ActionContext
from apps.core.errors import Problem
from apps.core.http import context_of
from apps.identity.admin.people import UNTIL
from apps.identity.domain.access import GRANTABLE
from apps.identity.groups import GroupMember, TenantGroup, containers
from apps.identity.holdings import kinds, object_called, require_to_ask
from apps.identity.models import User
from apps.identity.permissions import can
from apps.identity.services import add_group_member, create_group, delete_group, grant, remove_group_member, revoke, update_group

MAX_OFFERED = 200


class GroupForm(ActForm):
    name = forms.CharField(max_length=100)
    description = forms.CharField(max_length=500, required=False, help_text="Whom it is for.")

    def prepare(self) -> None:
        for name in ("name", "description") if self.obj is not None else ():
            self.fields[name].initial = getattr(self.obj, name)


class GroupMemberForm(ActForm):
    email = forms.EmailField(
        label="E-mail", help_text="A person who is new is made; they see what is granted to the group, and nothing else."
    )
    name = forms.CharField(max_length=200, required=False, help_text="For a person who is new.")
    until = forms.DateTimeField(required=False, widget=UNTIL, help_text="UTC; empty: for good.")


def _choices(kind: str) -> list[tuple[str, str]]:
    return [(act.value, act.value.replace("_", " ")) for act in GRANTABLE[kind]]


class GrantForm(ActForm):
    actions = forms.MultipleChoiceField(
        label="Acts", widget=forms.CheckboxSelectMultiple, help_text="To see it comes with every other act."
    )
    until = forms.DateTimeField(
        required=False, widget=UNTIL, help_text="UTC; empty: for good. Not longer than you hold the right yourself."
    )

    def offer_acts(self, kind: str, obj: Any) -> None:
        # Nobody hands on what they may not do themselves.
        held = [
            (value, name)
            for value, name in _choices(kind)
            if obj is None or can(self.ctx, Action(value), tenant_id=self.ctx.tenant_id, team_id=_team(obj), on=obj)
        ]
        self.offer("actions", held)


class GrantHereForm(GrantForm):
    """On the object's page: which group."""

    group = forms.ChoiceField()
    field_order = ("group",)

    def prepare(self) -> None:
        self.offer_acts(self.obj._meta.model_name, self.obj)
        rows = TenantGroup.objects.restrict(self.ctx).order_by("name")[:MAX_OFFERED]
        self.offer("group", [(str(row.pk), row.name) for row in rows])


class GrantToForm(GrantForm):
    """On the group's page: on which object."""

    object = forms.CharField(
        max_length=200,
        label="On",
        help_text="Such as pack:desk, team:support, agent:helpdesk-1 or evalset:greetings; or open it and grant there.",
    )
    field_order = ("object",)

    def prepare(self) -> None:
        every = dict(choice for kind in GRANTABLE for choice in _choices(kind))
        self.offer("actions", [(act.value, every[act.value]) for act in Action if act.value in every])


def _team(obj: Any) -> Any:
    return obj.pk if obj._meta.model_name == "team" else getattr(obj, "team_id", None)


def _governs(ctx: ActionContext, obj: Any) -> bool:
    """On what is one's tenant's and, of the shared library, on packs."""
    here = obj.tenant_id == ctx.tenant_id or obj._meta.model_name == "pack"
    return here and can(ctx, Action.MANAGE_MEMBERS, tenant_id=ctx.tenant_id, team_id=_team(obj))


def _grant_here(call: Call) -> Done:
    data = call.data
    rows = grant(ctx=call.ctx, group_id=data["group"], obj=call.obj, actions=data["actions"], until=data["until"])
    return Done(f"Granted: {', '.join(row.permission.codename.replace('_', ' ') for row in rows)}.")


def _grant_to(call: Call) -> Done:
    obj = object_called(call.ctx, call.data["object"])
    rows = grant(ctx=call.ctx, group_id=call.obj.pk, obj=obj, actions=call.data["actions"], until=call.data["until"])
    return Done(f"Granted on {obj}: {', '.join(row.permission.codename.replace('_', ' ') for row in rows)}.")


def _delete_group(call: Call) -> Done:
    delete_group(ctx=call.ctx, group_id=call.obj.pk, reason=call.data["reason"])
    return Done("The group is no more.", cells.list_url(TenantGroup))


def _remove(call: Call) -> Done:
    group = call.obj.group
    remove_group_member(ctx=call.ctx, member_id=call.obj.pk, reason=call.data["reason"])
    return Done("Taken out of the group.", group)


def _revoke(call: Call) -> Done:
    obj = call.obj.content_object
    revoke(ctx=call.ctx, grant_id=call.obj.pk, reason=call.data["reason"])
    return Done("Taken back.", obj)


def _granted(table: Any) -> Callable[[ActionContext, Any], QuerySet[Any]]:
    related = ("group__of_tenant", "permission", "content_object", "granted_by")
    return lambda ctx, group: table.objects.restrict(ctx).filter(group__of_tenant=group).select_related(*related)


ACT = columns.Column("Act", lambda row: cells.link_to(row, row.permission.codename.replace("_", " ")))
GROUP = columns.Column("Group", lambda row: cells.link_to(row.group.of_tenant))
ENDS = columns.moment("until", "Ends")


@admin.register(TenantGroup)
class TenantGroupAdmin(GovernedAdmin):
    list_display = ("name", columns.text("description"), columns.moment("created_at", "Since"))
    search_fields = ("name", "description")
    ordering = ("name",)
    when_empty = "To a group acts on single objects are granted: on a pack, a team, an agent or an evaluation set. Its people need no role."
    facts = (Facts("Group", (columns.text("name"), columns.text("description"), columns.moment("created_at", "Since"))),)
    relatives = (
        Relatives(
            "People",
            lambda ctx, group: (
                GroupMember.objects.restrict(ctx).filter(group=group).select_related("user", "group").order_by("user__email")
            ),
            (columns.itself("Membership"), columns.text("user.email", "E-mail"), ENDS),
            query=lambda group: {"group": group.pk},
            empty="Nobody is in it.",
        ),
        *(
            Relatives(
                str(table._meta.verbose_name_plural).capitalize(),
                _granted(table),
                (columns.link("content_object", "On"), ACT, ENDS),
                query=lambda group: {"group": group.pk},
                empty="Nothing is granted.",
            )
            for table in containers().values()
        ),
    )
    acts = (
        Act(name="add", label="Add a person", icon="person_add", tone="primary", rights=(Action.MANAGE_MEMBERS,), form=GroupMemberForm,
            run=lambda call: Done(f"{add_group_member(ctx=call.ctx, group_id=call.obj.pk, **call.data)}."),
            explain=lambda request, group: ["They get everything that is granted to the group, which you must hold yourself."]),
        Act(name="grant", label="Grant access", icon="key", rights=(Action.MANAGE_MEMBERS,), form=GrantToForm, run=_grant_to,
            explain=lambda request, group: ["It holds for the object and for all that stands under it, from the next request on."]),
        Act(name="change", label="Change", icon="edit", rights=(Action.MANAGE_MEMBERS,), form=GroupForm,
            run=lambda call: Done("Saved.", update_group(ctx=call.ctx, group_id=call.obj.pk, **call.data))),
        Act(name="delete", label="Delete the group", icon="group_remove", tone="danger", rights=(Action.MANAGE_MEMBERS,), form=ReasonForm,
            run=_delete_group, explain=lambda request, group: [
                f"All that is granted to {group} is granted no more, from the next request on.",
                "Who holds no role and is in no other group here has no access left; their tokens are revoked.",
            ]),
    )  # fmt: skip
    list_acts = (
        Act(name="create", label="New group", icon="group_add", tone="primary", rights=(Action.MANAGE_MEMBERS,), form=GroupForm,
            run=lambda call: Done("The group is there.", create_group(ctx=call.ctx, **call.data))),
    )  # fmt: skip


@admin.register(GroupMember)
class GroupMemberAdmin(GovernedAdmin):
    list_display = (
        columns.Column("Person", lambda row: str(row.user), order="user__email"),
        columns.text("user.email", "E-mail"),
        columns.link("group"),
        ENDS,
        columns.moment("created_at", "Since"),
    )
    list_select_related = ("user", "group")
    list_filter = (filters.related("group", "identity.TenantGroup", "group"), filters.when("until"))
    search_fields = ("user__email", "user__name", "group__name")
    ordering = ("user__email",)
    when_empty = "People are added on the page of a group."
    facts = (
        Facts("Group member", (columns.link("user", "Person"), columns.link("group"), ENDS, columns.moment("created_at", "Since"))),
    )  # fmt: skip
    acts = (
        Act(name="remove", label="Take out of the group", icon="person_remove", tone="danger", rights=(Action.MANAGE_MEMBERS,),
            form=ReasonForm, run=_remove, explain=lambda request, row: [
                f"{row.user} has no longer what is granted to {row.group}, from the next request on.",
                "With a person's last role or group in the tenant, their tokens there are revoked.",
            ]),
    )  # fmt: skip


class GrantAdmin(GovernedAdmin):
    """What is granted on one kind of container."""

    list_display = (
        columns.Column("On", lambda row: cells.link_to(row.content_object)),
        ACT,
        GROUP,
        ENDS,
        columns.link("granted_by", "Granted by"),
        columns.moment("created_at", "Since"),
    )
    list_display_links = None
    list_select_related = ("group__of_tenant", "permission", "content_object", "granted_by")
    list_filter = (
        filters.related("group__of_tenant", "identity.TenantGroup", "group", parameter="group"),
        filters.when("until"),
    )
    search_fields = ("group__of_tenant__name", "content_object__slug")
    ordering = ("-id",)
    when_empty = "Nothing is granted: open an object, or a group, and grant there."
    facts = (
        Facts(
            "Grant",
            (
                columns.link("content_object", "On"),
                columns.Column("Act", lambda row: row.permission.codename.replace("_", " ")),
                GROUP,
                ENDS,
                columns.link("granted_by", "Granted by"),
                columns.moment("created_at", "Since"),
            ),
        ),
    )
    acts = (
        Act(name="revoke", label="Take it back", icon="key_off", tone="danger", allowed=lambda ctx, row: _governs(ctx, row.content_object),
            form=ReasonForm, run=_revoke, explain=lambda request, row: [
                f"{row.group.of_tenant} may no longer {row.permission.codename.replace('_', ' ')} {row.content_object}, from the next request on.",
                "With the right to see it, all its acts there go." if row.permission.codename == Action.VIEW else "",
            ]),
    )  # fmt: skip
    audited = False

    def heading(self, obj: Any) -> object:
        return f"{obj.group.of_tenant} may {obj.permission.codename.replace('_', ' ')} {obj.content_object}"


for _kind, _table in containers().items():
    admin.site.register(_table, GrantAdmin)
    extend(
        _table._meta.get_field("content_object").related_model,
        acts=(
            Act(name="grant", label="Grant access", icon="key", allowed=_governs, form=GrantHereForm, run=_grant_here,
                explain=lambda request, obj: [
                    "The people of the group may do this to it and to all that stands under it, from the next request on.",
                    "" if obj.tenant_id == context_of(request).tenant_id
                    else "It belongs to the shared library: they see it, and act on what your tenant has of it.",
                ]),
        ),
    )  # fmt: skip


@page_link
def who_has_access(request: HttpRequest, obj: Model) -> tuple[str, str] | None:
    """From an object to who may do what to it; from a person to what they may do."""
    ctx = context_of(request)
    if isinstance(obj, User):
        return f"{reverse('effective_access')}?user={obj.pk}", "What they may do, and why: effective access"
    name = obj._meta.model_name or ""
    if kinds().get(name) is not type(obj):
        return None
    try:
        require_to_ask(ctx, obj)
    except Problem:
        return f"{reverse('effective_access')}?object={name}:{obj.pk}&user={ctx.user_id}", "What you may do here, and why"
    return f"{reverse('effective_access')}?object={name}:{obj.pk}", "Who has access, and why"
