"""Tokens: issued with the secret on the page after, once; revoked; never their hash."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, ReasonForm, cells, columns, extend, filters
from apps.core.admin.columns import Column
from apps.core.context import ActionContext
from apps.identity.admin.people import UNTIL
from apps.identity.domain.roles import ROLE_ACTIONS
from apps.identity.models import Agent, AgentStatus, AgentToken, ApiToken, Membership
from apps.identity.permissions import can
from apps.identity.services import Issued, issue_agent_token, issue_api_token, revoke_token


def state_of(token: AgentToken | ApiToken) -> str:
    now = timezone.now()
    return "revoked" if token.revoked_at else "expired" if token.expires_at and token.expires_at <= now else "active"


STATE = Column("State", lambda token: cells.badge(state_of(token)))
SCOPES = Column("May", lambda token: cells.words(token.scopes) if token.scopes else "all that the role allows")


class TokenForm(ActForm):
    name = forms.CharField(max_length=100, required=False, help_text="What it is for, so that somebody can tell later.")
    scopes = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple, label="May only", help_text="None chosen: all that the role allows."
    )
    expires_at = forms.DateTimeField(required=False, widget=UNTIL, label="Expires", help_text="UTC; empty: in a year. Two years at most.")

    offered = tuple(sorted(action.value for action in ROLE_ACTIONS["agent"]))

    def prepare(self) -> None:
        self.offer("scopes", [(scope, scope.replace("_", " ")) for scope in self.offered])


class AgentTokenForm(TokenForm):
    agent = forms.ChoiceField()
    field_order = ("agent",)

    def prepare(self) -> None:
        super().prepare()
        rows = Agent.objects.restrict(self.ctx).filter(tenant_id=self.ctx.tenant_id).exclude(status=AgentStatus.RETIRED)
        self.offer("agent", [(row.slug, row.slug) for row in rows])


class ApiTokenForm(TokenForm):
    email = forms.ChoiceField(label="Acts as")
    field_order = ("email",)
    offered = tuple(sorted({action.value for role in ("tenant_admin", "operator") for action in ROLE_ACTIONS[role]}))

    def prepare(self) -> None:
        super().prepare()
        people = [("", f"me ({self.ctx.actor.label})")]
        if can(self.ctx, Action.MANAGE_TOKENS, tenant_id=self.ctx.tenant_id):
            members = Membership.objects.restrict(self.ctx).exclude(user_id=self.ctx.user_id).order_by("user__email")
            people += [(email, email) for email in dict.fromkeys(members.values_list("user__email", flat=True))]
        self.fields["email"].choices, self.fields["email"].required = people, False  # type: ignore[attr-defined]


def _page(call: Call, issued: Issued) -> Done:
    site: Any = admin.site._registry[type(issued.token)]
    context = {
        **site.page_context(call.request),
        "title": "Token issued",
        "secret": issued.secret,
        "token": issued.token,
        "link": cells.link_to(issued.token, "its page"),
    }
    response: HttpResponse = TemplateResponse(call.request, "identity/issued.html", context)
    response["Cache-Control"] = "no-store"
    return Done(page=response)


def _issue_for_agent(call: Call) -> Done:
    data = {"agent": call.obj.slug, **call.data} if isinstance(call.obj, Agent) else call.data
    return _page(call, issue_agent_token(ctx=call.ctx, **data))


def _revoke(call: Call) -> Done:
    return Done("The token is revoked.", revoke_token(ctx=call.ctx, token_id=call.obj.pk, reason=call.data["reason"]))


ISSUE = [
    "The token is shown once, on the next page. We keep only a hash of it.",
    "Whoever has it acts as its holder; give it to the harness by its secret store, not by mail.",
]
REVOKE = [
    "It is refused everywhere within a second, for good.",
    "A harness that still uses it stops resolving; issue the next one first.",
]


class TokenAdmin(GovernedAdmin):
    ordering = ("-id",)
    search_fields = ("prefix", "name")
    exclude = ("hash",)
    acts = (
        Act(
            name="revoke",
            label="Revoke",
            icon="key_off",
            tone="danger",
            rights=(Action.MANAGE_TOKENS,),
            form=ReasonForm,
            run=_revoke,
            when=lambda ctx, token: token.revoked_at is None,
            explain=lambda request, token: REVOKE,
        ),
    )
    list_columns = (
        SCOPES,
        STATE,
        columns.moment("last_used_at", "Last used"),
        columns.moment("expires_at", "Expires"),
        columns.moment("created_at", "Issued"),
    )


def _facts(holder: Column) -> tuple[Facts, ...]:
    prefix = Column("Begins with", lambda token: cells.code(f"mc_{token.prefix}_"))
    dates = [columns.moment(name) for name in ("created_at", "last_used_at", "expires_at", "revoked_at")]
    return (Facts("Token", (prefix, columns.text("name"), holder, STATE, SCOPES, *dates)),)


@admin.register(AgentToken)
class AgentTokenAdmin(TokenAdmin):
    list_display = (Column("Token", str), columns.text("name"), columns.link("agent"), *TokenAdmin.list_columns)
    list_select_related = ("agent",)
    list_filter = (
        filters.related("agent", "identity.Agent", "agent"),
        filters.empty("revoked_at", "revoked", "revoked", "not revoked"),
        filters.when("expires_at"),
    )
    when_empty = "An agent signs in with a token. Issue one for it here, or on the agent's page."
    facts = _facts(columns.link("agent"))
    list_acts = (
        Act(
            name="issue",
            label="Issue a token",
            icon="key",
            tone="primary",
            rights=(Action.MANAGE_TOKENS,),
            form=AgentTokenForm,
            run=_issue_for_agent,
            explain=lambda request, obj: ISSUE,
        ),
    )


def _own_or_managed(ctx: ActionContext, token: ApiToken) -> bool:
    return token.revoked_at is None and (token.user_id == ctx.user_id or can(ctx, Action.MANAGE_TOKENS, tenant_id=token.tenant_id))


@admin.register(ApiToken)
class ApiTokenAdmin(TokenAdmin):
    list_display = (Column("Token", str), columns.text("name"), columns.link("user", "Acts as"), *TokenAdmin.list_columns)
    list_select_related = ("user",)
    list_filter = (
        filters.empty("revoked_at", "revoked", "revoked", "not revoked"),
        filters.when("expires_at"),
    )
    search_fields = ("prefix", "name", "user__email")
    when_empty = "A personal token acts as a person: for scripts, CI and the command line."
    facts = _facts(columns.link("user", "Acts as"))
    acts = (
        Act(
            name="revoke",
            label="Revoke",
            icon="key_off",
            tone="danger",
            rights=(Action.VIEW,),
            form=ReasonForm,
            run=_revoke,
            when=_own_or_managed,
            explain=lambda request, token: REVOKE,
        ),
    )
    list_acts = (
        Act(
            name="issue",
            label="Issue a token",
            icon="key",
            tone="primary",
            rights=(Action.VIEW,),
            form=ApiTokenForm,
            run=lambda call: _page(call, issue_api_token(ctx=call.ctx, **call.data)),
            explain=lambda request, obj: [
                *ISSUE,
                "It never does more than the person's roles; one issued for somebody else never approves.",
            ],
        ),
    )


extend(
    Agent,
    acts=(
        Act(
            name="issue-token",
            label="Issue a token",
            icon="key",
            rights=(Action.MANAGE_TOKENS,),
            form=TokenForm,
            run=_issue_for_agent,
            when=lambda ctx, agent: agent.status != AgentStatus.RETIRED,
            explain=lambda request, agent: ISSUE,
        ),
    ),
)
