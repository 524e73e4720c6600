"""Reads of exports over all tenants, for the tasks that tend them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection


@dataclass(frozen=True, slots=True)
class Alive:
    """An export that is under way, or whose file is kept. `active`: its tenant is."""

    tenant_id: UUID
    id: UUID
    state: str
    active: bool
    beat_at: datetime | None
    created_at: datetime
    expires_at: datetime | None


def exports_alive() -> list[Alive]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id, id, state, active, beat_at, created_at, expires_at FROM telemetry_exports() ORDER BY id")
        return [Alive(*row) for row in cursor.fetchall()]
