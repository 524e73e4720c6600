"""Traces that are to be settled, with what is stored of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from apps.telemetry.domain.archives import GRACE_DAYS, MAX_HOT_DAYS
from apps.telemetry.domain.otlp.settling import OpenRun, Step
from apps.telemetry.domain.otlp.values import count_of

# A trace lasts no longer than items are taken.
DAYS = MAX_HOT_DAYS + GRACE_DAYS
# So many steps, and open runs, of one root task are looked at, the newest: a harness may put everything under one.
MAX_STEPS = 10_000
_CLAIM = """
SELECT id, roots, last FROM telemetry_opentraces WHERE tenant_id = %s AND due_at <= %s AND (%s::uuid IS NULL OR id = %s) ORDER BY due_at LIMIT %s
FOR UPDATE SKIP LOCKED
"""
# Ids that only spans have.
_OF_A_SPAN = "'^[0-9a-f]{32}-[0-9a-f]{16}$'"
_STEPS = f"""
SELECT s.* FROM unnest(%s::text[]) AS r (root) CROSS JOIN LATERAL (
SELECT id, day, event_id, payload ->> 'parent_task_id', run_id, tier, action, provider, model_id, tokens_in, tokens_out,
    payload ->> 'cached_tokens', payload ->> 'cache_write_tokens', payload ->> 'reasoning_tokens', cost_micros, mcp_server,
    'priced' = ANY (flags), created_at, root_task_id
FROM telemetry_event WHERE tenant_id = %s AND root_task_id = r.root AND day >= %s AND event_id ~ {_OF_A_SPAN}
ORDER BY created_at DESC, event_id LIMIT {MAX_STEPS}) s
"""  # noqa: S608 -- a constant
_RUNS = f"""
SELECT s.* FROM unnest(%s::text[]) AS r (root) CROSS JOIN LATERAL (
SELECT run_id, started_at, tier, tokens_in, tokens_out, cached_tokens, cache_write_tokens, reasoning_tokens, cost_micros, agent_id, team_id,
    root_task_id
FROM telemetry_run WHERE tenant_id = %s AND root_task_id = r.root AND day >= %s AND NOT final AND run_id ~ {_OF_A_SPAN}
ORDER BY created_at DESC, run_id LIMIT {MAX_STEPS}) s
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

    @property
    def too_large(self) -> bool:
        """Whether there is more than is looked at."""
        return max(len(self.steps), len(self.runs)) >= MAX_STEPS


def tenants_with_traces_due(now: datetime) -> list[UUID]:
    """Tenants with traces to settle, the longest due first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM telemetry_traces_due(%s) ORDER BY since", [now])
        return [tenant_id for (tenant_id,) in cursor.fetchall()]


def claim_traces(tenant_id: UUID, now: datetime, limit: int, only: UUID | None = None) -> Claimed:
    """The next rows of the queue, or `only` this one if it is due; other workers pass them over until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [tenant_id, now, only, only, limit])
        rows = cursor.fetchall()
    last = {root for _, roots, final in rows if final for root in roots}
    return Claimed([key for key, _, _ in rows], {root for _, roots, _ in rows for root in roots}, last)


def stored_traces(tenant_id: UUID, roots: Collection[str], today: date) -> dict[str, Trace]:
    """What is stored under each of these root tasks."""
    found: dict[str, Trace] = {}
    wanted: list[Any] = [list(roots), tenant_id, today - timedelta(days=DAYS)]
    with connection.cursor() as cursor:
        cursor.execute(_STEPS, wanted)
        for row in cursor.fetchall():
            trace = found.setdefault(row[18], Trace([], {}, [], {}))
            trace.steps.append(_step(row))
            trace.rows[row[2]] = Row(row[0], row[1], row[17])
        cursor.execute(_RUNS, wanted)
        for run_id, started_at, tier, *counts, cost, agent_id, team_id, root in cursor.fetchall():
            trace = found.setdefault(root, Trace([], {}, [], {}))
            trace.runs.append(OpenRun(run_id, started_at, tier, tuple(counts), cost))
            trace.owners[run_id] = agent_id, team_id
    return found


def _step(row: tuple[Any, ...]) -> Step:
    _, _, event_id, parent, run_id, tier, action, provider, model_id, tokens_in, tokens_out, *more, cost, server, priced, _, _ = row
    return Step(
        event_id, parent, run_id, tier, action, provider, model_id, (tokens_in, tokens_out, *map(count_of, more)), cost, server, priced
    )
