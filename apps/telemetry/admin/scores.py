"""Scores of runs, and how each came about."""

from __future__ import annotations

from django.contrib import admin

from apps.core.admin import Facts, cells, columns, filters
from apps.core.admin.columns import Column
from apps.telemetry.admin.base import AGENT, ReportedAdmin
from apps.telemetry.models import RunScore


@admin.register(RunScore)
class RunScoreAdmin(ReportedAdmin):
    list_display = (
        "run_id",
        columns.points("score", order=False),
        columns.moment("created_at", "Scored", order=False),
        columns.link("agent", order=False),
        columns.text("pack", order=False),
        columns.text("pack_version", "Version", order=False),
        columns.text("arm", order=False),
        columns.number("latency_ms", "Latency", order=False, unit="ms"),
        columns.number("baseline_ms", "Baseline", order=False, unit="ms"),
    )
    list_filter = (AGENT, filters.exact("pack", "pack"), filters.exact("run_id", "run"))
    search_fields = ("run_id__exact",)
    search_help_text = "A run id, in full"
    ordering = ("-pk",)
    detail_related = ("row", "team")
    when_empty = "Final runs are scored in batches a moment after they arrive."
    facts = (
        Facts(
            "Score",
            (
                columns.points("score"),
                Column("Run", lambda score: cells.link_to(score.row)),
                columns.link("agent"),
                columns.text("pack"),
                columns.text("pack_version", "Version"),
                columns.digest("effective_digest", length=16),
                columns.text("arm"),
                columns.text("tier"),
                columns.number("latency_ms", "Latency", unit="ms"),
                columns.number("baseline_ms", "Compared with", unit="ms"),
                columns.moment("created_at", "Scored"),
            ),
            long=(columns.pretty("parts", "How it came about (hundredths of a point)"),),
        ),
    )
