"""What is archived, and what waits for it."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
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


def holds_rows(tenant_id: UUID, day: date) -> bool:
    """Whether the database holds rows of the tenant that came in on this day, one before today."""
    return any((owner, held) == (tenant_id, day) for owner, held, _ in hot_days_in_database())


class Owner(NamedTuple):
    """What waits in a tenant: archives in trouble, days on their way back, erasures that are not done."""

    failing: int
    restoring: int
    erasing: int


def archive_owners() -> dict[UUID, Owner]:
    """Tenants that have archives or erasures, and what waits in each."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id, failing, restoring, erasing FROM telemetry_archive_owners()")
        return {tenant_id: Owner(*figures) for tenant_id, *figures in cursor.fetchall()}


def tenants_with_erasures() -> list[UUID]:
    return [tenant_id for tenant_id, owner in archive_owners().items() if owner.erasing]


def unfinished_restorations() -> list[tuple[UUID, date]]:
    found: list[tuple[UUID, date]] = []
    for tenant_id in [tenant_id for tenant_id, owner in archive_owners().items() if owner.restoring]:
        with in_tenant(tenant_id):
            rows = Archive.objects.filter(tenant_id=tenant_id, state=ArchiveState.RESTORING)
            found += [(tenant_id, day) for day in rows.values_list("day", flat=True)]
    return found


def state_of_archives() -> str:
    """For the readiness page."""
    if not settings.ARCHIVE_STORE:
        return "no store is set (ARCHIVE_STORE); nothing leaves the database"
    failing = sum(owner.failing for owner in archive_owners().values())
    return f"failing: {failing} days or erasures; see the pages of archives and of erasures" if failing else "ok"


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
