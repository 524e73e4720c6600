"""Writes exports: in pieces of bounded size, in turns of bounded time, each turn going on where the last durable piece ended.

A turn that dies leaves at most a piece that no row names. Whoever takes the export up after it has a number of its own, so that the dead one, should
it live after all, counts for nothing. The file is the list of pieces in the export's row, and is given out once that says `done`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog
from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext, Actor, system_context
from apps.core.domain import spreadsheet
from apps.core.domain.redaction import Redactor
from apps.core.errors import Problem
from apps.core.jobs import enqueue
from apps.core.storage import StorageError
from apps.identity.permissions import can
from apps.identity.selectors import groups_of, roles_of
from apps.telemetry.domain.asked import Kind, parse
from apps.telemetry.models import Export, ExportFormat, ExportKind, ExportState
from apps.telemetry.models.exports import FOLDER
from apps.telemetry.selectors.asked import as_json, columns, narrowed, with_relatives
from apps.telemetry.selectors.exports import exports_alive
from apps.telemetry.selectors.pages import page
from apps.telemetry.selectors.rules import redactor_of
from apps.telemetry.services.exports import TASK, remove_files, store

log = structlog.get_logger(__name__)
# A turn ends after so many seconds, well below what a task may take.
TURN_S = 45.0
# A writer of which nothing was heard for so long is dead.
DEAD_AFTER = timedelta(seconds=150)
# A message that was lost is missed after so long.
LOST_AFTER = timedelta(seconds=60)
GIVEN_UP_AFTER = timedelta(hours=24)
# One piece ends at whichever comes first; rows are fetched a few at a time, as one may hold megabytes.
PIECE_ROWS = 2_000
PIECE_BYTES = 4 * 1024 * 1024
FETCHED = 100


@dataclass(slots=True)
class _Piece:
    data: bytearray
    rows: int = 0
    position: str = ""
    last: bool = False


def write_export(*, tenant_id: UUID | str, export_id: UUID | str, turn_s: float = TURN_S) -> bool:
    """One turn at an export; whether there is more to write. Safe to repeat and to run twice: the second does nothing. Raises StorageError."""
    system = system_context("exports", tenant_id=UUID(str(tenant_id)))
    export = _take_up(system, export_id)
    if export is None:
        return False
    until = time.monotonic() + turn_s
    try:
        while True:
            ctx = _requester(system, export)
            if ctx is None:
                return _fail(system, export, "Who asked for it may no longer export in this tenant.")
            piece = _read(ctx, export)
            if piece.data and not _keep(system, export, piece):
                return False
            if export.rows_done > settings.EXPORTS_MAX_ROWS or export.size_bytes > settings.EXPORTS_MAX_BYTES:
                return _fail(system, export, _too_large())
            if piece.last:
                return _finish(ctx, export)
            if time.monotonic() >= until:
                return _rest(system, export)
    except Problem as error:
        # Its filters no longer mean anything.
        return _fail(system, export, error.detail)


def _take_up(system: ActionContext, export_id: UUID | str) -> Export | None:
    """The export, for this writer alone; None where it has one, or needs none any longer."""
    now = timezone.now()
    with system.transaction():
        free = Q(state=ExportState.QUEUED) | Q(state=ExportState.RUNNING) & (Q(beat_at=None) | Q(beat_at__lt=now - DEAD_AFTER))
        export: Export | None = Export.objects.select_for_update(skip_locked=True).filter(free, pk=export_id).first()
        if export is None:
            return None
        export.state, export.attempt, export.beat_at = ExportState.RUNNING, export.attempt + 1, now
        export.started_at = export.started_at or now
        export.save(update_fields=["state", "attempt", "beat_at", "started_at"])
    return export


def _requester(system: ActionContext, export: Export) -> ActionContext | None:
    """Who asked for it, with what they may do now; None where that is no longer to export."""
    if export.requested_by_id is None:
        return system
    with system.transaction():
        person = Export.objects.select_related("requested_by").get(pk=export.pk).requested_by
        roles = roles_of(person, export.tenant_id)
        groups = frozenset(found.group_id for found in groups_of(person) if found.tenant_id == export.tenant_id)
    ctx = ActionContext(Actor("user", person.pk, person.email), export.tenant_id, "task", roles=roles, groups=groups)
    allowed = all(can(ctx, action, tenant_id=export.tenant_id) for action in (Action.EXPORT, Action.VIEW))
    return ctx if allowed else None


def _read(ctx: ActionContext, export: Export) -> _Piece:
    """The next rows as the file has them, in a short transaction of their own."""
    kind: Kind = "runs" if export.kind == ExportKind.RUNS else "events"
    as_csv = export.format == ExportFormat.CSV
    piece = _Piece(bytearray(spreadsheet.line(columns(kind)) if as_csv and not export.parts else b""), position=export.position)
    redactor = redactor_of(export.tenant_id)
    with ctx.transaction():
        rows = with_relatives(narrowed(ctx, kind, parse(kind, export.filters)))
        while piece.rows < PIECE_ROWS:
            asked = min(FETCHED, PIECE_ROWS - piece.rows)
            found = page(rows.filter(_beyond(piece.position)) if piece.position else rows, limit=asked)
            for row in found:
                value = _redacted(redactor, as_json(row))
                piece.data += _as_cells(kind, value) if as_csv else msgspec.json.encode(value) + b"\n"
                piece.rows += 1
                piece.position = f"{row.created_at.isoformat()}|{row.pk}"
                if len(piece.data) >= PIECE_BYTES:
                    return piece
            if len(found) < asked:
                piece.last = True
                break
    return piece


def _beyond(position: str) -> Q:
    """The first condition is implied, and is the one that an index can use."""
    at, _, key = position.partition("|")
    moment = datetime.fromisoformat(at)
    return Q(created_at__lte=moment) & (Q(created_at__lt=moment) | Q(id__lt=UUID(key)))


def _redacted(redactor: Redactor, row: dict[str, Any]) -> dict[str, Any]:
    """Once more: a row may be older than the rule that finds something in it."""
    if redactor.clean_json(msgspec.json.encode(row)):
        return row
    fired: set[str] = set(row["redactions"])
    for name, value in row.items():
        if isinstance(value, str | dict | list) and name != "redactions":
            row[name], names = redactor.redact_json(value)
            fired.update(names)
    row["redactions"] = sorted(fired)
    return row


def _as_cells(kind: Kind, row: dict[str, Any]) -> bytes:
    values = (row[name] for name in columns(kind))
    return spreadsheet.line(msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value for value in values)


def _keep(system: ActionContext, export: Export, piece: _Piece) -> bool:
    """Stores the piece and then says so in the export's row; False where the export has been taken away meanwhile."""
    storage = store()
    name = f"{export.attempt:04d}-{len(export.parts):06d}"
    path = f"{export.folder}/{name}"
    storage.put_new(path, bytes(piece.data))
    export.parts = [*export.parts, name]
    export.rows_done += piece.rows
    export.size_bytes += len(piece.data)
    export.position, export.beat_at = piece.position, timezone.now()
    if _say(system, export, "parts", "rows_done", "size_bytes", "position", "beat_at"):
        return True
    storage.delete(path)
    return False


