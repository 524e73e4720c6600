"""Upkeep of telemetry's storage, and exports in the background."""

from __future__ import annotations

import structlog
from celery import shared_task
from django.utils import timezone

from apps.core.storage import StorageError
from apps.telemetry.partitions import days_ready, make_partitions
from apps.telemetry.services.exporting import export_turn, tend_exports

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
