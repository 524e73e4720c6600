"""What each producer has sent: numbers received, so that gaps show, and counts of items."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import psycopg

from apps.core.context import ActionContext
from apps.core.ids import new_id
from apps.telemetry.domain.gaps import Seen, missing, observe

_ARRIVED = """
INSERT INTO telemetry_producer
    (id, tenant_id, agent_id, name, ranges, given_up, last_seq, accepted, duplicates, rejected, too_old, first_seen_at, last_seen_at,
     skew_ms, skew_at, missing)
VALUES (%b, %b, %b, %b, '[]', 0, %b, %b, %b, %b, %b, %b, %b, %b, %b, 0)
ON CONFLICT (tenant_id, agent_id, name) DO UPDATE SET
    last_seq = greatest(telemetry_producer.last_seq, excluded.last_seq),
    accepted = telemetry_producer.accepted + excluded.accepted,
    duplicates = telemetry_producer.duplicates + excluded.duplicates,
    rejected = telemetry_producer.rejected + excluded.rejected,
    too_old = telemetry_producer.too_old + excluded.too_old,
    last_seen_at = greatest(telemetry_producer.last_seen_at, excluded.last_seen_at),
    skew_ms = greatest(telemetry_producer.skew_ms, excluded.skew_ms),
    skew_at = coalesce(excluded.skew_at, telemetry_producer.skew_at)
RETURNING id, ranges::text, given_up
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """Items of one batch; those too old are among the rejected. `skew_ms`: how far its clock was off, 0 where it was not seen to be."""

    accepted: int
    duplicates: int
    rejected: int
    too_old: int
    skew_ms: int = 0


def arrived(cur: psycopg.Cursor[Any], ctx: ActionContext, name: str, seq: int, counts: Counts, now: datetime) -> None:
    """Records a numbered batch. Its row is locked till the end, so this comes last in a transaction."""
    figures = [counts.accepted, counts.duplicates, counts.rejected, counts.too_old]
    cur.execute(
        _ARRIVED, [new_id(), ctx.tenant_id, ctx.agent_id, name, seq, *figures, now, now, counts.skew_ms, now if counts.skew_ms else None]
    )
    row = cur.fetchone()
    assert row is not None
    key, ranges, given_up = row
    seen, new = observe(Seen(tuple((first, last) for first, last in msgspec.json.decode(ranges)), given_up), seq)
    if new:
        encoded = msgspec.json.encode(seen.ranges).decode()
        cur.execute(
            "UPDATE telemetry_producer SET ranges = %b::jsonb, given_up = %b, missing = %b WHERE id = %b",
            [encoded, seen.given_up, missing(seen), key],
        )
