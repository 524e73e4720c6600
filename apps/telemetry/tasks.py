"""Upkeep of telemetry's storage."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from uuid import UUID

import structlog
from celery import shared_task
from django.conf import settings
from django.utils import timezone

from apps.core.context import in_tenant
from apps.core.errors import Problem
from apps.core.jobs import enqueue
from apps.core.storage import StorageError
from apps.telemetry.models import Archive
from apps.telemetry.partitions import days_ready, make_partitions
from apps.telemetry.selectors.archives import archive_owners, days_to_archive, tenants_with_erasures, unfinished_restorations
from apps.telemetry.services.archiving import BusyError, OutOfTimeError, archive_day, verify_archive
from apps.telemetry.services.erasing import erase
from apps.telemetry.services.releasing import drop_days, expire, prune_ledger
from apps.telemetry.services.restoring import restore_day

log = structlog.get_logger(__name__)


@shared_task(name="telemetry.make_partitions")
def make_partitions_task() -> None:
    """Daily (and hourly, as it costs nothing when there is nothing to make): partitions for the days to come, else an alert."""
    made = make_partitions()
    ready = days_ready(timezone.now().date())
    if ready == 0:
        log.error("telemetry.no_partition_ahead", made=made)
    else:
        log.info("telemetry.partitions", made=made, days_ready=ready)


# Of Celery's limit of 100 seconds (`mission_control/celery.py`); a part takes seconds.
BUDGET_S = 60.0
# Until somebody else's turn at the tenant's archives is likely over.
RETRY_S = 30


@shared_task(name="telemetry.archive")
def archive_task(tenant_id: str | None = None, day: str | None = None) -> int:
    """Archives what is due (or one day), a tenant's day at a time, as far as its time goes; then has itself called again. How many days were
    finished. A failure is told on the page of archives and in `/readyz`, and tried again by the next run."""
    if not settings.ARCHIVE_STORE:
        return 0
    deadline = time.monotonic() + BUDGET_S
    due = [(UUID(tenant_id), date.fromisoformat(day))] if tenant_id and day else days_to_archive()
    done = 0
    for tenant, of_day in due:
        try:
            archive_day(tenant_id=tenant, day=of_day, deadline=deadline)
            done += 1
        except OutOfTimeError:
            enqueue("telemetry.archive", *([tenant_id, day] if tenant_id else []))
            return done
        except BusyError:
            if tenant_id:
                enqueue("telemetry.archive", tenant_id, day, countdown=RETRY_S)
        except (StorageError, RuntimeError, Problem) as error:
            log.exception("telemetry.not_archived", tenant=str(tenant), day=of_day.isoformat(), error=str(error))
    return done


@shared_task(name="telemetry.drop_partitions")
def drop_partitions_task() -> None:
    """Lets go of archived days, and removes archives that were kept long enough. Days that changed since are archived again at once."""
    found = drop_days()
    log.info("telemetry.days", **{day.isoformat(): what for day, what in found.items()})
    if any("changed" in what for what in found.values()):
        enqueue("telemetry.archive")
    if not settings.ARCHIVE_STORE:
        return
    for tenant_id in archive_owners():
        try:
            expire(tenant_id)
        except BusyError:
            continue
        except StorageError as error:
            log.exception("telemetry.not_expired", tenant=str(tenant_id), error=str(error))


@shared_task(name="telemetry.prune_ledger")
def prune_ledger_task() -> int:
    """Forgets old keys, a bounded number at a time; every ten minutes."""
    return prune_ledger()


@shared_task(name="telemetry.restore")
def restore_task(tenant_id: str, day: str) -> None:
    """Brings a day back, as far as its time goes; then has itself called again."""
    _in_turn(
        "telemetry.restore", (tenant_id, day), lambda end: restore_day(tenant_id=UUID(tenant_id), day=date.fromisoformat(day), deadline=end)
    )


@shared_task(name="telemetry.erase")
def erase_task(tenant_id: str) -> None:
    """Erases what waits for it in a tenant, as far as its time goes; then has itself called again."""
    _in_turn("telemetry.erase", (tenant_id,), lambda end: erase(tenant_id=UUID(tenant_id), deadline=end))


@shared_task(name="telemetry.verify")
def verify_task(tenant_id: str, day: str) -> None:
    """Reads an archive again in full. What is wrong stands beside it, on its page and in `/readyz`."""
    with in_tenant(UUID(tenant_id)):
        archive = Archive.objects.get(tenant_id=tenant_id, day=day)
    try:
        verify_archive(archive=archive)
    except StorageError as error:
        log.exception("telemetry.archive_broken", tenant=tenant_id, day=day, error=str(error))
        with in_tenant(UUID(tenant_id)):
            Archive.objects.filter(pk=archive.pk).update(error=str(error)[:500])


@shared_task(name="telemetry.resume")
def resume_task() -> None:
    """Finds restorations and erasures whose message was lost, or whose attempt failed."""
    for tenant_id, day in unfinished_restorations():
        enqueue("telemetry.restore", str(tenant_id), day.isoformat())
    for tenant_id in tenants_with_erasures():
        enqueue("telemetry.erase", str(tenant_id))


def _in_turn(name: str, arguments: tuple[str, ...], call: Callable[[float], object]) -> None:
    try:
        call(time.monotonic() + BUDGET_S)
    except OutOfTimeError:
        enqueue(name, *arguments)
    except BusyError:
        enqueue(name, *arguments, countdown=RETRY_S)
    except (StorageError, RuntimeError, Problem) as error:
        # `telemetry.resume` has it tried again.
        log.exception(f"{name}_failed", arguments=arguments, error=str(error))
