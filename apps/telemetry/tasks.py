"""Upkeep of telemetry's storage."""

from __future__ import annotations

import structlog
from celery import shared_task
from django.utils import timezone

from apps.telemetry.partitions import days_ready, make_partitions

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