def _say(system: ActionContext, export: Export, *names: str) -> bool:
    """Writes these fields, if the export is still this writer's."""
    with system.transaction():
        said = {name: getattr(export, name) for name in names}
        return Export.objects.filter(pk=export.pk, attempt=export.attempt, state=ExportState.RUNNING).update(**said) == 1


def _rest(system: ActionContext, export: Export) -> bool:
    export.beat_at = None
    return _say(system, export, "beat_at")


def _finish(ctx: ActionContext, export: Export) -> bool:
    export.state, export.finished_at, export.beat_at = ExportState.DONE, timezone.now(), None
    export.expires_at = export.finished_at + timedelta(hours=settings.EXPORTS_KEPT_H)
    with ctx.transaction():
        if _say(ctx, export, "state", "finished_at", "expires_at", "beat_at"):
            facts = {"kind": export.kind, "format": export.format, "rows": export.rows_done, "bytes": export.size_bytes}
            record(ctx, "telemetry.exported", export, data=facts)
    return False


def _fail(system: ActionContext, export: Export, error: str) -> bool:
    export.state, export.finished_at, export.error = ExportState.FAILED, timezone.now(), error[:500]
    export.parts, export.size_bytes = [], 0
    with system.transaction():
        if _say(system, export, "state", "finished_at", "error", "parts", "size_bytes"):
            record(system, "telemetry.export_failed", export, data={"kind": export.kind, "rows": export.rows_done})
            system.on_commit(lambda: remove_files(export))
    return False


