"""How far the figures have come: what waits to be added up, and since when."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import connection


def tenants_to_roll_up() -> list[UUID]:
    """Tenants in whose queue something waits, the longest waiting first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM telemetry_unrolled() ORDER BY since")
        return [tenant_id for (tenant_id,) in cursor.fetchall()]


def rolled_up_since(tenant_id: UUID | None = None) -> datetime | None:
    """When the oldest row that is not in the figures yet was received, of one tenant or of all: their lag. None when nothing waits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(since) FROM telemetry_unrolled() WHERE tenant_id = coalesce(%s, tenant_id)", [tenant_id])
        since: datetime | None = cursor.fetchone()[0]
    return since


def forget_rollups(minutes: datetime, facets: datetime, everything: datetime) -> int:
    """Removes roll-ups by minute, counts of values, and all roll-ups that are older than these; how many rows."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT telemetry_forget_rollups(%s, %s, %s)", [minutes, facets, everything])
        gone: int = cursor.fetchone()[0]
    return gone


def forget_postings(before: datetime) -> int:
    """Removes some of what finds rows of minutes before this, where their days have left the database; how many, 0 when none is left."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT telemetry_forget_postings(%s)", [before])
        gone: int = cursor.fetchone()[0]
    return gone
