"""Upkeep of the fleet."""

from __future__ import annotations

from datetime import timedelta

import structlog
from celery import shared_task
from django.db import connection
from django.utils import timezone

from apps.core.context import Topic, system_context
from apps.core.generations import bump

log = structlog.get_logger(__name__)
# How long a harness that is silent is still shown, and what was ordered or asked for is kept; the audit log keeps it longer.
UNSEEN = timedelta(days=7)
KEPT = timedelta(days=90)


@shared_task(name="fleet.sweep", acks_late=True)
def sweep() -> int:
    """Marks what has run out, and forgets what is long over; how many tenants had something run out. Nothing waits for it: what has run out
    is not handed out, answered or used in the meantime either."""
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM fleet_expire(%s)", [now])
        tenants = [tenant_id for (tenant_id,) in cursor.fetchall()]
    for tenant_id in tenants:
        ctx = system_context("fleet", tenant_id=tenant_id)
        with ctx.transaction():
            bump(ctx, Topic.COMMANDS, tenant_id)
    return len(tenants)


@shared_task(name="fleet.forget", acks_late=True)
def forget() -> int:
    """Removes harnesses that have been silent for a week, and commands and requests that ended 90 days ago; how many of the first two."""
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT fleet_forget(%s, %s)", [now - UNSEEN, now - KEPT])
        gone = int(cursor.fetchone()[0])
    log.info("fleet.forgotten", rows=gone)
    return gone
