"""A purged tenant's archives go with its rows."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import structlog
from django.conf import settings

from apps.core.events import subscribe
from apps.core.storage import StorageError, open_storage
from apps.telemetry.domain.archives import folder

log = structlog.get_logger(__name__)


def listen() -> None:
    subscribe("identity.tenant_purged")(purged)


def purged(ctx: Any, *, tenant_id: UUID) -> None:
    """Removes the tenant's objects; where that fails, `manage.py telemetry_archive sweep` does it later."""
    if settings.ARCHIVE_STORE:
        try:
            remove_archives(tenant_id)
        except StorageError as error:
            log.exception("telemetry.archives_not_removed", tenant=str(tenant_id), error=str(error))


def remove_archives(tenant_id: UUID) -> int:
    """Removes every object of a tenant; how many. Raises StorageError."""
    storage = open_storage(settings.ARCHIVE_STORE)
    found = list(storage.list(folder(tenant_id)))
    for stored in found:
        storage.delete(stored.path)
    return len(found)
