"""What is archived, and what waits for it."""

from __future__ import annotations

from datetime import date
from uuid import UUID

from django.db import connection, transaction

from apps.core.context import in_tenant
from apps.telemetry.domain.archives import DEFAULT_HOT_DAYS
from apps.telemetry.models import Archive, ArchiveState, RetentionPolicy

_VERIFIED = (ArchiveState.VERIFIED, ArchiveState.DROPPED, ArchiveState.RESTORING, ArchiveState.RESTORED, ArchiveState.EXPIRED)


def hot_days_in_database() -> list[tuple[UUID | None, date, bool]]:
    """Tenant, day before today with rows in the database, and whether its hot window has passed; a day without rows has no tenant."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT tenant_id, day, passed FROM telemetry_days() ORDER BY day, tenant_id")
        return cursor.fetchall()


def archive_owners() -> dict[UUID, int]:
    """Tenants that have archives, and how many of each are in trouble."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id, failing FROM telemetry_archive_owners()")
        return dict(cursor.fetchall())


def days_to_archive() -> list[tuple[UUID, date]]:
    """Days of tenants whose hot window has passed and whose rows are in no verified archive yet, oldest first."""
    waiting = [(tenant_id, day) for tenant_id, day, passed in hot_days_in_database() if passed and tenant_id is not None]
    found = []
    for tenant_id in dict.fromkeys(tenant_id for tenant_id, _ in waiting):
        with in_tenant(tenant_id):
            done = set(Archive.objects.filter(tenant_id=tenant_id, state__in=_VERIFIED).values_list("day", flat=True))
        found += [(tenant_id, day) for of, day in waiting if of == tenant_id and day not in done]
    return sorted(found, key=lambda each: each[1])


def hot_days(tenant_id: UUID) -> int:
    """For how many days the tenant's rows stay in the database; inside its transaction."""
    found = RetentionPolicy.objects.filter(tenant_id=tenant_id).values_list("hot_days", flat=True).first()
    return found if found is not None else DEFAULT_HOT_DAYS
