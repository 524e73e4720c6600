"""Action requests: an agent asks for one use of a tool, a manager answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, cells, columns, filters
from apps.core.admin.columns import Column
from apps.core.http import context_of
from apps.core.navigation import count_at
from apps.fleet.domain.requests import OPEN, State
from apps.fleet.models import ActionRequest
from apps.fleet.models.requests import RISKS, STATES
from apps.fleet.services import answer_request
from apps.identity.permissions import anywhere


def shown_state(row: ActionRequest) -> str:
    """What has run out is so before the sweep comes by."""
    return State.EXPIRED.value if row.state in OPEN and row.expires_at <= timezone.now() else row.state


def how_many(request: HttpRequest) -> int:
    """How many requests wait for an answer that the person may give."""
    ctx = context_of(request)
    if not anywhere(ctx, Action.APPROVE):
        return 0
    waiting = ActionRequest.objects.restrict(ctx, Action.APPROVE).filter(state=State.PENDING, expires_at__gt=timezone.now())
    return int(waiting.count())


count_at("fleet_actionrequest", how_many)
STATE = Column("State", lambda row: cells.badge(shown_state(row)), order="state")


class CommentForm(ActForm):
    comment = forms.CharField(
        max_length=2000, required=False, widget=forms.Textarea(attrs={"rows": 3}), help_text="For the agent and the log; may stay empty."
    )


def _answer(approve: bool, message: str) -> Any:
    return lambda call: Done(message, _answered(call, approve))


def _answered(call: Call, approve: bool) -> ActionRequest:
    return answer_request(ctx=call.ctx, request_id=call.obj.pk, approve=approve, comment=call.data["comment"])


@admin.register(ActionRequest)
class ActionRequestAdmin(GovernedAdmin):
    list_display = (
        columns.itself("Tool", order="tool"),
        columns.link("agent"),
        columns.badge("risk"),
        STATE,
        columns.clipped("reason"),
        columns.moment("created_at", "Asked"),
        columns.moment("expires_at", "Expires"),
    )
    list_select_related = ("agent",)
    list_filter = (
        filters.values("state", "state", STATES),
        filters.values("risk", "risk", RISKS),
        filters.related("agent", "identity.Agent", "agent"),
        filters.when("created_at"),
    )
    search_fields = ("tool", "agent__slug", "reason", "run_id")
    ordering = ("-created_at", "-id")
    detail_related = ("decided_by",)
    when_empty = "An agent at A2 or A3 asks here before it uses a tool of medium or high risk, or one that its pack has it ask for."
    facts = (
        Facts(
            "Request",
            (
                columns.code("tool"),
                columns.link("agent"),
                columns.text("pack"),
                columns.badge("risk"),
                columns.badge("level", "Autonomy for it"),
                STATE,
                columns.code("run_id", "Run"),
                columns.moment("created_at", "Asked"),
                columns.moment("expires_at", "Expires"),
                columns.link("decided_by", "Answered by"),
                columns.moment("decided_at", "Answered"),
                columns.moment("used_at", "Used"),
                Column("Left out as secret", lambda row: cells.words(row.redactions)),
            ),
            long=(columns.pretty("arguments"), columns.block("reason"), columns.block("comment")),
        ),
    )
    acts = (
        Act(
            name="approve",
            label="Approve",
            icon="check",
            tone="primary",
            rights=(Action.APPROVE,),
            form=CommentForm,
            run=_answer(True, "The agent may use the tool once; it has been told."),
            when=lambda ctx, row: shown_state(row) == State.PENDING,
            explain=lambda request, row: [
                f"{row.agent} may call {row.tool} once, with exactly the arguments on the request's page, until the request expires.",
                "This tool is of high risk: read the arguments first. What it does may not be undone." if row.risk == "high" else "",
            ],
        ),
        Act(
            name="deny",
            label="Deny",
            icon="close",
            tone="danger",
            rights=(Action.APPROVE,),
            form=CommentForm,
            run=_answer(False, "The request is denied; the agent has been told."),
            when=lambda ctx, row: shown_state(row) in (State.PENDING, State.APPROVED),
            explain=lambda request, row: ["The agent may ask again, with another request."],
        ),
    )

    def heading(self, obj: ActionRequest) -> object:
        return obj.tool

    def intro(self, request: HttpRequest, obj: ActionRequest) -> Iterable[object]:
        match shown_state(obj):
            case "pending":
                yield "It waits for a manager's answer. The agent goes on with nothing that needs this tool."
            case "approved":
                yield "It is approved and not used yet; until then the yes can be taken back."
