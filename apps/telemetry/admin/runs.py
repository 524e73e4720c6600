"""Runs, as harnesses reported them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin

from apps.core.admin import Facts, Relatives, cells, columns, filters
from apps.core.admin.columns import Column
from apps.core.context import ActionContext
from apps.telemetry.admin.base import AGENT, TIER, ReportedAdmin
from apps.telemetry.models import Event, Run


def _success(run: Run) -> object:
    return None if run.success is None else cells.badge("success", "good") if run.success else cells.badge("failure", "bad")


def _score(run: Run) -> object:
    score = getattr(run, "score", None)
    return cells.link_to(score) if score is not None else cells.badge("waiting", "wait") if run.final else None


def _events(ctx: ActionContext, run: Run) -> Any:
    return Event.objects.restrict(ctx).filter(run_id=run.run_id).order_by("created_at", "id")


SUCCESS, SCORE = Column("Outcome", _success), Column("Score", _score)


@admin.register(Run)
class RunAdmin(ReportedAdmin):
    list_display = (
        "run_id",
        columns.moment("created_at", "When", order=False),
        columns.link("agent", order=False),
        columns.text("pack", order=False),
        columns.text("pack_version", "Version", order=False),
        columns.text("task_type", order=False),
        SUCCESS,
        SCORE,
        columns.number("latency_ms", "Latency", order=False, unit="ms"),
        columns.money("cost_micros", "Cost", order=False),
        columns.words("flags"),
    )
    list_select_related = ("agent", "score")
    list_filter = (
        filters.when("created_at"),
        AGENT,
        filters.exact("pack", "pack"),
        TIER,
        ("success", admin.BooleanFieldListFilter),
        filters.exact("run_id", "run"),
        filters.exact("root_task_id", "root task"),
    )
    search_fields = ("run_id__exact", "root_task_id__exact")
    search_help_text = "A run id or root task id, in full"
    ordering = ("-created_at", "-id")
    detail_related = ("team",)
    when_empty = "Runs appear here when a harness posts to telemetry/runs with an agent's token."
    facts = (
        Facts(
            "Run",
            (
                columns.code("run_id", "Run"),
                columns.yes_no("final"),
                columns.link("agent"),
                columns.link("team"),
                columns.text("user_ref", "User"),
                columns.text("task_type"),
                columns.text("tier"),
                columns.text("actor"),
                SUCCESS,
                columns.text("status"),
                columns.text("error_code", "Error"),
                SCORE,
            ),
        ),
        Facts(
            "What it ran on",
            (
                columns.text("pack"),
                columns.text("pack_version", "Version"),
                columns.digest("effective_digest", length=16),
                columns.text("arm"),
                columns.text("provider"),
                columns.text("model_id", "Model"),
                columns.text("persona"),
                columns.text("skill"),
                columns.text("adapter_kind", "Adapter"),
                columns.words("flags"),
                columns.words("redactions"),
            ),
        ),
        Facts(
            "Figures",
            (
                columns.moment("started_at"),
                columns.moment("ended_at"),
                columns.moment("received_at"),
                columns.number("latency_ms", "Latency", unit="ms"),
                columns.number("tokens_in"),
                columns.number("tokens_out"),
                columns.number("cached_tokens"),
                columns.number("reasoning_tokens"),
                columns.money("cost_micros", "Cost"),
                columns.number("retries"),
                columns.yes_no("format_passed"),
                columns.yes_no("approval_passed"),
            ),
        ),
        Facts(
            "Content, redacted",
            (columns.code("root_task_id", "Root task"), columns.code("task_id", "Task"), columns.text("producer")),
            long=(
                columns.block("input"),
                columns.block("output"),
                columns.pretty("checks"),
                columns.pretty("safety_flags"),
                columns.pretty("mcp_servers", "MCP servers"),
                columns.pretty("metadata"),
            ),
        ),
    )
    relatives = (
        Relatives(
            "Events",
            _events,
            (
                columns.itself("Event"),
                columns.moment("created_at", "When"),
                columns.text("action"),
                columns.text("status"),
                columns.clipped("message"),
            ),
            query=lambda run: {"run_id": run.run_id},
            empty="This run has reported no events.",
            limit=20,
        ),
    )
