"""Tokens: issued with the secret on the page after, once; revoked; never their hash."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, ReasonForm, Relatives, cells, columns, extend, filters
from apps.core.admin.columns import Column
from apps.core.context import ActionContext
from apps.identity.admin.people import UNTIL
from apps.identity.domain.roles import ROLE_ACTIONS
from apps.identity.models import Agent, AgentStatus, AgentToken, ApiToken, Membership, User
from apps.identity.permissions import can
from apps.identity.selectors import expiring_tokens, live_tokens, unused_tokens
from apps.identity.services import Issued, issue_agent_token, issue_api_token, revoke_token, rotate_token


def state_of(token: AgentToken | ApiToken) -> str:
    if token.revoked_at:
        return "revoked"
    if token.expires_at and token.expires_at <= timezone.now():
        return "expired"
    return "replaced" if token.successor_id else "active"


def _succession(token: AgentToken | ApiToken) -> object:
    """What takes its place, and until when it goes on itself."""
    if not token.successor_id:
        return None
    ended = state_of(token) != "replaced"
    ends = cells.moment(token.revoked_at or token.expires_at)
    return format_html("{}<br>{} {}", cells.link_to(token.successor), "ended" if ended else "ends", ends)


class AttentionFilter(filters.Values):
    title, parameter_name = "attention", "attention"
    offered = (("expiring", "expiring within 30 days"), ("unused", "unused for 90 days"), ("replaced", "replaced, still working"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        now = timezone.now()
        match self.value():
            case "expiring":
                return queryset.filter(expiring_tokens(timedelta(days=30), now))
            case "unused":
                return queryset.filter(unused_tokens(timedelta(days=90), now))
            case "replaced":
                return queryset.filter(live_tokens(now), successor__isnull=False)
        return queryset


STATE = Column("State", lambda token: cells.badge(state_of(token)))
PREDECESSOR = Column("Replaces", lambda token: cells.link_to(token.predecessor) if hasattr(token, "predecessor") else None)
SUCCESSION = Column("Replaced by", _succession)
SCOPES = Column("May", lambda token: cells.words(token.scopes) if token.scopes else "all\u00a0of\u00a0its\u00a0role")


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


class RotateForm(ActForm):
    hours = forms.IntegerField(
        min_value=0, max_value=168, initial=24, label="Overlap in hours",
        help_text="So long the old token goes on, at most 168 (seven days). 0 ends it at once.",
    )  # fmt: skip
    reason = forms.CharField(
        max_length=10_000, required=False, widget=forms.Textarea(attrs={"rows": 3}), help_text="For the log; may stay empty."
    )


def _rotate(call: Call) -> Done:
    overlap = timedelta(hours=call.data["hours"])
    return _page(call, rotate_token(ctx=call.ctx, token_id=call.obj.pk, overlap=overlap, reason=call.data["reason"]), replaced=call.obj)


def _rotatable(token: AgentToken | ApiToken) -> bool:
    return state_of(token) == "active"


def _rotate_act(rights: tuple[Action, ...], when: Any) -> Act:
    return Act(
        name="rotate",
        label="Rotate",
        icon="autorenew",
        rights=rights,
        form=RotateForm,
        run=_rotate,
        when=when,
        explain=lambda request, token: [
            "A new token with the same holder, name and scopes is shown once, on the next page. We keep only a hash of it.",
            "The old one goes on for the overlap, so that nothing stops while the new one is put in place; then it is refused for good.",
        ],
    )


def _page(call: Call, issued: Issued, replaced: AgentToken | ApiToken | None = None) -> Done:
    site: Any = admin.site._registry[type(issued.token)]
    if replaced is not None:
        replaced.refresh_from_db()
    context = {
        **site.page_context(call.request),
        "title": "Token issued",
        "replaced": replaced and cells.link_to(replaced),
        "ends": replaced and cells.moment(replaced.revoked_at or replaced.expires_at),
        "ended": replaced and state_of(replaced) != "replaced",
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
        _rotate_act((Action.MANAGE_TOKENS,), lambda ctx, token: _rotatable(token) and token.agent.status != AgentStatus.RETIRED),
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
        SUCCESSION,
        columns.moment("last_used_at", "Last used"),
        columns.moment("expires_at", "Expires"),
        columns.moment("created_at", "Issued"),
    )


def _facts(holder: Column) -> tuple[Facts, ...]:
    prefix = Column("Begins with", lambda token: cells.code(f"mc_{token.prefix}_"))
    dates = [columns.moment(name) for name in ("created_at", "last_used_at", "expires_at", "revoked_at")]
    return (Facts("Token", (prefix, columns.text("name"), holder, STATE, SUCCESSION, PREDECESSOR, SCOPES, *dates)),)


@admin.register(AgentToken)
class AgentTokenAdmin(TokenAdmin):
    list_display = (Column("Token", str), columns.text("name"), columns.link("agent"), *TokenAdmin.list_columns)
    list_select_related = ("agent", "successor")
    detail_related = ("predecessor",)
    list_filter = (
        filters.related("agent", "identity.Agent", "agent"),
        AttentionFilter,
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
    list_select_related = ("user", "successor")
    detail_related = ("predecessor",)
    list_filter = (
        AttentionFilter,
        filters.empty("revoked_at", "revoked", "revoked", "not revoked"),
        filters.when("expires_at"),
    )
    search_fields = ("prefix", "name", "user__email")
    when_empty = "A personal token acts as a person: for scripts, CI and the command line."
    facts = _facts(columns.link("user", "Acts as"))
    acts = (
        _rotate_act((Action.VIEW,), lambda ctx, token: _rotatable(token) and _own_or_managed(ctx, token)),
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
    User,
    relatives=(
        Relatives(
            "Tokens in this tenant",
            lambda ctx, user: ApiToken.objects.restrict(ctx).filter(user=user).select_related("successor").order_by("-id"),
            (
                columns.itself("Token"),
                columns.text("name"),
                STATE,
                columns.moment("last_used_at", "Last used"),
                columns.moment("expires_at"),
            ),
            empty="No token acts as this account here.",
        ),
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
