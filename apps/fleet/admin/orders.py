"""What the pages that order something have in common."""

from __future__ import annotations

from typing import Any

from django import forms

from apps.core.access import Action
from apps.core.admin import Act, Call, Done, NeededReasonForm, ReasonForm
from apps.fleet.domain.commands import Order
from apps.fleet.services import order
from apps.identity.models import AgentStatus

# Order -> label, icon, tone, what it means to those that it reaches.
ORDERS: dict[Order, tuple[str, str, Any, str]] = {
    Order.PAUSE: ("Pause", "pause", "plain", "Each harness finishes its step, then takes no new work until it is told to resume."),
    Order.RESUME: ("Resume", "play_arrow", "primary", "Each harness takes work again. A pause that is still on its way is taken back."),
    Order.RESTART: ("Restart", "restart_alt", "plain", "Each harness ends what it does, starts anew and resolves its packs again."),
    Order.STOP: (
        "Stop",
        "stop_circle",
        "danger",
        "Each harness ends what it does at once and takes no more. Only a restart takes this back, and work under way is lost.",
    ),
}
WORD = "stop"


class StopForm(NeededReasonForm):
    """A stop is hard to undo, so that it takes a word."""

    confirm = forms.CharField(max_length=20, label="Type “stop” to confirm", widget=forms.TextInput(attrs={"autocomplete": "off"}))

    def clean_confirm(self) -> str:
        if self.cleaned_data["confirm"].strip().lower() != WORD:
            raise forms.ValidationError("Type the word stop, or go back.")
        return WORD


def _ordering(what: Order) -> Any:
    def run(call: Call) -> Done:
        target = f"agent:{call.obj.tenant.slug}/{call.obj.slug}"
        made = order(ctx=call.ctx, target=target, action=what, reason=call.data["reason"])
        return Done(f"“{made}” is on its way; this page shows who has done it.", made)

    return run


def _explaining(meaning: str) -> Any:
    return lambda request, agent: [
        meaning,
        "It is handed to every process of the agent until it says that it has done so, for an hour at the most.",
    ]


def agent_acts() -> list[Act]:
    """For the page of an agent."""
    return [
        Act(
            name=f"fleet-{what}",
            label=label,
            icon=icon,
            tone=tone,
            rights=(Action.OPERATE,),
            form=StopForm if what is Order.STOP else ReasonForm,
            run=_ordering(what),
            when=lambda ctx, agent: agent.status != AgentStatus.RETIRED,
            explain=_explaining(meaning),
        )
        for what, (label, icon, tone, meaning) in ORDERS.items()
    ]
