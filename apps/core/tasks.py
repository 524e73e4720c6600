"""Housekeeping."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from django.db import connection
from django.utils import timezone

CHANGES_KEPT = timedelta(hours=1)
ANSWERS_KEPT = timedelta(hours=24)


@shared_task(name="core.sweep", acks_late=True)
def sweep() -> dict[str, int]:
    """Removes cache changes that every live process has long applied (one that slept longer drops all it remembers), and the answers to
    idempotent writes after 24 hours. The newest change stays: it tells a process how far behind it is."""
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT core_forget_changes(%s), core_forget_answers(%s)", [now - CHANGES_KEPT, now - ANSWERS_KEPT])
        changes, answers = cursor.fetchone()
    return {"changes": changes, "answers": answers}
