"""Spans of OpenTelemetry: taken as runs and events by the same ingest as JSON batches, and settled when the rest of their trace has come.

Spans are exported when they end, so a step mostly comes before the agent whose step it is, often in another request. At once are stored:
each step as an event, each agent's span as a run that is not final, with what its own span says. What only the whole trace tells (whose
step, which tier, the sum over the calls) is added SETTLE_S later, and the run is final then; both only fill nulls. So the rows are the
same however the spans were batched and in whatever order they came.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog
from django.utils import timezone

from apps.core.context import EVERY_USER, ActionContext
from apps.telemetry.domain.contract import DecodedBatch, encode_item
from apps.telemetry.domain.items import MAX_NAME, RunItem
from apps.telemetry.domain.otlp.batch import UNSETTLED, to_batch
from apps.telemetry.domain.otlp.settling import settle
from apps.telemetry.domain.otlp.spans import Decoded
from apps.telemetry.models import OpenTraces
from apps.telemetry.selectors.rules import redactor_of
from apps.telemetry.selectors.traces import Row, Trace, claim_traces, stored_traces
from apps.telemetry.services.ingest import Sender, ingest_events, ingest_runs
from apps.telemetry.services.rolling import await_roll_up
from apps.telemetry.services.storage import cursor
from apps.telemetry.services.tables import EVENTS

log = structlog.get_logger(__name__)

# How long after a request its traces are settled: exporters send every five seconds, and try again for some.
SETTLE = timedelta(seconds=15)
# How long a run waits for a parent that is not stored yet: either it comes (an agent that is still at work), or it never does (a request
# for which the agent worked).
SETTLE_LAST = timedelta(minutes=10)
CLAIMED_ROWS = 20

_PLACE = """
UPDATE telemetry_event e SET run_id = coalesce(e.run_id, t.run_id), tier = coalesce(e.tier, t.tier),
    flags = CASE WHEN t.run_id IS NULL THEN e.flags ELSE array_remove(e.flags, %b) END
FROM unnest(%b::uuid[], %b::text[], %b::text[]) AS t (id, run_id, tier) WHERE e.tenant_id = %b AND e.day = %b AND e.id = t.id
    AND (e.run_id IS NULL AND t.run_id IS NOT NULL OR e.tier IS NULL AND t.tier IS NOT NULL)
RETURNING e.id
"""


class Placed(NamedTuple):
    """What a stored event learns from the rest of its trace."""

    row: Row
    run_id: str | None
    tier: str | None


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a request's spans. `refused` tells why, by the span's place in the request; `ignored` counts those that have nothing
    to do with agents."""

    spans: int
    accepted: int
    duplicates: int
    ignored: int
    refused: dict[int, str]


def ingest_spans(*, ctx: ActionContext, sender: Sender, decoded: Decoded) -> Taken:
    """Stores the spans of one request exactly once, all or none of them. Raises as `ingest_runs` does."""
    batch = to_batch(decoded)
    with ctx.transaction():
        events = ingest_events(ctx=ctx, sender=sender, batch=batch.events, commands=False)
        runs = ingest_runs(ctx=ctx, sender=sender, batch=batch.runs, commands=False)
        if batch.roots and events.accepted:
            # As the events have it.
            redactor = redactor_of(ctx.tenant_id)
            roots = [redactor.reference(root)[0][:MAX_NAME] for root in batch.roots]
            OpenTraces.objects.create(tenant_id=ctx.tenant_id, roots=roots, due_at=timezone.now() + SETTLE)
    refused = {rejection.index: rejection.detail for rejection in (*runs.rejected, *events.rejected)}
    if refused:
        log.warning("telemetry.spans_refused", agent=sender.agent, spans=batch.spans, refused=len(refused))
    return Taken(batch.spans, events.accepted, events.duplicates, batch.ignored, refused)


def settle_traces(*, ctx: ActionContext, now: datetime | None = None) -> int:
    """Settles some of the tenant's traces that are due; how many rows of the queue that were. Repeated or done by two workers at once it
    comes to the same: the claim, what it adds and its end are one transaction."""
    now = now or timezone.now()
    with ctx.transaction():
        claimed = claim_traces(ctx.tenant_id, now, CLAIMED_ROWS)
        if not claimed.rows:
            return 0
        waiting: list[str] = []
        placed: dict[date, list[Placed]] = {}
        closed: dict[tuple[UUID, UUID | None], list[RunItem]] = {}
        for root, trace in stored_traces(ctx.tenant_id, claimed.roots, now.date()).items():
            if _settle(trace, root in claimed.last, placed, closed):
                waiting.append(root)
        _place(ctx, placed, now)
        for (agent_id, team_id), items in closed.items():
            _close(ctx, agent_id, team_id, items)
        if waiting:
            OpenTraces.objects.create(tenant_id=ctx.tenant_id, roots=waiting, due_at=now + SETTLE_LAST, last=True)
        OpenTraces.objects.filter(tenant_id=ctx.tenant_id, pk__in=claimed.rows).delete()
        return len(claimed.rows)


def _settle(
    trace: Trace,
    last: bool,
    placed: dict[date, list[Placed]],
    closed: dict[tuple[UUID, UUID | None], list[RunItem]],
) -> bool:
    """Adds what the trace tells to `placed` and `closed`; whether a run of it waits."""
    found = settle(trace.steps, trace.runs, last=last)
    for event_id, (run_id, tier) in found.placed.items():
        row = trace.rows[event_id]
        placed.setdefault(row.day, []).append(Placed(row, run_id, tier))
    for item in found.closed:
        closed.setdefault(trace.owners[item.run_id], []).append(item)
    return bool(found.waiting)


def _place(ctx: ActionContext, placed: dict[date, list[Placed]], now: datetime) -> None:
    """Fills the events' nulls, and has those found by their tier that had none."""
    cur = cursor()
    for day, events in placed.items():
        keys, runs, tiers = [event.row.id for event in events], [event.run_id for event in events], [event.tier for event in events]
        cur.execute(_PLACE, [UNSETTLED, keys, runs, tiers, ctx.tenant_id, day])
        filled = {key for (key,) in cur.fetchall()}
        tiered = [event.row for event in events if event.tier is not None and event.row.id in filled]
        if tiered:
            await_roll_up(cur, ctx, EVENTS.kind, day, [], open_ids=[row.id for row in tiered], moments=[row.at for row in tiered], now=now)


def _close(ctx: ActionContext, agent_id: UUID, team_id: UUID | None, items: Iterable[RunItem]) -> None:
    """Completes an agent's runs through the ingest, which also has them scored."""
    as_agent = ActionContext(
        ctx.actor, ctx.tenant_id, ctx.channel, ctx.roles, request_id=ctx.request_id, agent_id=agent_id, team_id=team_id, user_ref=EVERY_USER
    )
    numbered = list(enumerate(items))
    batch = DecodedBatch(None, None, numbered, [encode_item(item) for _, item in numbered], [])
    ingest_runs(ctx=as_agent, sender=Sender("", ""), batch=batch, commands=False)
