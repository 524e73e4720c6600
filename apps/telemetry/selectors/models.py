"""How models do."""

from __future__ import annotations

from uuid import UUID

from django.db import connection


def tenants_with_models() -> list[UUID]:
    """Tenants whose runs have named a model."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM telemetry_model_tenants()")
        return [tenant_id for (tenant_id,) in cursor.fetchall()]
