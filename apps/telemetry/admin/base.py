"""What the pages of runs, events and scores have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django import forms
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from unfold.paginator import InfinitePaginator

from apps.core.access import Action
from apps.core.admin import Act, ActForm, Call, Done, GovernedAdmin, cells
from apps.core.admin.acts import Button
from apps.core.admin.columns import Column
from apps.core.http import context_of
from apps.telemetry.admin.filtering import AGENT, TIER, as_asked
from apps.telemetry.domain.asked import Kind
from apps.telemetry.domain.terminal import as_text
from apps.telemetry.models import ExportFormat
from apps.telemetry.selectors.pages import page
from apps.telemetry.services.exports import request_export

__all__ = ["AGENT", "MESSAGE", "TIER", "ReportedAdmin", "export_act", "root_link"]

CLIPPED = 60


def _message(event: Any) -> str | None:
    """The beginning of an event's message, as a terminal would show it."""
    line = " ".join(as_text([(event.message or "")[: 10 * CLIPPED]]).split())
    return f"{line[: CLIPPED - 1]}…" if len(line) > CLIPPED else line or None


MESSAGE = Column("Message", _message)


NEWEST_FIRST = (["-created_at", "-id"], ["-created_at", "-id", "-pk"])


class TermPaginator(InfinitePaginator):
    """Pages of runs and events in the order of lists are found by what they ask for (`selectors/pages.py`); any other order is the database's
    to sort."""

    def page(self, number: int | str) -> Any:
        place = int(self.validate_number(number))
        rows: Any = self.object_list
        if list(rows.query.order_by) not in NEWEST_FIRST:
            return super().page(place)
        found = page(rows, limit=self.per_page, offset=(place - 1) * self.per_page)
        return self._get_page(found, place, self)


class ReportedAdmin(GovernedAdmin):
    """Millions of rows: pages are not counted, look-ups are by indexed keys."""

    show_full_result_count = False
    audited = False
    list_select_related = ("agent",)

    # Also for who sees single objects by what is granted: their rows are found by terms as well.
    def get_ordering(self, request: HttpRequest) -> Any:
        return self.ordering

    def get_paginator(self, request: HttpRequest, queryset: Any, per_page: int, *more: Any, **options: Any) -> Any:
        return TermPaginator(queryset, per_page, *more, **options)

    def list_buttons(self, request: HttpRequest) -> list[Button]:
        """What is done to the list is done to what is listed: the filters go along."""
        query = request.GET.urlencode()
        return [replace(button, url=f"{button.url}?{query}" if query else button.url) for button in super().list_buttons(request)]


class ExportForm(ActForm):
    format = forms.ChoiceField(
        choices=ExportFormat.choices, help_text="JSON lines are what the API answers; CSV is for spreadsheets, its columns are the same."
    )


def export_act(kind: Kind) -> Act:
    """“Export these”: a file of what the list shows, made in the background."""

    def run(call: Call) -> Done:
        asked = as_asked(call.ctx, kind, call.request.GET)
        export = request_export(ctx=call.ctx, kind=kind, file_format=call.data["format"], filters=asked)
        return Done("The export was asked for; this page shows how far it is.", to=export)

    def explain(request: HttpRequest, obj: Model | None) -> list[object]:
        asked = as_asked(context_of(request), kind, request.GET)
        said = [f"{name.replace('_', ' ')} {value}" for name, value in asked.items()]
        return [
            f"Writes all {kind} of {'this tenant' if not said else '; '.join(said)} into a file, texts included, newest first.",
            "The search box is not taken along: narrow the list by its filters." if request.GET.get("q") else "",
            "It is made in the background; the file can be downloaded by all who may export here, until it expires.",
            "What the redaction rules of today find is left out, also from what was stored before them. The export is recorded.",
        ]

    return Act(
        name="export",
        label="Export these",
        icon="download",
        rights=(Action.EXPORT,),
        form=ExportForm,
        run=run,
        explain=explain,
    )


def root_link(row: Any) -> object:
    """The orchestration that a run or event is part of."""
    return cells.link(reverse("orchestrations", query={"root": row.root_task_id}), row.root_task_id) if row.root_task_id else None
