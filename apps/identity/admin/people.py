"""Teams, members and the people behind them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, NeededReasonForm, ReasonForm, Relatives, cells, columns, filters
from apps.core.admin.columns import Column
from apps.core.context import ActionContext
from apps.core.http import context_of
from apps.identity.admin.tenants import RenameForm
from apps.identity.domain.roles import MEMBER_ROLES
from apps.identity.models import Agent, GroupMember, Membership, Team, User
from apps.identity.permissions import can, lacking, manages_platform
from apps.identity.services import (
    activate_person,
    add_member,
    change_member,
    create_service_account,
    create_team,
    deactivate_person,
    remove_member,
    update_team,
)

KIND = Column("Kind", lambda user: cells.badge("service account", "info") if user.kind == "service" else "person")
ROLES = [(role, role.replace("_", " ")) for role in MEMBER_ROLES]
UNTIL = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")


def team_choices(ctx: ActionContext, empty: str = "no team: the whole tenant") -> list[tuple[str, str]]:
    rows = Team.objects.restrict(ctx).filter(tenant_id=ctx.tenant_id)
    return [("", empty), *((row.slug, row.name) for row in rows)]


class TeamForm(ActForm):
    slug = forms.SlugField(max_length=63, help_text="1 to 63 of a-z, 0-9 and “-”. It stands in scopes and stays for good.")
    name = forms.CharField(max_length=200)


def _create_team(call: Call) -> Done:
    made = create_team(ctx=call.ctx, **call.data)
    return Done(f"The team {made} is there.", made)


@admin.register(Team)
class TeamAdmin(GovernedAdmin):
    list_display = ("slug", columns.text("name"), columns.moment("created_at", "Since"))
    search_fields = ("slug", "name")
    ordering = ("slug",)
    when_empty = "A team groups agents, and people whose role holds for that team's objects only."
    facts = (Facts("Team", (columns.code("slug"), columns.text("name"), columns.moment("created_at", "Since"))),)
    relatives = (
        Relatives(
            "Members",
            lambda ctx, team: Membership.objects.restrict(ctx).filter(team=team).select_related("user"),
            (columns.itself("Membership"), columns.text("user.email", "E-mail"), columns.moment("until")),
            query=lambda team: {"team": team.pk},
            empty="Nobody holds a role for this team alone.",
        ),
        Relatives(
            "Agents",
            lambda ctx, team: Agent.objects.restrict(ctx).filter(team=team),
            (columns.itself("Agent"), columns.text("domain"), columns.badge("autonomy"), columns.badge("status")),
            query=lambda team: {"team": team.pk},
        ),
    )
    acts = (
        Act(
            name="rename",
            label="Rename",
            icon="edit",
            rights=(Action.MANAGE_MEMBERS,),
            form=RenameForm,
            run=lambda call: Done("Renamed.", update_team(ctx=call.ctx, slug=call.obj.slug, **call.data)),
        ),
    )
    list_acts = (
        Act(name="create", label="New team", icon="add", tone="primary", rights=(Action.MANAGE_MEMBERS,), form=TeamForm, run=_create_team),
    )


def _without_reference(form: ActForm) -> None:
    """A harness reference opens that user's content: it is for who manages the members of the whole tenant."""
    if not can(form.ctx, Action.MANAGE_MEMBERS, tenant_id=form.ctx.tenant_id):
        del form.fields["user_ref"]


def role_choices(ctx: ActionContext) -> list[tuple[str, str]]:
    """Nobody hands on what they may not do themselves."""
    return [(role, name) for role, name in ROLES if not lacking(ctx, role, tenant_id=ctx.tenant_id)]


