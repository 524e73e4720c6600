"""Reads of telemetry that other rooms build on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from apps.telemetry import native

BASELINE_RUNS = 50


class UnscoredRun(NamedTuple):
    """What the online score needs of a final run; `checks` is JSON, which few scores look at."""

    row_id: UUID
    day: date
    run_id: str
    agent_id: UUID
    pack: str | None
    pack_version: int | None
    effective_digest: str | None
    arm: str | None
    tier: str
    success: bool | None
    format_passed: bool | None
    approval_passed: bool | None
    retries: int | None
    latency_ms: int | None
    checks: str | None


@dataclass(frozen=True, slots=True)
class UnscoredRuns:
    """Claimed batches of the queue with their runs, oldest first."""

    batches: tuple[UUID, ...]
    runs: tuple[UnscoredRun, ...]


_RUNS = """
SELECT id, day, run_id, agent_id, pack, pack_version, effective_digest, arm, coalesce(tier, ''), success, format_passed, approval_passed, retries,
    latency_ms, checks::text
FROM telemetry_run WHERE tenant_id = %b AND day = %b AND id = ANY(%b::uuid[]) ORDER BY id
"""
# Batches until they hold `limit` runs, at least one; a batch that another worker holds is passed over.
_CLAIM = """
SELECT b.id, b.day, b.row_ids FROM telemetry_unscoredbatch b
WHERE b.tenant_id = %s AND b.id IN (
    SELECT id FROM (
        SELECT id, cardinality(row_ids) AS own, sum(cardinality(row_ids)) OVER (ORDER BY id) AS upto
        FROM (SELECT id, row_ids FROM telemetry_unscoredbatch WHERE tenant_id = %s ORDER BY id LIMIT %s) first
    ) counted WHERE upto - own < %s
) ORDER BY b.id FOR UPDATE SKIP LOCKED
"""
_BASELINES = """
SELECT k.pack, k.tier, latest.latency_ms FROM unnest(%s::text[], %s::text[]) AS k (pack, tier)
CROSS JOIN LATERAL (
    SELECT s.latency_ms FROM telemetry_runscore s
    WHERE s.tenant_id = %s AND s.pack = k.pack AND s.tier = k.tier AND s.arm = 'champion' AND s.latency_ms IS NOT NULL
    ORDER BY s.id DESC LIMIT %s
) latest
"""


def tenants_with_unscored_runs() -> list[UUID]:
    """Tenants in whose queue something waits, the longest waiting first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM telemetry_waiting() ORDER BY since")
        return [tenant_id for (tenant_id,) in cursor.fetchall()]


def unscored_since() -> datetime | None:
    """When the oldest unscored run was received: the lag of scoring. None when nothing waits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(since) FROM telemetry_waiting()")
        since: datetime | None = cursor.fetchone()[0]
    return since


def unscored_final_runs(limit: int, *, tenant_id: UUID) -> UnscoredRuns:
    """Claims about `limit` final runs without a score, in whole batches, oldest first; other workers pass them over until the
    transaction ends. Call it inside the transaction that ends with `store_scores`."""
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [tenant_id, tenant_id, limit, limit])
        batches = cursor.fetchall()
    by_day: dict[date, list[UUID]] = {}
    for _, day, row_ids in batches:
        by_day.setdefault(day, []).extend(row_ids)
    runs: list[UnscoredRun] = []
    with connection.wrap_database_errors:
        cur = native.cursor(binary=True)
        for day, row_ids in by_day.items():
            cur.execute(_RUNS, [tenant_id, day, row_ids])
            runs += map(UnscoredRun._make, cur.fetchall())
    return UnscoredRuns(tuple(batch for batch, _, _ in batches), tuple(runs))


def baseline_latencies(tenant_id: UUID, groups: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[int]]:
    """For each (pack, tier) the latencies in milliseconds of the tenant's last 50 champion runs, latest first; tier "" is "none".

    They are the runs that were scored before: ask before the batch's own scores are stored. A group without runs is absent.
    """
    found: dict[tuple[str, str], list[int]] = {}
    wanted = sorted(set(groups))
    with connection.cursor() as cursor:
        cursor.execute(_BASELINES, [[pack for pack, _ in wanted], [tier for _, tier in wanted], tenant_id, BASELINE_RUNS])
        for pack, tier, latency in cursor.fetchall():
            found.setdefault((pack, tier), []).append(latency)
    return found
