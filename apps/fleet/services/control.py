"""Ordering a pause, a resume, a stop or a restart of an agent, a tier or a tree."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.fleet.domain.commands import (
    KEPT,
    LONGEST,
    MAX_REASON,
    REPLACES,
    SHORTEST,
    Event,
    Kind,
    Order,
    Target,
    leads_to,
    parse_target,
    possible_in,
    refuse_after_stop,
)
from apps.fleet.models import Command, Delivery, Harness
from apps.fleet.push import push
from apps.fleet.selectors.concerned import concerned_by
from apps.fleet.services.deliveries import as_told, open_deliveries
from apps.identity.models import Agent, AgentStatus
from apps.identity.permissions import require
from apps.telemetry.selectors.rules import redactor_of, stored_reference

# Processes that were there so lately are told too, though they may just have missed a heartbeat.
RECENTLY = timedelta(hours=1)

_SUPERSEDE = """
UPDATE fleet_delivery d SET state = %(state)s, closed_at = %(now)s, superseded_by_id = %(by)s
FROM fleet_command c WHERE c.id = d.command_id AND c.tenant_id = %(tenant)s AND c.kind = %(kind)s AND c.name = %(name)s
AND c.action = ANY(%(actions)s) AND c.id <> %(by)s AND d.state = ANY(%(possible)s)
"""


def order(*, ctx: ActionContext, target: str, action: str, reason: str = "", expires_in_s: int | None = None) -> Command:
    """Orders it. What was on its way to the same target and is overtaken by this is superseded; a stop gives way to a restart only.

    An agent takes the right on that agent, a tier or a tree the right in the whole tenant.
    Raises Problem `permission_denied`, `invalid` (no such target, or nobody there), `wrong_state` (a stop is on its way).
    """
    what, reason = Order(action), redactor_of(ctx.tenant_id).redact_text(reason.strip())[0]
    if len(reason) > MAX_REASON:
        raise problem("invalid", f"A reason is at most {MAX_REASON} characters.", pointer="/reason")
    kept = KEPT if expires_in_s is None else timedelta(seconds=expires_in_s)
    if not SHORTEST <= kept <= LONGEST:
        raise problem("invalid", "A command waits 30 seconds to 7 days.", pointer="/expires_in_s")
    found = parse_target(target)
    if found.kind is Kind.TREE:
        # As rows have it.
        found = Target(found.kind, stored_reference(ctx.tenant_id, found.name))
    with ctx.transaction():
        agent, agents = _whom(ctx, found)
        now = timezone.now()
        _one_at_a_time(ctx, found)
        under_way = Delivery.objects.filter(
            command__kind=found.kind, command__name=found.name, command__action=Order.STOP, state__in=possible_in(Event.SUPERSEDE)
        )
        if under_way.filter(tenant_id=ctx.tenant_id, command__expires_at__gt=now).exists():
            refuse_after_stop(what)
        command = Command.objects.create(
            tenant_id=ctx.tenant_id,
            kind=found.kind,
            name=found.name,
            agent=agent,
            action=what,
            reason=reason,
            created_by_id=ctx.user_id,
            actor_label=ctx.actor.label,
            created_at=now,
            expires_at=now + kept,
        )
        _supersede(command, what, now)
        places = _processes(ctx, agents, now)
        open_deliveries(ctx, command, places)
        record(
            ctx,
            f"fleet.{what}",
            command,
            data={"target": str(found), "agents": len(agents), "deliveries": len(places)},
            reason=reason,
        )
        told = as_told(command)
        ctx.on_commit(lambda: push(tenant_id=ctx.tenant_id, agent_ids=sorted(agents), event="control", data=told))
        return command


def _whom(ctx: ActionContext, target: Target) -> tuple[Agent | None, set[UUID]]:
    if target.kind is Kind.AGENT:
        tenant, _, slug = target.name.partition("/")
        agent = Agent.objects.restrict(ctx).filter(tenant__slug=tenant, slug=slug).first()
        if agent is None:
            raise problem("invalid", f"There is no agent '{target.name}' here.", pointer="/target")
        require(ctx, Action.OPERATE, tenant_id=agent.tenant_id, team_id=agent.team_id, on=agent)
        if agent.status == AgentStatus.RETIRED:
            raise problem("invalid", "The agent is retired: it has no harness any more.", pointer="/target")
        return agent, {agent.pk}
    require(ctx, Action.OPERATE, tenant_id=ctx.tenant_id)
    agents = concerned_by(ctx.tenant_id, target, timezone.now())
    if not agents:
        raise problem("invalid", f"No agent had a part in {target} in the last two days; name an agent instead.", pointer="/target")
    return None, agents


def _one_at_a_time(ctx: ActionContext, target: Target) -> None:
    """Of two orders to one target at one moment the second sees the first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"fleet:{ctx.tenant_id}:{target}"])


def _supersede(command: Command, what: Order, now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            _SUPERSEDE,
            {
                "state": leads_to(Event.SUPERSEDE).value,
                "possible": possible_in(Event.SUPERSEDE),
                "now": now,
                "by": command.pk,
                "tenant": command.tenant_id,
                "kind": command.kind,
                "name": command.name,
                "actions": [replaced.value for replaced in REPLACES[what]],
            },
        )


def _processes(ctx: ActionContext, agents: set[UUID], now: datetime) -> list[tuple[UUID, str]]:
    """Each agent's processes that were there of late; for an agent with none, whichever comes first."""
    rows = Harness.objects.filter(tenant_id=ctx.tenant_id, agent_id__in=agents, last_seen_at__gte=now - RECENTLY)
    found = sorted(rows.values_list("agent_id", "instance"))
    return found + [(agent, "") for agent in sorted(agents - {agent for agent, _ in found})]
