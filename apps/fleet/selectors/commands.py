"""How far commands have come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Count
from django.utils import timezone

from apps.core.context import ActionContext
from apps.fleet.domain.commands import OPEN, State
from apps.fleet.domain.liveness import is_laggard
from apps.fleet.models import Command, Delivery

MAX_NAMED = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """Of a command's deliveries: how many stand where, and who is named for not answering."""

    counts: dict[str, int]
    laggards: list[dict[str, str]] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def acknowledged(self) -> int:
        return self.counts[State.ACKNOWLEDGED]

    @property
    def state(self) -> str:
        """`open` while somebody is waited for; else what became of it with anybody: acknowledged, expired or superseded."""
        if any(self.counts[state] for state in OPEN):
            return "open"
        if self.counts[State.EXPIRED]:
            return "expired"
        if self.counts[State.SUPERSEDED] and not self.acknowledged:
            return "superseded"
        return "acknowledged"


def with_progress(ctx: ActionContext, commands: Sequence[Any]) -> list[Any]:
    """The commands, each with its `progress`, by two queries for all of them. Deliveries that have run out count as expired, whether or not
    the sweep has come by."""
    now = timezone.now()
    keys = [command.pk for command in commands]
    counts: dict[Any, dict[str, int]] = {key: dict.fromkeys((state.value for state in State), 0) for key in keys}
    rows = Delivery.objects.restrict(ctx).filter(command_id__in=keys)
    for key, state, number in rows.order_by().values_list("command_id", "state").annotate(number=Count("id")):
        counts[key][state] = number
    waiting = [command.pk for command in commands if _open(command, now) and is_laggard(command.created_at, now)]
    late: dict[Any, list[dict[str, str]]] = {}
    if waiting:
        named = rows.filter(command_id__in=waiting, state__in=OPEN).order_by("agent__slug", "instance")
        for key, agent, instance in named.values_list("command_id", "agent__slug", "instance")[: MAX_NAMED * len(waiting)]:
            late.setdefault(key, []).append({"agent": agent, "instance": instance})
    for command in commands:
        found = counts[command.pk]
        if not _open(command, now):
            found[State.EXPIRED] += sum(found.pop(state) for state in OPEN)
            found |= dict.fromkeys(OPEN, 0)
        command.progress = Progress(found, late.get(command.pk, [])[:MAX_NAMED])
    return list(commands)


def _open(command: Command, now: datetime) -> bool:
    return command.expires_at > now
