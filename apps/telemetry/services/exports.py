"""Exports, as people ask for them: requested, cancelled, given out, deleted. They are written in `exporting.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.core.jobs import enqueue_on_commit
from apps.core.storage import NotStoredError, Storage, StorageError, open_storage
from apps.identity.permissions import require
from apps.telemetry.domain.asked import Kind, parse, written
from apps.telemetry.models import UNDER_WAY, Export, ExportFormat, ExportKind, ExportState
from apps.telemetry.selectors.asked import narrowed
from apps.telemetry.selectors.rules import redactor_of

log = structlog.get_logger(__name__)
# Of one tenant at a time: they share the workers with all others.
MAX_UNDER_WAY = 5
TASK = "telemetry.export"


@dataclass(frozen=True, slots=True)
class File:
    """A finished export as a file: its pieces are read one after the other."""

    name: str
    media_type: str
    size: int
    pieces: Iterator[bytes]


def store() -> Storage:
    """Where the files lie. Raises StorageError."""
    return open_storage(settings.EXPORTS_STORE)


def request_export(*, ctx: ActionContext, kind: str, file_format: str, filters: Mapping[str, Any]) -> Export:
    """An export of the runs or events that the filters let through, written in the background. Raises Problem `permission_denied`,
    `invalid`, or `wrong_state` where too many are under way."""
    with ctx.transaction():
        require(ctx, Action.EXPORT, tenant_id=ctx.tenant_id)
        require(ctx, Action.VIEW, tenant_id=ctx.tenant_id)
        if kind not in ExportKind.values:
            raise problem("invalid", f"What is exported is one of {', '.join(ExportKind.values)}.", pointer="/kind")
        if file_format not in ExportFormat.values:
            raise problem("invalid", f"A format is one of {', '.join(ExportFormat.values)}.", pointer="/format")
        asked_kind: Kind = "runs" if kind == ExportKind.RUNS else "events"
        asked = parse(asked_kind, filters)
        kept = written(asked)
        if redactor_of(ctx.tenant_id).redact_json(kept)[1]:
            raise problem(
                "invalid", "A filter holds what looks like a secret; these are stored nowhere, so nothing has it.", pointer="/filters"
            )
        if "since" in asked and "until" in asked and asked["until"] <= asked["since"]:
            raise problem("invalid", "The time window ends before it begins.", pointer="/filters/until")
        if Export.objects.filter(tenant_id=ctx.tenant_id, state__in=UNDER_WAY).count() >= MAX_UNDER_WAY:
            raise problem("wrong_state", f"{MAX_UNDER_WAY} exports are under way already; wait for one, or cancel it.")
        export = Export.objects.create(
            tenant_id=ctx.tenant_id,
            kind=kind,
            format=file_format,
            filters=kept,
            requested_by_id=ctx.user_id,
            rows_estimated=_estimate(narrowed(ctx, asked_kind, asked)),
        )
        facts: dict[str, Any] = {"kind": kind, "format": file_format, "by": sorted(kept)}
        facts |= {name: value for name, value in kept.items() if name in ("since", "until")}
        record(ctx, "telemetry.export_requested", export, data=facts)
        enqueue_on_commit(ctx, TASK, str(ctx.tenant_id), str(export.pk))
        return export


def _estimate(rows: QuerySet[Any]) -> int:
    """How many rows the planner expects: counting them could take as long as the export."""
    plan = rows.values("pk").order_by().explain(format="json")
    # Where Django sees that there can be none, there is no plan.
    return int(json.loads(plan)[0]["Plan"]["Plan Rows"]) if plan else 0


def cancel_export(*, ctx: ActionContext, export_id: UUID | str, reason: str = "") -> Export:
    """Stops one that is under way; what was written of it is removed. Raises Problem `not_found`, `permission_denied`, `wrong_state`."""
    with ctx.transaction():
        export = _locked(ctx, export_id)
        if not export.under_way:
            raise problem("wrong_state", f"This export is {export.state}: there is nothing to cancel.")
        return _end(ctx, export, ExportState.CANCELLED, "telemetry.export_cancelled", reason)


def delete_export(*, ctx: ActionContext, export_id: UUID | str, reason: str = "") -> None:
    """Removes the file before its time (and stops the writing). Raises Problem `not_found`, `permission_denied`, `wrong_state`."""
    with ctx.transaction():
        export = _locked(ctx, export_id)
        if not export.under_way and export.state != ExportState.DONE:
            raise problem("wrong_state", f"This export is {export.state}: it has no file.")
        _end(ctx, export, ExportState.EXPIRED, "telemetry.export_deleted", reason)


def delete_exports(*, ctx: ActionContext, reason: str) -> int:
    """Removes every file of the context's tenant, finished or not, as the erasure of a user's data demands; how many. A file that the storage
    cannot remove just now can no longer be downloaded, and is removed by `tend_exports`. Raises Problem `permission_denied`."""
    with ctx.transaction():
        require(ctx, Action.EXPORT, tenant_id=ctx.tenant_id)
        rows = Export.objects.filter(tenant_id=ctx.tenant_id, state__in=[*UNDER_WAY, ExportState.DONE])
        found = list(rows.select_for_update().order_by("pk"))
        for export in found:
            _end(ctx, export, ExportState.EXPIRED, "telemetry.export_deleted", reason)
        return len(found)


def open_export(*, ctx: ActionContext, export_id: UUID | str) -> File:
    """The file of a finished export. Raises Problem `not_found`, `permission_denied`, `wrong_state`, `unavailable`."""
    with ctx.transaction():
        export = _locked(ctx, export_id)
        over = export.expires_at is not None and export.expires_at <= timezone.now()
        if export.state != ExportState.DONE or over:
            said = "is not finished yet" if export.under_way else f"is {ExportState.EXPIRED if over else export.state}; ask for another one"
            raise problem("wrong_state", f"This export {said}.")
        storage = _reachable(export)
        record(ctx, "telemetry.export_downloaded", export, data={"kind": export.kind, "rows": export.rows_done})
    media_type = "text/csv; charset=utf-8" if export.format == ExportFormat.CSV else "application/jsonl"
    pieces = (storage.get(f"{export.folder}/{part}") for part in export.parts)
    return File(export.file_name, media_type, export.size_bytes, pieces)


def _reachable(export: Export) -> Storage:
    """The storage, if the first piece is there: what is missing is said before the answer has begun."""
    try:
        storage = store()
        for part in export.parts[:1]:
            storage.get(f"{export.folder}/{part}")
    except NotStoredError:
        raise problem("wrong_state", "The file of this export is gone; ask for another one.") from None
    except StorageError as error:
        log.exception("telemetry.exports_away", export=str(export.pk))
        raise problem("unavailable", "The storage of exports does not answer just now; try again.", retry_after=5) from error
    return storage


def _locked(ctx: ActionContext, export_id: UUID | str) -> Export:
    export: Export = Export.objects.visible(ctx, pk=export_id)
    require(ctx, Action.EXPORT, tenant_id=export.tenant_id, on=export)
    found: Export = Export.objects.select_for_update().get(pk=export.pk)
    return found


def _end(ctx: ActionContext, export: Export, state: ExportState, action: str, reason: str) -> Export:
    export.state, export.finished_at, export.parts, export.size_bytes = state, timezone.now(), [], 0
    export.save(update_fields=["state", "finished_at", "parts", "size_bytes"])
    record(ctx, action, export, data={"kind": export.kind, "rows": export.rows_done}, reason=reason)
    ctx.on_commit(lambda: remove_files(export))
    return export


def remove_files(export: Export) -> None:
    """Removes what there is of an export in the storage. Raises StorageError."""
    storage = store()
    for found in list(storage.list(export.folder)):
        storage.delete(found.path)
