"""What leaves the database once it is archived: partitions, a tenant's rows of a day, old keys; and archives that were kept long enough."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime
from uuid import UUID

import psycopg
import structlog
from django.db import OperationalError, connection, transaction

from apps.audit.services import record
from apps.core.context import in_tenant, system_context
from apps.telemetry.domain.archives import expired
from apps.telemetry.models import Archive, ArchivePart, ArchiveState, RetentionPolicy
from apps.telemetry.selectors.archives import hot_days_in_database
from apps.telemetry.services.archiving import BusyError, Reached, alone, facts, quietly, renew, store, sweep

log = structlog.get_logger(__name__)
# Keys that one call forgets.
PRUNED = 50_000


def release(day: date, tenant_id: UUID | None = None) -> dict[UUID, str]:
    """Has the database let go of a day's partitions, or of one tenant's rows of that day; the tenants that stand in the way, and why: `hot`,
    `unverified`, `changed` (rows came or were completed after they were archived), or `busy` where somebody holds the tables."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT tenant_id, reason FROM telemetry_release(%s, %s)", [day, tenant_id])
            return dict(cursor.fetchall())
    except OperationalError as error:
        log.warning("telemetry.release_waits", day=day.isoformat(), error=str(error).splitlines()[0])
        return {UUID(int=0): "busy"}


def drop_days(*, reached: Reached = quietly) -> dict[date, str]:
    """Lets go of every day that is archived and whose hot window has passed. Where one tenant keeps a day longer, the others' rows of it are
    removed and the partition stays. Day -> `dropped`, `partly`, or why it stays."""
    days: dict[date, dict[UUID | None, bool]] = defaultdict(dict)
    for tenant_id, day, passed in hot_days_in_database():
        days[day][tenant_id] = passed
    found: dict[date, str] = {}
    for day in sorted(days):
        if not any(days[day].values()):
            continue
        against = release(day)
        for tenant_id in [tenant_id for tenant_id, reason in against.items() if reason == "changed"]:
            log.warning("telemetry.archived_anew", tenant=str(tenant_id), day=day.isoformat())
            _renew(tenant_id, day)
        if not against:
            found[day] = "dropped"
            log.info("telemetry.day_dropped", day=day.isoformat())
            reached("dropped")
            continue
        found[day] = ", ".join(sorted(set(against.values())))
        # Only another tenant's longer window justifies the cost of removing rows one by one.
        if set(against.values()) == {"hot"}:
            for tenant_id, passed in days[day].items():
                if passed and tenant_id is not None and tenant_id not in against and not release(day, tenant_id):
                    found[day] = "partly"
                    reached("removed")
    return found


def _renew(tenant_id: UUID, day: date) -> None:
    """What stands in the way of one tenant's day is left to the next hour: other days go on."""
    try:
        with alone(tenant_id):
            renew(tenant_id=tenant_id, day=day)
    except (BusyError, OperationalError, psycopg.OperationalError) as error:
        log.warning("telemetry.renewal_waits", tenant=str(tenant_id), day=day.isoformat(), error=str(error))
    except RuntimeError as error:
        log.exception("telemetry.archive_holds_more", tenant=str(tenant_id), day=day.isoformat())
        with in_tenant(tenant_id):
            Archive.objects.filter(tenant_id=tenant_id, day=day).update(error=str(error)[:500])


def prune_ledger(limit: int = PRUNED) -> int:
    """Forgets keys of items that would be `too_old` by now; how many."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT telemetry_prune_ledger(%s)", [limit])
        pruned: int = cursor.fetchone()[0]
    return pruned


def expire(tenant_id: UUID, *, now: datetime | None = None) -> int:
    """Removes archives of the tenant that were kept for as long as its policy says, and what an earlier generation or a killed process left
    in the storage; how many archives that were. Raises StorageError, BusyError."""
    today = (now or datetime.now(UTC)).date()
    ctx = system_context("archiving", tenant_id=tenant_id)
    gone = 0
    with alone(tenant_id):
        with ctx.transaction():
            policy = RetentionPolicy.objects.filter(tenant_id=tenant_id).first()
            kept = policy.archive_days if policy else None
            for archive in Archive.objects.filter(tenant_id=tenant_id, state=ArchiveState.DROPPED):
                if not expired(archive.day, today, kept):
                    continue
                ArchivePart.objects.filter(tenant_id=tenant_id, archive=archive).delete()
                record(ctx, "telemetry.archive_expired", archive, data=facts(archive))
                archive.state, archive.unswept = ArchiveState.EXPIRED, True
                archive.save(update_fields=["state", "unswept"])
                gone += 1
            unswept = list(Archive.objects.filter(tenant_id=tenant_id, unswept=True).exclude(state=ArchiveState.PENDING))
        for archive in unswept:
            sweep(store(), archive)
    return gone
