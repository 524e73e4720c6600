"""Events: the steps of runs."""

from __future__ import annotations

from django.contrib import admin

from apps.core.admin import Facts, cells, columns
from apps.core.admin.columns import Column
from apps.telemetry.admin.base import MESSAGE, ReportedAdmin, export_act, root_link
from apps.telemetry.admin.filtering import OF_EVENTS
from apps.telemetry.models import Event, Run


def _run_of(event: Event) -> object:
    return cells.link(cells.list_url(Run, run_id=event.run_id), event.run_id) if event.run_id else None


@admin.register(Event)
class EventAdmin(ReportedAdmin):
    list_display = (
        "event_id",
        columns.moment("created_at", "When", order=False),
        columns.link("agent", order=False),
        columns.text("action", order=False),
        columns.text("status", order=False),
        Column("Run", _run_of),
        columns.text("tier", order=False),
        columns.text("mcp_tool", "MCP tool", order=False),
        MESSAGE,
    )
    list_filter = OF_EVENTS
    search_fields = ("event_id__exact", "run_id__exact", "root_task_id__exact")
    search_help_text = "An event, run or root task id, in full"
    ordering = ("-created_at", "-id")
    detail_related = ("team",)
    list_acts = (export_act("events"),)
    when_empty = "Events appear here when a harness posts to telemetry/events with an agent's token."
    facts = (
        Facts(
            "Event",
            (
                columns.code("event_id", "Event"),
                Column("Run", _run_of),
                columns.moment("created_at", "When"),
                columns.moment("received_at"),
                columns.link("agent"),
                columns.link("team"),
                columns.text("action"),
                columns.text("status"),
                columns.text("phase"),
                columns.text("tier"),
                columns.text("actor"),
                columns.text("provider"),
                columns.text("model_id", "Model"),
                columns.text("persona"),
                columns.text("skill"),
                columns.text("mcp_server", "MCP server"),
                columns.text("mcp_tool", "MCP tool"),
                columns.number("latency_ms", "Latency", unit="ms"),
                columns.tokens("tokens_in"),
                columns.tokens("tokens_out"),
                columns.money("cost_micros", "Cost"),
                columns.number("retry_count", "Retries"),
                Column("Root task", root_link),
                columns.code("task_id", "Task"),
                columns.words("flags"),
                columns.words("redactions"),
            ),
            long=(columns.block("message"), columns.pretty("payload")),
        ),
    )