class MemberForm(ActForm):
    email = forms.EmailField(label="E-mail", help_text="A person who is new is made; they sign in by OIDC, or once a password is set.")
    name = forms.CharField(max_length=200, required=False, help_text="For a person who is new.")
    role = forms.ChoiceField(choices=ROLES)
    team = forms.ChoiceField(required=False, help_text="A role for one team holds for that team's objects.")
    until = forms.DateTimeField(required=False, widget=UNTIL, help_text="UTC; empty: for good.")
    user_ref = forms.CharField(
        max_length=200, required=False, label="Harness reference", help_text="How a harness names this person, if it does."
    )

    def prepare(self) -> None:
        _without_reference(self)
        self.offer("team", team_choices(self.ctx))
        self.offer("role", role_choices(self.ctx))


class ChangeMemberForm(ActForm):
    role = forms.ChoiceField(choices=ROLES)
    until = forms.DateTimeField(required=False, widget=UNTIL, help_text="UTC; empty: for good.")
    user_ref = forms.CharField(max_length=200, required=False, label="Harness reference")

    def prepare(self) -> None:
        _without_reference(self)
        for name in self.fields.keys() - {"once"}:
            self.fields[name].initial = getattr(self.obj, name)


def _add_member(call: Call) -> Done:
    data = {**call.data, "team": call.data["team"] or None}
    made = add_member(ctx=call.ctx, **data)
    return Done(f"{made.user} is {made.role.replace('_', ' ')} now.", made)


class ServiceAccountForm(ActForm):
    slug = forms.SlugField(max_length=63, help_text="1 to 63 of a-z, 0-9 and “-”. It stays for good.")
    name = forms.CharField(max_length=200, help_text="What it is for.")
    role = forms.ChoiceField(choices=ROLES)
    team = forms.ChoiceField(required=False, help_text="A role for one team holds for that team's objects.")

    def prepare(self) -> None:
        self.offer("team", team_choices(self.ctx))
        self.offer("role", role_choices(self.ctx))


def _create_service_account(call: Call) -> Done:
    made = create_service_account(ctx=call.ctx, **{**call.data, "team": call.data["team"] or None})
    return Done(f"{made.user} is there. Issue a token for it under API tokens.", made.user)


def _remove_member(call: Call) -> Done:
    remove_member(ctx=call.ctx, membership_id=call.obj.pk, reason=call.data["reason"])
    return Done("The role is taken away.", cells.list_url(Membership))


@admin.register(Membership)
class MembershipAdmin(GovernedAdmin):
    list_display = (
        Column("Person", lambda row: str(row.user), order="user__email"),
        columns.text("user.email", "E-mail"),
        columns.badge("role"),
        columns.link("team"),
        columns.moment("until"),
        columns.link("source", "Given by"),
        columns.moment("created_at", "Since"),
    )
    list_select_related = ("user", "team", "source")
    list_filter = ("role", filters.related("team", "identity.Team", "team"), filters.when("until"))
    search_fields = ("user__email", "user__name", "user_ref")
    ordering = ("user__email", "role")
    when_empty = "People come in by a role in the tenant, or in one of its teams."
    facts = (
        Facts(
            "Member",
            (
                columns.link("user", "Person"),
                columns.text("user.email", "E-mail"),
                columns.badge("role"),
                columns.link("team"),
                columns.moment("until"),
                columns.code("user_ref", "Harness reference"),
                columns.link("source", "Given by"),
                columns.moment("created_at", "Since"),
            ),
        ),
    )
    acts = (
        Act(
            name="change",
            label="Change",
            icon="edit",
            rights=(Action.MANAGE_MEMBERS,),
            form=ChangeMemberForm,
            run=lambda call: Done("Saved.", change_member(ctx=call.ctx, membership_id=call.obj.pk, **call.data)),
        ),
        Act(
            name="remove",
            label="Take the role away",
            icon="person_remove",
            tone="danger",
            rights=(Action.MANAGE_MEMBERS,),
            form=ReasonForm,
            run=_remove_member,
            explain=lambda request, obj: [
                f"{obj.user} is no longer {obj.role.replace('_', ' ')} here, from the next request on.",
                "With a person's last role in the tenant, their tokens there are revoked.",
            ],
        ),
    )
    list_acts = (
        Act(
            name="add",
            label="Add a member",
            icon="person_add",
            tone="primary",
            rights=(Action.MANAGE_MEMBERS,),
            form=MemberForm,
            run=_add_member,
        ),
        Act(
            name="add-service",
            label="Add a service account",
            icon="smart_toy",
            rights=(Action.MANAGE_MEMBERS,),
            form=ServiceAccountForm,
            run=_create_service_account,
            explain=lambda request, obj: [
                "A service account is a program's: it works by tokens, in this tenant only.",
                "It cannot sign in and never approves, whatever its role.",
            ],
        ),
    )


