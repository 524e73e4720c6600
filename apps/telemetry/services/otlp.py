"""Spans of OpenTelemetry: taken as runs and events by the same ingest as JSON batches, and settled when the rest of their trace has come.

Spans are exported when they end, so a step mostly comes before the agent whose step it is, often in another request. At once are stored:
each step as an event, each agent's span as a run that is not final, with what its own span says. What only the whole trace tells (whose
step, which tier, the sum over the calls) is added SETTLE_S later, and the run is final then; both only fill nulls. So the rows are the
same however the spans were batched and in whatever order they came.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
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
from apps.telemetry.domain.pricing import PRICED
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
# When what could not be settled has its next turn.
AGAIN = timedelta(minutes=5)

# Events that still wait to be counted: they are by what they say then.
_UNCOUNTED = """
SELECT e.id FROM (
    SELECT row_ids FROM telemetry_unrolledbatch b WHERE b.tenant_id = %b AND b.kind = %b AND b.day = %b
        AND EXISTS (SELECT 1 FROM unnest(b.row_ids) i WHERE i = ANY(%b::uuid[])) ORDER BY b.id FOR UPDATE
) waiting, unnest(waiting.row_ids) AS e (id) WHERE e.id = ANY(%b::uuid[])
"""

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
            # As the rows have them: what looks like a secret is stored nowhere.
            redactor = redactor_of(ctx.tenant_id)
            roots = sorted({redactor.reference(root)[0][:MAX_NAME] for root in batch.roots})
            OpenTraces.objects.create(tenant_id=ctx.tenant_id, roots=roots, due_at=timezone.now() + SETTLE)
    refused = {rejection.index: rejection.detail for rejection in (*runs.rejected, *events.rejected)}
    if refused:
        log.warning("telemetry.spans_refused", agent=sender.agent, spans=batch.spans, refused=len(refused))
    return Taken(batch.spans, events.accepted, events.duplicates, batch.ignored, refused)


def settle_traces(*, ctx: ActionContext, now: datetime | None = None) -> int:
    """Settles some of the tenant's traces that are due; how many rows of the queue that were. Repeated or done by two workers at once it
    comes to the same: the claim, what it adds and its end are one transaction. Rows that cannot be settled keep none of the others waiting:
    they are queued anew, with a word in the log."""
    now = now or timezone.now()
    held: list[UUID] = []
    try:
        _turn(ctx, now, held)
    except Exception:
        if not held:
            raise
        log.exception("telemetry.settling_failed", tenant_id=str(ctx.tenant_id), rows=len(held))
        for row in held:
            _alone(ctx, now, row)
    return len(held)


def _alone(ctx: ActionContext, now: datetime, row: UUID) -> None:
    """Settles one row of those that failed together, or puts it back."""
    try:
        _turn(ctx, now, [], row)
    except Exception:
        log.exception("telemetry.settling_failed", tenant_id=str(ctx.tenant_id), row=str(row))
        with ctx.transaction():
            OpenTraces.objects.filter(tenant_id=ctx.tenant_id, pk=row).update(due_at=now + AGAIN)


def _turn(ctx: ActionContext, now: datetime, held: list[UUID], only: UUID | None = None) -> None:
    """Settles the rows that are due, which are added to `held` as soon as they are claimed."""
    with ctx.transaction():
        claimed = claim_traces(ctx.tenant_id, now, CLAIMED_ROWS, only)
        held += claimed.rows
        if not claimed.rows:
            return
        waiting: list[str] = []
        placed: dict[date, list[Placed]] = {}
        closed: dict[tuple[UUID, UUID | None], list[RunItem]] = {}
        priced: set[str] = set()
        for root, trace in stored_traces(ctx.tenant_id, claimed.roots, now.date()).items():
            if trace.too_large:
                log.warning("telemetry.trace_too_large", tenant_id=str(ctx.tenant_id), root=root, steps=len(trace.steps))
            if _settle(trace, root in claimed.last, placed, closed, priced):
                waiting.append(root)
        _place(ctx, placed, now)
        for (agent_id, team_id), items in closed.items():
            _close(ctx, agent_id, team_id, items, priced)
        if waiting:
            OpenTraces.objects.create(tenant_id=ctx.tenant_id, roots=waiting, due_at=now + SETTLE_LAST, last=True)
        OpenTraces.objects.filter(tenant_id=ctx.tenant_id, pk__in=claimed.rows).delete()


def _settle(
    trace: Trace,
    last: bool,
    placed: dict[date, list[Placed]],
    closed: dict[tuple[UUID, UUID | None], list[RunItem]],
    priced: set[str],
) -> bool:
    """Adds what the trace tells to `placed`, `closed` and `priced`; whether a run of it waits."""
    found = settle(trace.steps, trace.runs, last=last)
    for event_id, (run_id, tier) in found.placed.items():
        row = trace.rows[event_id]
        placed.setdefault(row.day, []).append(Placed(row, run_id, tier))
    for item in found.closed:
        closed.setdefault(trace.owners[item.run_id], []).append(item)
    priced |= found.priced
    return bool(found.waiting)


def _place(ctx: ActionContext, placed: dict[date, list[Placed]], now: datetime) -> None:
    """Fills the events' nulls, and has those found by their tier that had none when they were counted."""
    cur = cursor()
    for day, events in sorted(placed.items()):
        keys, runs, tiers = [event.row.id for event in events], [event.run_id for event in events], [event.tier for event in events]
        # Held until the tiers are committed: who counts them meanwhile passes them over, and one who was at it is waited for.
        cur.execute(_UNCOUNTED, [ctx.tenant_id, EVENTS.kind, day, keys, keys])
        uncounted = {key for (key,) in cur.fetchall()}
        cur.execute(_PLACE, [UNSETTLED, keys, runs, tiers, ctx.tenant_id, day])
        filled = {key for (key,) in cur.fetchall()} - uncounted
        tiered = [event.row for event in events if event.tier is not None and event.row.id in filled]
        if tiered:
            await_roll_up(cur, ctx, EVENTS.kind, day, [], open_ids=[row.id for row in tiered], moments=[row.at for row in tiered], now=now)


def _close(ctx: ActionContext, agent_id: UUID, team_id: UUID | None, items: Iterable[RunItem], priced: Collection[str]) -> None:
    """Completes an agent's runs through the ingest, which also has them scored."""
    as_agent = ActionContext(
        ctx.actor, ctx.tenant_id, ctx.channel, ctx.roles, request_id=ctx.request_id, agent_id=agent_id, team_id=team_id, user_ref=EVERY_USER
    )
    numbered = list(enumerate(items))
    flags = {item.run_id: (PRICED,) for _, item in numbered if item.run_id in priced}
    batch = DecodedBatch(None, None, numbered, [encode_item(item) for _, item in numbered], [], flags)
    ingest_runs(ctx=as_agent, sender=Sender("", ""), batch=batch, commands=False)
