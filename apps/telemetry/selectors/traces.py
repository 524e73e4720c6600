"""Traces that are to be settled, with what is stored of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from apps.telemetry.domain.otlp.settling import OpenRun, Step
from apps.telemetry.domain.otlp.values import count_of

# A trace lasts no longer than items are taken.
DAYS = 9
_CLAIM = """
SELECT id, roots, last FROM telemetry_opentraces WHERE tenant_id = %s AND due_at <= %s ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
"""
# Ids that only spans have.
_OF_A_SPAN = "'^[0-9a-f]{32}-[0-9a-f]{16}$'"
_STEPS = f"""
SELECT id, day, event_id, payload ->> 'parent_task_id', run_id, tier, action, provider, model_id, tokens_in, tokens_out,
    payload ->> 'cached_tokens', payload ->> 'cache_write_tokens', payload ->> 'reasoning_tokens', cost_micros, mcp_server, created_at, root_task_id
FROM telemetry_event WHERE tenant_id = %s AND root_task_id = ANY(%s) AND day >= %s AND event_id ~ {_OF_A_SPAN}
"""  # noqa: S608 -- a constant
_RUNS = f"""
SELECT run_id, started_at, tier, tokens_in, tokens_out, cached_tokens, cache_write_tokens, reasoning_tokens, agent_id, team_id, root_task_id
FROM telemetry_run WHERE tenant_id = %s AND root_task_id = ANY(%s) AND day >= %s AND NOT final AND run_id ~ {_OF_A_SPAN}
"""  # noqa: S608 -- a constant


@dataclass(frozen=True, slots=True)
class Claimed:
    """Rows of the queue that this transaction holds, with the root tasks they name; `last`: those that are looked at for the last time."""

    rows: list[UUID]
    roots: set[str]
    last: set[str]


class Row(NamedTuple):
    """Where an event is stored, and when it happened."""

    id: UUID
    day: date
    at: datetime


@dataclass(slots=True)
class Trace:
    """What is stored under one root task: the steps, their rows, the open runs, and whose (agent, team) each run is."""

    steps: list[Step]
    rows: dict[str, Row]
    runs: list[OpenRun]
    owners: dict[str, tuple[UUID, UUID | None]]


def tenants_with_traces_due(now: datetime) -> list[UUID]:
    """Tenants with traces to settle, the longest due first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM telemetry_traces_due(%s) ORDER BY since", [now])
        return [tenant_id for (tenant_id,) in cursor.fetchall()]


def claim_traces(tenant_id: UUID, now: datetime, limit: int) -> Claimed:
    """The next rows of the queue; other workers pass them over until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [tenant_id, now, limit])
        rows = cursor.fetchall()
    last = {root for _, roots, final in rows if final for root in roots}
    return Claimed([key for key, _, _ in rows], {root for _, roots, _ in rows for root in roots}, last)


def stored_traces(tenant_id: UUID, roots: Collection[str], today: date) -> dict[str, Trace]:
    """What is stored under each of these root tasks."""
    found: dict[str, Trace] = {}
    wanted = [tenant_id, list(roots), today - timedelta(days=DAYS)]
    with connection.cursor() as cursor:
        cursor.execute(_STEPS, wanted)
        for row in cursor.fetchall():
            trace = found.setdefault(row[17], Trace([], {}, [], {}))
            trace.steps.append(_step(row))
            trace.rows[row[2]] = Row(row[0], row[1], row[16])
        cursor.execute(_RUNS, wanted)
        for run_id, started_at, tier, *counts, agent_id, team_id, root in cursor.fetchall():
            trace = found.setdefault(root, Trace([], {}, [], {}))
            trace.runs.append(OpenRun(run_id, started_at, tier, tuple(counts)))
            trace.owners[run_id] = agent_id, team_id
    return found


def _step(row: tuple[Any, ...]) -> Step:
    _, _, event_id, parent, run_id, tier, action, provider, model_id, tokens_in, tokens_out, *more, cost, server, _, _ = row
    return Step(event_id, parent, run_id, tier, action, provider, model_id, (tokens_in, tokens_out, *map(count_of, more)), cost, server)
