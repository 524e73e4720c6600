"""Spans of OpenTelemetry: taken as runs and events by the same ingest as JSON batches."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from apps.core.context import ActionContext
from apps.telemetry.domain.otlp.batch import to_batch
from apps.telemetry.domain.otlp.spans import Decoded
from apps.telemetry.services.ingest import Sender, ingest_events, ingest_runs

log = structlog.get_logger(__name__)


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
    refused = {rejection.index: rejection.detail for rejection in (*runs.rejected, *events.rejected)}
    log.info("telemetry.spans", agent=sender.agent, spans=batch.spans, stored=events.accepted, ignored=batch.ignored, refused=len(refused))
    return Taken(batch.spans, events.accepted, events.duplicates, batch.ignored, refused)