def _too_large() -> str:
    size = f"{settings.EXPORTS_MAX_BYTES / 1024**2:,.0f} MiB"
    return f"It would hold more than {settings.EXPORTS_MAX_ROWS:,} rows or {size}: narrow the time or another filter, and ask for several."


def tend_exports(*, now: datetime | None = None) -> dict[str, int]:
    """What no message does: goes on with exports whose message or writer was lost, gives up those that do not end, ends those whose time is
    over, and removes files that belong to none. Answers how many of each. Raises StorageError."""
    now = now or timezone.now()
    done = {"sent": 0, "given_up": 0, "expired": 0, "removed": 0}
    storage = store()
    # Listed before it is asked which are alive: what is written from now on is not looked at.
    files = [found.path for found in storage.list(FOLDER)]
    alive = exports_alive()
    for each in alive:
        if each.state == ExportState.DONE:
            if each.expires_at is not None and each.expires_at <= now:
                done["expired"] += _over(each.tenant_id, each.id, now)
        elif now - each.created_at > GIVEN_UP_AFTER:
            done["given_up"] += _over(each.tenant_id, each.id, now)
        elif each.active and _is_missed(each.state, each.beat_at, each.created_at, now):
            enqueue(TASK, str(each.tenant_id), str(each.id))
            done["sent"] += 1
    kept = {f"{FOLDER}/{each.tenant_id}/{each.id}" for each in alive}
    for path in files:
        if path.rpartition("/")[0] not in kept:
            storage.delete(path)
            done["removed"] += 1
    return done


def _is_missed(state: str, beat_at: datetime | None, created_at: datetime, now: datetime) -> bool:
    if state == ExportState.QUEUED:
        return now - created_at > LOST_AFTER
    return beat_at is None or now - beat_at > DEAD_AFTER


def _over(tenant_id: UUID, export_id: UUID, now: datetime) -> int:
    """Ends one whose time is over: a finished one has expired, another one has failed."""
    system = system_context("exports", tenant_id=tenant_id)
    with system.transaction():
        export: Export | None = Export.objects.select_for_update().filter(pk=export_id).first()
        if export is None or not (export.under_way or export.state == ExportState.DONE):
            return 0
        if export.under_way:
            hours = GIVEN_UP_AFTER // timedelta(hours=1)
            export.state, export.finished_at, export.error = ExportState.FAILED, now, f"It did not end within {hours} hours; ask again."
        else:
            export.state = ExportState.EXPIRED
        export.parts, export.size_bytes = [], 0
        export.save(update_fields=["state", "finished_at", "error", "parts", "size_bytes"])
        record(system, f"telemetry.export_{export.state}", export, data={"kind": export.kind, "rows": export.rows_done})
        system.on_commit(lambda: remove_files(export))
    return 1


def export_turn(*, tenant_id: UUID | str, export_id: UUID | str) -> None:
    """A turn, and the message for the next. Where the storage does not answer, `tend_exports` sends for another try."""
    try:
        if write_export(tenant_id=tenant_id, export_id=export_id):
            enqueue(TASK, str(tenant_id), str(export_id))
    except StorageError:
        log.exception("telemetry.export_not_stored", export=str(export_id))
