"""Archived rows back in the database for a while: to be read, and for nothing else. They wait for no score and are archived no second time;
when their time is over the database lets go of them by the same rule as ever, since they are again exactly what the archive holds."""

# ruff: noqa: S608 -- every name in the SQL is a constant

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import islice
from uuid import UUID

from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import EVERY_USER, ActionContext, in_tenant
from apps.core.errors import problem
from apps.core.jobs import enqueue_on_commit
from apps.core.storage import StorageError
from apps.identity.permissions import require
from apps.telemetry.domain.archives import Kind
from apps.telemetry.models import Archive, ArchivePart, ArchiveState
from apps.telemetry.services import archive_files as files
from apps.telemetry.services.archiving import (
    Reached,
    alone,
    erase_late,
    facts,
    in_time,
    marks_of,
    need_store,
    noting_errors,
    quietly,
    store,
)
from apps.telemetry.services.rolling import post_again
from apps.telemetry.services.storage import cursor

DEFAULT_DAYS = 7
MAX_DAYS = 30
BATCH = 500
# What lists find by terms, as the roll-up names it.
_POSTED = {Kind.RUN: "r", Kind.EVENT: "e"}


def request_restore(*, ctx: ActionContext, archive_id: UUID | str, days: int = DEFAULT_DAYS, reason: str = "") -> Archive:
    """Has a day brought back for `days` days (1 to 30). One that is back already, or on its way, stays as it is. Raises Problem `not_found`,
    `permission_denied`, `not_available`, `invalid`, `wrong_state` (its rows have not left the database, or the archive is gone)."""
    with ctx.transaction():
        archive: Archive = Archive.objects.select_for_update().visible(ctx, pk=archive_id)
        require(ctx, Action.MANAGE_TENANT, tenant_id=archive.tenant_id)
        need_store()
        if not 1 <= days <= MAX_DAYS:
            raise problem("invalid", f"Rows come back for 1 to {MAX_DAYS} days.", pointer="/days")
        if archive.state in (ArchiveState.RESTORING, ArchiveState.RESTORED):
            return archive
        if archive.state != ArchiveState.DROPPED:
            detail = "Its files were removed." if archive.state == ArchiveState.EXPIRED else "Its rows have not left the database."
            raise problem("wrong_state", detail)
        ArchivePart.objects.filter(tenant_id=archive.tenant_id, archive=archive).update(restored_at=None)
        archive.state, archive.restored_until = ArchiveState.RESTORING, timezone.now() + timedelta(days=days)
        archive.save(update_fields=["state", "restored_until"])
        record(ctx, "telemetry.restore_requested", archive, data={**facts(archive), "until": archive.restored_until}, reason=reason)
        enqueue_on_commit(ctx, "telemetry.restore", str(archive.tenant_id), archive.day.isoformat())
        return archive


def restore_day(*, tenant_id: UUID, day: date, deadline: float | None = None, reached: Reached = quietly) -> bool:
    """Brings back a day that is `restoring`, a part at a time, from wherever an earlier call left it; False when there was nothing to do.
    What went wrong stands beside the archive. Raises OutOfTimeError, BusyError, StorageError, Problem `not_available`."""
    with alone(tenant_id), noting_errors(tenant_id, day):
        with in_tenant(tenant_id):
            archive = Archive.objects.filter(tenant_id=tenant_id, day=day, state=ArchiveState.RESTORING).first()
            if archive is None:
                return False
            storage = store()
            cursor().execute("SELECT telemetry_open_day(%b)", [day])
            parts = list(ArchivePart.objects.filter(tenant_id=tenant_id, archive=archive))
        reached("opened")
        for part in parts:
            if part.restored_at is not None:
                continue
            in_time(deadline)
            data = storage.get(part.path, sha256=bytes.fromhex(part.sha256))
            with in_tenant(tenant_id, EVERY_USER):
                ids = _insert(Kind(part.kind), files.lines(data, part.path))
                if part.kind in _POSTED:
                    # What found these rows may be forgotten by now.
                    post_again(_POSTED[Kind(part.kind)], tenant_id, day, ids)
                part.restored_at = timezone.now()
                part.save(update_fields=["restored_at"])
            reached("part restored")
        erase_late(tenant_id, day)
        with in_tenant(tenant_id, EVERY_USER):
            archive.marks = marks_of(cursor(), tenant_id, day)
            archive.state, archive.error = ArchiveState.RESTORED, ""
            archive.save(update_fields=["marks", "state", "error"])
        reached("restored")
    return True


def _insert(kind: Kind, rows: Iterator[bytes]) -> list[UUID]:
    """The ids of the rows that came back; one that is there already stays as it is. Columns that the table has got since stay empty: a new
    column of these tables must be nullable."""
    cur, table = cursor(), files.TABLES[kind]
    ids: list[UUID] = []
    while some := [line.decode() for line in islice(rows, BATCH)]:
        try:
            cur.execute(
                f"INSERT INTO {table} SELECT r.* FROM unnest(%b::text[]) AS l (line),"
                f" LATERAL json_populate_record(NULL::{table}, l.line::json) r ON CONFLICT DO NOTHING RETURNING id",
                [some],
            )
            ids += [found for (found,) in cur.fetchall()]
        except UnicodeDecodeError as error:
            raise StorageError(f"A {kind} of the archive is not UTF-8") from error
    return ids