def _switch_off(call: Call) -> Done:
    return Done(
        "The account is switched off, everywhere.", deactivate_person(ctx=call.ctx, user_id=call.obj.pk, reason=call.data["reason"])
    )


def _switch_on(call: Call) -> Done:
    return Done("The account is switched on.", activate_person(ctx=call.ctx, user_id=call.obj.pk, reason=call.data["reason"]))


class KindFilter(filters.Values):
    title, parameter_name = "kind", "kind"
    offered = (("person", "people"), ("service", "service accounts"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(service_of__isnull=self.value() == "person") if self.value() else queryset


@admin.register(User)
class UserAdmin(GovernedAdmin):
    """The people of the tenant; for those who manage `platform`, all of the installation. Passwords and hashes have no column."""

    list_display = (
        "email",
        columns.text("name"),
        KIND,
        columns.yes_no("is_active", "Active"),
        columns.moment("last_login", "Last sign-in"),
    )
    list_filter = (KindFilter, filters.values("is_active", "active", [("True", "switched on"), ("False", "switched off")]))
    acts = (
        Act(
            name="switch-off",
            label="Switch off",
            icon="person_off",
            tone="danger",
            allowed=lambda ctx, user: manages_platform(ctx),
            form=NeededReasonForm,
            run=_switch_off,
            when=lambda ctx, user: user.is_active and user.pk != ctx.user_id,
            explain=lambda request, user: [
                f"{user} is out of every tenant of the installation within seconds: sessions end, tokens are revoked for good.",
                "The password is taken away as well. Roles stay on record, and count again once the account is switched on.",
                "It is recorded in the log of each tenant that the account belongs to, with the reason.",
            ],
        ),
        Act(
            name="switch-on",
            label="Switch on",
            icon="person",
            tone="primary",
            allowed=lambda ctx, user: manages_platform(ctx),
            run=_switch_on,
            when=lambda ctx, user: not user.is_active,
            explain=lambda request, user: [
                f"{user} can sign in by their provider again, with the roles on record.",
                "Tokens stay revoked. Who signed in by password needs a new one: manage.py changepassword.",
            ],
        ),
    )
    search_fields = ("email", "name")
    ordering = ("email",)
    when_empty = "People come in by a role: add a member."
    facts = (
        Facts(
            "Person",
            (
                columns.text("name"),
                columns.text("email", "E-mail"),
                KIND,
                columns.yes_no("is_active", "Active"),
                columns.text("issuer", "Signs in by"),
                columns.moment("last_login", "Last sign-in"),
                columns.moment("created_at", "Since"),
            ),
        ),
    )
    relatives = (
        Relatives(
            "Roles in this tenant",
            lambda ctx, user: Membership.objects.restrict(ctx).filter(user=user).select_related("user", "team"),
            (columns.itself("Membership"), columns.badge("role"), columns.link("team"), columns.moment("until")),
        ),
        Relatives(
            "Groups",
            lambda ctx, user: GroupMember.objects.restrict(ctx).filter(user=user).select_related("group", "user"),
            (columns.link("group"), columns.moment("until"), columns.moment("created_at", "Since")),
            empty="In no group: nothing is granted to them on single objects.",
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        ctx = context_of(request)
        if manages_platform(ctx):
            return User.objects.order_by("email")
        here = Q(pk__in=Membership.objects.restrict(ctx).values("user_id")) | Q(pk__in=GroupMember.objects.restrict(ctx).values("user_id"))
        return User.objects.filter(here).order_by("email")
