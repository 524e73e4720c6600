"""Upkeep of telemetry's storage and figures, and exports in the background."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from uuid import UUID

import psycopg
import structlog
from celery import shared_task
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from apps.core.context import in_tenant, system_context
from apps.core.errors import Problem
from apps.core.jobs import enqueue
from apps.core.storage import StorageError
from apps.telemetry.models import Archive
from apps.telemetry.partitions import days_ready, make_partitions
from apps.telemetry.selectors.archives import archive_owners, days_to_archive, tenants_with_erasures, unfinished_restorations
from apps.telemetry.selectors.models import tenants_with_models
from apps.telemetry.selectors.rollups import forget_postings, forget_rollups, tenants_to_roll_up
from apps.telemetry.selectors.traces import tenants_with_traces_due
from apps.telemetry.services.archiving import BusyError, OutOfTimeError, archive_day, verify_archive
from apps.telemetry.services.erasing import erase
from apps.telemetry.services.exporting import export_turn, tend_exports
from apps.telemetry.services.otlp import settle_traces
from apps.telemetry.services.releasing import drop_days, expire, prune_ledger
from apps.telemetry.services.restoring import restore_day
from apps.telemetry.services.rolling import refresh_model_health, roll_up

log = structlog.get_logger(__name__)
# The scheduler starts the task again at once; a long queue must not keep other tasks of this worker waiting.
BUDGET_S = 20.0


@shared_task(name="telemetry.make_partitions")
def make_partitions_task() -> None:
    """Daily (and hourly, as it costs nothing when there is nothing to make): partitions for the days to come, else an alert."""
    made = make_partitions()
    ready = days_ready(timezone.now().date())
    if ready == 0:
        log.error("telemetry.no_partition_ahead", made=made)
    else:
        log.info("telemetry.partitions", made=made, days_ready=ready)


@shared_task(name="telemetry.settle_traces")
def settle_traces_task() -> None:
    """Settles the traces of spans that are due, a turn for each tenant, as long as there are some. Safe to repeat and to run twice at once."""
    until = time.monotonic() + BUDGET_S
    waiting = tenants_with_traces_due(timezone.now())
    while waiting and time.monotonic() < until:
        waiting = [tenant_id for tenant_id in waiting if time.monotonic() < until and _settled_some(tenant_id)]


def _settled_some(tenant_id: UUID) -> bool:
    try:
        return settle_traces(ctx=system_context("telemetry.settle_traces", tenant_id=tenant_id)) > 0
    except Exception:
        # One tenant's trouble is not another's: it stays queued and is said aloud.
        log.exception("telemetry.settling_failed", tenant_id=str(tenant_id))
        return False


@shared_task(name="telemetry.export", acks_late=True)
def export_task(tenant_id: str, export_id: str) -> None:
    """One turn at writing an export; the next is sent for. Safe to repeat."""
    export_turn(tenant_id=tenant_id, export_id=export_id)


@shared_task(name="telemetry.tend_exports", acks_late=True)
def tend_exports_task() -> dict[str, int]:
    """Exports whose message or writer was lost go on, those whose time is over go."""
    try:
        return tend_exports()
    except StorageError:
        log.exception("telemetry.exports_away")
        return {}


@shared_task(name="telemetry.roll_up")
def roll_up_task() -> None:
    """Adds up what waits, tenant by tenant, the longest waiting first. Safe to repeat and to run twice at once."""
    until = time.monotonic() + BUDGET_S
    for tenant_id in tenants_to_roll_up():
        try:
            while time.monotonic() < until and roll_up(ctx=system_context("telemetry.roll_up", tenant_id=tenant_id)):
                pass
        except Exception:
            # One tenant's trouble is not another's: it stays queued and is said aloud.
            log.exception("telemetry.roll_up_failed", tenant_id=str(tenant_id))


@shared_task(name="telemetry.model_health")
def model_health_task() -> None:
    """Every minute: the windows of model health move on."""
    for tenant_id in tenants_with_models():
        try:
            refresh_model_health(ctx=system_context("telemetry.model_health", tenant_id=tenant_id))
        except Exception:
            log.exception("telemetry.model_health_failed", tenant_id=str(tenant_id))


@shared_task(name="telemetry.forget_rollups")
def forget_rollups_task() -> None:
    """Daily: figures that are older than they are kept for, and what finds rows that are no longer there."""
    now, until = timezone.now(), time.monotonic() + BUDGET_S
    minutes, everything = timedelta(days=settings.ROLLUP_MINUTE_DAYS), timedelta(days=settings.ROLLUP_DAYS)
    rows = forget_rollups(now - minutes, now - minutes, now - everything)
    while (gone := forget_postings(now - minutes)) and time.monotonic() < until:
        rows += gone
    log.info("telemetry.rollups_forgotten", rows=rows)


# Of Celery's limit of 100 seconds (`mission_control/celery.py`); a part takes seconds.
ARCHIVE_BUDGET_S = 60.0
# Until somebody else's turn at the tenant's archives is likely over.
RETRY_S = 30


@shared_task(name="telemetry.archive")
def archive_task(tenant_id: str | None = None, day: str | None = None) -> int:
    """Archives what is due (or one day), a tenant's day at a time, as far as its time goes; then has itself called again. How many days were
    finished. A failure is told on the page of archives and in `/readyz`, and tried again by the next run."""
    if not settings.ARCHIVE_STORE:
        return 0
    deadline = time.monotonic() + ARCHIVE_BUDGET_S
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
        except (DatabaseError, psycopg.Error) as error:
            # One tenant's trouble is not another's, even if it took the connection with it.
            connection.close_if_unusable_or_obsolete()
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
    """Forgets old keys, a bounded number at a time, as far as its time goes; every ten minutes."""
    until, pruned = time.monotonic() + BUDGET_S, 0
    while (gone := prune_ledger()) and time.monotonic() < until:
        pruned += gone
    return pruned + gone


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
def verify_task(tenant_id: str, day: str, since: str | None = None) -> None:
    """Reads an archive again in full, as far as its time goes; then has itself called again, for what was not read `since` it began. What is
    wrong stands beside it, on its page and in `/readyz`."""
    since = since or timezone.now().isoformat()
    with in_tenant(UUID(tenant_id)):
        archive = Archive.objects.get(tenant_id=tenant_id, day=day)
    try:
        verify_archive(archive=archive, deadline=time.monotonic() + ARCHIVE_BUDGET_S, since=datetime.fromisoformat(since))
    except OutOfTimeError:
        enqueue("telemetry.verify", tenant_id, day, since)
    except BusyError:
        enqueue("telemetry.verify", tenant_id, day, since, countdown=RETRY_S)
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
        call(time.monotonic() + ARCHIVE_BUDGET_S)
    except OutOfTimeError:
        enqueue(name, *arguments)
    except BusyError:
        # Whoever is at it has itself called again, or `telemetry.resume` finds what waits: one more message would never end.
        log.info(f"{name}_waits", arguments=arguments)
    except (StorageError, RuntimeError, Problem) as error:
        # `telemetry.resume` has it tried again.
        log.exception(f"{name}_failed", arguments=arguments, error=str(error))
