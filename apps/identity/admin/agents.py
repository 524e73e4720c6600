"""Agents: what they are, and switching them off and on."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, NeededReasonForm, Relatives, columns, filters
from apps.identity.admin.people import team_choices
from apps.identity.models import Agent, AgentStatus, AgentToken, Autonomy
from apps.identity.services import activate_agent, create_agent, retire_agent, suspend_agent, update_agent


class ChangeAgentForm(ActForm):
    name = forms.CharField(max_length=200, required=False)
    team = forms.ChoiceField(required=False)
    domain = forms.SlugField(max_length=63, required=False, help_text="What it works on, such as hr-ops.")
    autonomy = forms.ChoiceField(choices=Autonomy.choices, help_text="Its own ceiling; every layer of its packs may lower it further.")
    harness_kind = forms.CharField(max_length=40, label="Harness", initial="openclaw")
    default_pack = forms.SlugField(max_length=63, required=False, help_text="The slug of the pack that it resolves by default.")

    def prepare(self) -> None:
        self.offer("team", team_choices(self.ctx, "no team"))
        if self.obj is not None:
            for name in ("name", "domain", "autonomy", "harness_kind", "default_pack"):
                self.fields[name].initial = getattr(self.obj, name)
            self.fields["team"].initial = self.obj.team.slug if self.obj.team else ""


class AgentForm(ChangeAgentForm):
    slug = forms.SlugField(max_length=63, help_text="1 to 63 of a-z, 0-9 and “-”. It stands in its scope and stays for good.")
    field_order = ("slug",)


def _create(call: Call) -> Done:
    made = create_agent(ctx=call.ctx, **{**call.data, "team": call.data["team"] or None})
    return Done(f"The agent {made} is there; issue it a token next.", made)


def _change(call: Call) -> Done:
    changes = {**call.data, "team": call.data["team"] or None}
    # A move needs the right in both teams; staying needs none.
    if changes["team"] == (call.obj.team.slug if call.obj.team else None):
        del changes["team"]
    return Done("Saved.", update_agent(ctx=call.ctx, slug=call.obj.slug, **changes))


def _status(service: Any, message: str) -> Any:
    return lambda call: Done(message, service(ctx=call.ctx, slug=call.obj.slug, reason=call.data["reason"]))


@admin.register(Agent)
class AgentAdmin(GovernedAdmin):
    list_display = (
        "slug",
        columns.text("name"),
        columns.link("team"),
        columns.text("domain"),
        columns.badge("autonomy"),
        columns.badge("status"),
        columns.text("default_pack"),
        columns.text("harness_kind", "Harness"),
    )
    list_select_related = ("team",)
    list_filter = ("status", "autonomy", filters.related("team", "identity.Team", "team"), filters.exact("domain", "domain"))
    search_fields = ("slug", "name", "domain")
    ordering = ("slug",)
    when_empty = "An agent resolves packs and sends telemetry with a token of its own. Make one, then issue its token."
    facts = (
        Facts(
            "Agent",
            (
                columns.code("slug"),
                columns.text("name"),
                columns.link("team"),
                columns.text("domain"),
                columns.badge("autonomy"),
                columns.badge("status"),
                columns.text("default_pack"),
                columns.text("harness_kind", "Harness"),
                columns.moment("created_at", "Since"),
            ),
            long=(columns.pretty("model_policy"),),
        ),
    )
    relatives = (
        Relatives(
            "Tokens",
            lambda ctx, agent: AgentToken.objects.restrict(ctx).filter(agent=agent).order_by("-id"),
            (
                columns.itself("Token"),
                columns.text("name"),
                columns.moment("last_used_at", "Last used"),
                columns.moment("expires_at", "Expires"),
                columns.moment("revoked_at", "Revoked"),
            ),
            query=lambda agent: {"agent": agent.pk},
            empty="None: the agent cannot sign in yet.",
        ),
    )
    acts = (
        Act(
            name="change",
            label="Change",
            icon="edit",
            rights=(Action.MANAGE_TENANT,),
            form=ChangeAgentForm,
            run=_change,
            when=lambda ctx, obj: obj.status != AgentStatus.RETIRED,
            explain=lambda request, obj: [
                "Its autonomy is written into the presets layer at its scope, and holds from the next resolve on."
            ],
        ),
        Act(
            name="suspend",
            label="Suspend",
            icon="pause_circle",
            tone="danger",
            rights=(Action.OPERATE,),
            form=NeededReasonForm,
            run=_status(suspend_agent, "The agent is suspended."),
            when=lambda ctx, obj: obj.status == AgentStatus.ACTIVE,
            explain=lambda request, obj: ["Its tokens are refused within a second, until it is activated."],
        ),
        Act(
            name="activate",
            label="Activate",
            icon="play_circle",
            tone="primary",
            rights=(Action.OPERATE,),
            run=_status(activate_agent, "The agent is active."),
            when=lambda ctx, obj: obj.status == AgentStatus.SUSPENDED,
            explain=lambda request, obj: ["Its tokens are taken again."],
        ),
        Act(
            name="retire",
            label="Retire",
            icon="delete",
            tone="danger",
            rights=(Action.MANAGE_TENANT,),
            form=NeededReasonForm,
            run=_status(retire_agent, "The agent is retired."),
            when=lambda ctx, obj: obj.status != AgentStatus.RETIRED,
            explain=lambda request, obj: ["Its tokens are revoked, for good. Its runs and versions stay readable."],
        ),
    )
    list_acts = (
        Act(name="create", label="New agent", icon="add", tone="primary", rights=(Action.MANAGE_TENANT,), form=AgentForm, run=_create),
    )
