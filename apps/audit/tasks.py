"""Background work of the audit room."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog
from celery import shared_task
from django.conf import settings

from apps.audit.heads import export_all
from apps.core.storage import StorageError

log = structlog.get_logger(__name__)


@shared_task(name="audit.export_heads")
def export_heads() -> int:
    """Writes where each chain ends to AUDIT_HEADS_STORE, signed where there is a key, and gives how many were new. A storage that is away
    is asked again by the next run; the readiness page and the audit page say so meanwhile."""
    if not settings.AUDIT_HEADS_STORE:
        return 0
    try:
        return export_all(now=datetime.now(UTC))
    except StorageError as error:
        log.exception("audit.heads_not_exported", error=str(error))
        raise
