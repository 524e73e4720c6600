"""Which agents a target concerns: those that had a part in it lately."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection

from apps.core.context import for_every_user
from apps.fleet.domain.commands import Kind, Target

# How far back a tree's and a tier's runs are looked at.
LATELY = timedelta(days=2)
# Of each agent's latest runs, how many tell its tier.
RUNS = 200

# By the indexes on the root task: one look into each recent partition.
_TREE = """
SELECT agent_id FROM telemetry_run WHERE tenant_id = %(tenant)s AND root_task_id = %(name)s AND created_at >= %(since)s
UNION
SELECT agent_id FROM telemetry_event WHERE tenant_id = %(tenant)s AND root_task_id = %(name)s AND created_at >= %(since)s
"""
# Of each active agent its last few runs, by the index on agent and time: as dear as there are agents, however many runs there are.
_TIER = """
SELECT a.id FROM identity_agent a WHERE a.tenant_id = %(tenant)s AND a.status = 'active' AND EXISTS (
    SELECT 1 FROM (
        SELECT r.tier FROM telemetry_run r WHERE r.tenant_id = a.tenant_id AND r.agent_id = a.id AND r.created_at >= %(since)s
        ORDER BY r.created_at DESC, r.id DESC LIMIT %(runs)s) latest
    WHERE latest.tier = %(name)s)
"""


def concerned_by(tenant_id: UUID, target: Target, now: datetime) -> set[UUID]:
    """The agents of a tree (with a run or event of that root task) or of a tier (with it in one of their latest runs) in the last two days.

    Asked within a transaction of the tenant; whose runs they are does not matter.
    """
    statement = _TREE if target.kind is Kind.TREE else _TIER
    with for_every_user(), connection.cursor() as cursor:
        cursor.execute(statement, {"tenant": tenant_id, "name": target.name, "since": now - LATELY, "runs": RUNS})
        return {agent_id for (agent_id,) in cursor.fetchall()}
