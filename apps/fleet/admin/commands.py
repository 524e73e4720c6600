"""Commands: what was ordered, who has done it, who has not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.core.access import Action
from apps.core.admin import Act, Call, Done, Facts, GovernedAdmin, ReasonForm, Relatives, cells, columns, filters
from apps.core.admin.columns import Column
from apps.fleet.admin.orders import ORDERS, WORD
from apps.fleet.domain.commands import Kind, Order, State
from apps.fleet.models import Command, Delivery
from apps.fleet.models.commands import KINDS
from apps.fleet.models.commands import ORDERS as ORDER_CHOICES
from apps.fleet.selectors.commands import counted
from apps.fleet.services import order

# How many laggards a row names.
LIST_NAMED = 5

STATE = Column("State", lambda row: cells.badge(row.progress.state))
DONE = Column("Acknowledged", lambda row: cells.bar(row.progress.acknowledged, row.progress.total, f"acknowledged of {row}"))
TARGET = Column("For", lambda row: cells.link_to(row.agent) if row.agent_id else cells.code(row.target))


def _laggards(command: Any) -> object:
    """Who has not answered for 30 seconds, by name."""
    names = [f"{each['agent']} {each['instance']}".strip() for each in command.progress.laggards]
    return cells.words([*names[:LIST_NAMED], *(["…"] if len(names) > LIST_NAMED else [])]) if names else cells.EMPTY


LAGGARDS = Column("Lags", _laggards)


class OrderForm(ReasonForm):
    """For a tree or a tier, whose agents are looked up; and for an agent by its name."""

    what = forms.ChoiceField(choices=[(each.value, label) for each, (label, *_) in ORDERS.items()], label="Order")
    target_kind = forms.ChoiceField(
        choices=[(Kind.TREE.value, "a tree of tasks"), (Kind.TIER.value, "a tier"), (Kind.AGENT.value, "an agent")], label="For"
    )
    target_name = forms.CharField(
        max_length=200, label="Named", help_text="The tree's root task id; T1, T2 or T3; or the agent as tenant/agent."
    )
    confirm = forms.CharField(
        max_length=20,
        required=False,
        label="To stop, type “stop”",
        help_text="A stop ends work that is under way, and only a restart takes it back.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    field_order = ("what", "target_kind", "target_name", "confirm", "reason")

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or self.cleaned_data
        if found.get("what") == Order.STOP and found.get("confirm", "").strip().lower() != WORD:
            self.add_error("confirm", "A stop is confirmed by typing the word stop.")
        return found


def _order(call: Call) -> Done:
    target = f"{call.data['target_kind']}:{call.data['target_name'].strip()}"
    made = order(ctx=call.ctx, target=target, action=call.data["what"], reason=call.data["reason"])
    return Done(f"“{made}” is on its way; this page shows who has done it.", made)


@admin.register(Command)
class CommandAdmin(GovernedAdmin):
    list_display = (
        columns.itself("Command", order="action"),
        TARGET,
        STATE,
        DONE,
        LAGGARDS,
        columns.text("actor_label", "By", order=False),
        columns.moment("created_at", "When"),
    )
    list_select_related = ("agent",)
    list_filter = (
        filters.values("action", "order", ORDER_CHOICES),
        filters.values("kind", "target", KINDS),
        filters.related("agent", "identity.Agent", "agent"),
        filters.when("created_at"),
    )
    search_fields = ("name", "actor_label", "reason")
    ordering = ("-created_at", "-id")
    when_empty = "Nothing was ordered yet. Pause, resume, stop or restart an agent from its page; a tree or a tier from here."
    facts = (
        Facts(
            "Command",
            (
                columns.text("action", "Order"),
                TARGET,
                STATE,
                DONE,
                LAGGARDS,
                columns.text("actor_label", "By"),
                columns.moment("created_at", "When"),
                columns.moment("expires_at", "Waits until"),
            ),
            long=(columns.block("reason"),),
        ),
    )
    relatives = (
        Relatives(
            "Where it was sent",
            lambda ctx, row: (
                Delivery.objects.restrict(ctx)
                .filter(command=row)
                .select_related("agent", "superseded_by")
                .order_by("agent__slug", "instance")
            ),
            (
                columns.link("agent", order=False),
                columns.text("instance", "Process", order=False),
                columns.badge("state", order=False),
                columns.number("handed_out", "Handed out", order=False),
                columns.moment("delivered_at", "First handed out", order=False),
                columns.moment("closed_at", "Ended", order=False),
                columns.link("superseded_by", "Overtaken by", order=False),
            ),
            empty="To nobody.",
            limit=200,
        ),
    )
    list_acts = (
        Act(
            name="order",
            label="Control the fleet",
            icon="settings_remote",
            tone="primary",
            rights=(Action.OPERATE,),
            form=OrderForm,
            run=_order,
            explain=lambda request, obj: [
                "A tree is the agents with a run or event of that root task in the last two days; a tier those with it among their latest runs.",
                "The command is handed to each of their processes until it says that it has done so, for an hour at the most.",
            ],
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return counted(super().get_queryset(request))

    def intro(self, request: HttpRequest, obj: Any) -> Iterable[object]:
        progress = obj.progress
        if progress.state == "open":
            yield f"{progress.acknowledged:,} of {progress.total:,} have done it; it is handed out until each says so."
            if progress.laggards:
                yield "Who lags has not answered for 30 seconds: its harness may be silent, busy, or may not know commands."
        elif progress.counts[State.EXPIRED]:
            yield "Its time is over: who has not answered is no longer told."
