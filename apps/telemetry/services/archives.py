"""What people ask of an archive; the work itself is done by tasks."""

from __future__ import annotations

from uuid import UUID

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.core.jobs import enqueue_on_commit
from apps.identity.permissions import require
from apps.telemetry.models import Archive, ArchiveState
from apps.telemetry.services.archiving import facts

CHECKABLE = (ArchiveState.VERIFIED, ArchiveState.DROPPED, ArchiveState.RESTORING, ArchiveState.RESTORED)


def request_verification(*, ctx: ActionContext, archive_id: UUID | str) -> Archive:
    """Has every file of an archive read again in full; what came of it stands in `checked_at` and `error`. Raises Problem `not_found`,
    `permission_denied`, `wrong_state`."""
    with ctx.transaction():
        archive: Archive = Archive.objects.visible(ctx, pk=archive_id)
        require(ctx, Action.AUDIT, tenant_id=archive.tenant_id)
        if archive.state not in CHECKABLE:
            raise problem("wrong_state", "There are no files of it, or they are still being written.")
        record(ctx, "telemetry.verification_requested", archive, data=facts(archive))
        enqueue_on_commit(ctx, "telemetry.verify", str(archive.tenant_id), archive.day.isoformat())
        return archive
