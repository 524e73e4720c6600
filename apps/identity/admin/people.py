"""Teams, members and the people behind them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, ReasonForm, Relatives, cells, columns, filters
from apps.core.admin.columns import Column
from apps.core.context import ActionContext
from apps.core.http import context_of
from apps.identity.admin.tenants import RenameForm
from apps.identity.domain.roles import MEMBER_ROLES
from apps.identity.models import Agent, Membership, Team, User
from apps.identity.permissions import lacking
from apps.identity.services import add_member, change_member, create_team, remove_member, update_team

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
        self.offer("team", team_choices(self.ctx))
        self.offer("role", role_choices(self.ctx))


class ChangeMemberForm(ActForm):
    role = forms.ChoiceField(choices=ROLES)
    until = forms.DateTimeField(required=False, widget=UNTIL, help_text="UTC; empty: for good.")
    user_ref = forms.CharField(max_length=200, required=False, label="Harness reference")

    def prepare(self) -> None:
        for name in self.fields.keys() - {"once"}:
            self.fields[name].initial = getattr(self.obj, name)


def _add_member(call: Call) -> Done:
    data = {**call.data, "team": call.data["team"] or None}
    made = add_member(ctx=call.ctx, **data)
    return Done(f"{made.user} is {made.role.replace('_', ' ')} now.", made)


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
    )


@admin.register(User)
class UserAdmin(GovernedAdmin):
    """The people of the tenant. Passwords and hashes have no column."""

    list_display = ("email", columns.text("name"), columns.yes_no("is_active", "Active"), columns.moment("last_login", "Last sign-in"))
    search_fields = ("email", "name")
    ordering = ("email",)
    when_empty = "People come in by a role: add a member."
    facts = (
        Facts(
            "Person",
            (
                columns.text("name"),
                columns.text("email", "E-mail"),
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
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        here = Membership.objects.restrict(context_of(request)).values("user_id")
        return User.objects.filter(pk__in=here).order_by("email")
