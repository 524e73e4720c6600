"""Exports of runs and events: how far they are, and their files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

from apps.core.access import Action, holds
from apps.core.admin import Act, ActForm, Call, Done, Facts, GovernedAdmin, Panel, ReasonForm, cells, columns, filters
from apps.core.admin.columns import Column
from apps.core.http import context_of
from apps.telemetry.downloads import file_answer
from apps.telemetry.models import Export, ExportKind, ExportState, Run
from apps.telemetry.services.exports import cancel_export, delete_export, open_export

REFRESH_S = 2
_TONES = {ExportState.QUEUED: "wait", ExportState.DONE: "good", ExportState.CANCELLED: "off", ExportState.EXPIRED: "off"}


def _state(export: Export) -> object:
    return cells.badge(export.state, _TONES.get(ExportState(export.state)))


def _progress(export: Export) -> object:
    """A bar while it is under way, with the planner's guess for its end; then the rows that it has."""
    if export.under_way:
        return cells.bar(export.rows_done, max(export.rows_estimated, export.rows_done), "rows written, of about as many")
    return cells.number(export.rows_done)


def _size(export: Export) -> object:
    return filesizeformat(export.size_bytes) if export.size_bytes else None


def _filters(export: Export) -> object:
    return cells.words(f"{name}={value}" for name, value in export.filters.items()) if export.filters else "all"


def _panel(request: HttpRequest, export: Export) -> dict[str, Any]:
    may = holds(context_of(request), Action.EXPORT)
    return {
        "state": _state(export),
        "progress": _progress(export),
        "size": _size(export),
        "error": export.error,
        "moving": export.under_way,
        "every": REFRESH_S,
        "url": reverse("admin:telemetry_export_part", args=[export.pk, "progress"]),
        "download": cells.admin_url(export, "download") if may and export.state == ExportState.DONE else "",
        "expires": cells.moment(export.expires_at) if export.state == ExportState.DONE else "",
        "expired": export.state == ExportState.EXPIRED,
    }


def _progress_part(request: HttpRequest, export: Export) -> HttpResponse:
    return TemplateResponse(request, "telemetry/export.html", {"panel": _panel(request, export)})


def _download(call: Call) -> Done:
    return Done(page=file_answer(open_export(ctx=call.ctx, export_id=call.obj.pk)))


def _cancel(call: Call) -> Done:
    cancel_export(ctx=call.ctx, export_id=call.obj.pk, reason=call.data["reason"])
    return Done("The export was cancelled; what was written of it is removed.")


def _delete(call: Call) -> Done:
    delete_export(ctx=call.ctx, export_id=call.obj.pk, reason=call.data["reason"])
    return Done("The file is removed.")


@admin.register(Export)
class ExportAdmin(GovernedAdmin):
    list_display = (
        columns.itself("Export"),
        Column("State", _state, order="state"),
        Column("Rows", _progress),
        Column("Size", _size),
        Column("Filters", _filters),
        columns.link("requested_by", order=False),
        columns.moment("created_at", "Asked for"),
        columns.moment("expires_at", "Expires"),
    )
    list_select_related = ("requested_by",)
    list_filter = (
        filters.values("state", "state", [(state, label) for state, label in ExportState.choices]),
        filters.values("kind", "kind", [(kind, label) for kind, label in ExportKind.choices]),
        filters.when("created_at"),
    )
    ordering = ("-id",)
    when_empty = "Open the list of runs or events, narrow it by its filters, and press “Export these”."
    facts = (
        Facts(
            "Asked for",
            (
                columns.text("kind"),
                columns.text("format"),
                columns.link("requested_by"),
                columns.moment("created_at", "Asked for"),
                columns.moment("started_at", "Begun"),
                columns.moment("finished_at", "Ended"),
                columns.moment("expires_at", "Expires"),
            ),
            long=(Column("Filters", _filters),),
        ),
    )
    panels = (Panel("The file", "telemetry/export.html", _panel),)
    parts = {"progress": _progress_part}
    acts = (
        Act(
            name="download",
            label="Download",
            icon="download",
            tone="primary",
            rights=(Action.EXPORT,),
            form=ActForm,
            run=_download,
            when=lambda ctx, export: export.state == ExportState.DONE,
            explain=lambda request, export: [
                f"Downloads {export.file_name}: {export.rows_done:,} rows, {filesizeformat(export.size_bytes)}.",
                "The download is recorded.",
            ],
        ),
        Act(
            name="cancel",
            label="Stop it",
            icon="cancel",
            rights=(Action.EXPORT,),
            form=ReasonForm,
            run=_cancel,
            when=lambda ctx, export: export.under_way,
            explain=lambda request, export: [
                "Stops the writing and removes what was written. An export cannot be gone on with; ask for another."
            ],
        ),
        Act(
            name="delete",
            label="Delete the file",
            icon="delete",
            tone="danger",
            rights=(Action.EXPORT,),
            form=ReasonForm,
            run=_delete,
            when=lambda ctx, export: export.state == ExportState.DONE,
            explain=lambda request, export: [
                "Removes the file now, before it expires. There is no way back; what was exported stays where it is."
            ],
        ),
    )

    def list_intro(self, request: HttpRequest) -> Iterable[object]:
        hours = f"{settings.EXPORTS_KEPT_H:g}"
        return [
            format_html(
                "A file is kept for {} hours. Export from the list of {}, with its filters.", hours, cells.link(cells.list_url(Run), "runs")
            )
        ]
