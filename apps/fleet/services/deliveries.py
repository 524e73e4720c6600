"""Handing commands out, and taking their acknowledgements: set by set, by the one table of states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import DatabaseError, connection
from django.utils import timezone

from apps.core.context import ActionContext, Topic
from apps.core.generations import bump
from apps.core.ids import new_id
from apps.fleet.domain.commands import Event, leads_to, possible_in
from apps.fleet.models import Command, Delivery
from apps.fleet.selectors.waiting import something_waits
from apps.telemetry.commands import register_commands

log = structlog.get_logger(__name__)

_HAND_OUT = """
UPDATE fleet_delivery d SET state = %(state)s, delivered_at = coalesce(d.delivered_at, %(now)s), handed_out = d.handed_out + 1
FROM fleet_command c WHERE c.id = d.command_id AND d.tenant_id = %(tenant)s AND d.agent_id = %(agent)s AND d.state = ANY(%(possible)s)
AND c.expires_at > %(now)s AND d.instance IN (%(instance)s, '')
RETURNING c.id
"""
# For an answer that does not know which process it is for: what is open for another one, unless a process of the agent has done it already.
# It is told of and stays as it is, since whether that process hears of it is not known.
_TELL_ANY = """
SELECT d.command_id FROM fleet_delivery d JOIN fleet_command c ON c.id = d.command_id
WHERE d.tenant_id = %(tenant)s AND d.agent_id = %(agent)s AND d.state = ANY(%(possible)s) AND d.instance <> '' AND c.expires_at > %(now)s
AND NOT EXISTS (SELECT 1 FROM fleet_delivery o WHERE o.tenant_id = d.tenant_id AND o.command_id = d.command_id
    AND o.agent_id = d.agent_id AND o.state = %(done)s)
"""
_ACKNOWLEDGE = """
UPDATE fleet_delivery d SET state = %(state)s, closed_at = %(now)s
WHERE d.tenant_id = %(tenant)s AND d.agent_id = %(agent)s AND d.instance IN (%(instance)s, '') AND d.command_id = ANY(%(acks)s)
AND d.state = ANY(%(possible)s)
RETURNING d.command_id
"""
# A process that begins while a command holds for its agent is told as well.
_JOIN = """
INSERT INTO fleet_delivery (id, tenant_id, command_id, agent_id, instance, state, handed_out, created_at)
SELECT gen_random_uuid(), d.tenant_id, d.command_id, d.agent_id, %(instance)s, 'pending', 0, %(now)s
FROM fleet_delivery d JOIN fleet_command c ON c.id = d.command_id
WHERE d.tenant_id = %(tenant)s AND d.agent_id = %(agent)s AND d.state <> 'superseded' AND c.expires_at > %(now)s AND c.action = 'pause'
AND NOT EXISTS (SELECT 1 FROM fleet_command l WHERE l.tenant_id = c.tenant_id AND l.kind = c.kind AND l.name = c.name AND l.id > c.id)
GROUP BY d.tenant_id, d.command_id, d.agent_id
ON CONFLICT (command_id, agent_id, instance) DO NOTHING
"""


def as_told(command: Command) -> dict[str, Any]:
    """A command as a harness gets it; the reason is for people."""
    return {
        "id": str(command.pk),
        "action": command.action,
        "target": command.target,
        "created_at": command.created_at.isoformat(),
        "expires_at": command.expires_at.isoformat(),
    }


def hand_out(ctx: ActionContext, *, instance: str | None, now: datetime) -> list[dict[str, Any]]:
    """What waits for this process of the agent of `ctx`, the oldest first. It is handed out at each answer until it is acknowledged. With
    instance None (whichever process asks) that is what waits for any of them and none has done. Within the caller's transaction."""
    place = {**_whose(ctx, instance or "", now), "possible": possible_in(Event.HAND_OUT)}
    with connection.cursor() as cursor:
        cursor.execute(_HAND_OUT, {**place, "state": leads_to(Event.HAND_OUT).value})
        found = {command_id for (command_id,) in cursor.fetchall()}
        if instance is None:
            cursor.execute(_TELL_ANY, {**place, "done": leads_to(Event.ACKNOWLEDGE).value})
            found |= {command_id for (command_id,) in cursor.fetchall()}
    if not found:
        return []
    return [as_told(command) for command in Command.objects.filter(pk__in=found).order_by("id")]


def acknowledge(ctx: ActionContext, *, instance: str, acks: Sequence[UUID], now: datetime) -> list[UUID]:
    """Takes what the harness says it has done; gives the ids that are no command to this agent. Said twice counts once."""
    if not acks or ctx.agent_id is None:
        return list(acks)
    event = Event.ACKNOWLEDGE
    with connection.cursor() as cursor:
        cursor.execute(
            _ACKNOWLEDGE,
            {**_whose(ctx, instance, now), "acks": list(acks), "state": leads_to(event).value, "possible": possible_in(event)},
        )
        done = {command_id for (command_id,) in cursor.fetchall()}
    if done:
        bump(ctx, Topic.COMMANDS, ctx.tenant_id)
    rest = [command_id for command_id in acks if command_id not in done]
    if not rest:
        return []
    known = Delivery.objects.filter(tenant_id=ctx.tenant_id, agent_id=ctx.agent_id, command_id__in=rest)
    return sorted(set(rest) - set(known.values_list("command_id", flat=True)))


def join(ctx: ActionContext, *, instance: str, now: datetime) -> None:
    """A process of the agent is there for the first time: the pauses that hold for the agent hold for it."""
    with connection.cursor() as cursor:
        cursor.execute(_JOIN, _whose(ctx, instance, now))
        if cursor.rowcount:
            bump(ctx, Topic.COMMANDS, ctx.tenant_id)


def open_deliveries(ctx: ActionContext, command: Command, places: Iterable[tuple[UUID, str]]) -> None:
    Delivery.objects.bulk_create(
        [
            Delivery(
                id=new_id(), tenant_id=ctx.tenant_id, command=command, agent_id=agent, instance=instance, created_at=command.created_at
            )
            for agent, instance in places
        ],
        batch_size=1000,
    )
    bump(ctx, Topic.COMMANDS, ctx.tenant_id)


def _whose(ctx: ActionContext, instance: str, now: datetime) -> dict[str, Any]:
    return {"tenant": ctx.tenant_id, "agent": ctx.agent_id, "instance": instance, "now": now}


@register_commands
def with_telemetry(ctx: ActionContext) -> list[dict[str, Any]]:
    """What waits for the agent, in the answer to its telemetry. The batch is durable by then: trouble here is logged and no more."""
    if ctx.agent_id is None or not something_waits(ctx.tenant_id, ctx.agent_id):
        return []
    try:
        with ctx.transaction():
            return hand_out(ctx, instance=None, now=timezone.now())
    except DatabaseError:
        log.exception("fleet.commands_not_handed_out")
        return []
