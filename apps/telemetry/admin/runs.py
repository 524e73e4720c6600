"""Runs, as harnesses reported them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from apps.core.admin import Facts, Panel, Relatives, cells, columns
from apps.core.admin.columns import Column
from apps.core.context import ActionContext
from apps.core.http import context_of
from apps.telemetry.admin.base import MESSAGE, ReportedAdmin, export_act, root_link
from apps.telemetry.admin.filtering import OF_RUNS
from apps.telemetry.domain.flags import meaning
from apps.telemetry.models import Event, Run
from apps.telemetry.selectors.output import output_of

REFRESH_S = 4


def _success(run: Run) -> object:
    return None if run.success is None else cells.badge("success", "good") if run.success else cells.badge("failure", "bad")


def _score(run: Run) -> object:
    score = getattr(run, "score", None)
    return cells.link_to(score) if score is not None else cells.badge("waiting", "wait") if run.final else None


def _pack(run: Run) -> object:
    """Its name and version, on one line."""
    version = f" {run.pack_version}" if run.pack_version is not None else ""
    return format_html('<span class="mc-num">{}{}</span>', run.pack, version) if run.pack else None


def _tokens(run: Run) -> object:
    """All that went in and came out."""
    known = [count for count in (run.tokens_in, run.tokens_out) if count is not None]
    return cells.tokens(sum(known)) if known else None


def _flags(run: Run) -> object:
    """Each by its word, and what it means."""
    rows = ((cells.words([flag]), meaning(flag)) for flag in run.flags)
    return format_html_join("", '<p class="mc-flag">{} {}</p>', rows) if run.flags else cells.EMPTY


def _output(request: HttpRequest, run: Run) -> dict[str, Any] | None:
    found = output_of(context_of(request), run)
    if not found.pieces and run.final:
        return None
    return {
        "text": cells.block(found.text),
        "pieces": found.pieces,
        "cut": found.cut,
        "moving": not run.final,
        "every": REFRESH_S,
        "url": reverse("admin:telemetry_run_part", args=[run.pk, "output"]),
    }


def _output_part(request: HttpRequest, run: Run) -> HttpResponse:
    return TemplateResponse(request, "telemetry/output.html", {"panel": _output(request, run)})


def _events(ctx: ActionContext, run: Run) -> Any:
    return Event.objects.restrict(ctx).filter(run_id=run.run_id).order_by("created_at", "id")


SUCCESS, SCORE = Column("Outcome", _success), Column("Score", _score)


@admin.register(Run)
class RunAdmin(ReportedAdmin):
    list_display = (
        "run_id",
        columns.moment("created_at", "When", order=False),
        columns.link("agent", order=False),
        Column("Pack", _pack),
        columns.text("task_type", order=False),
        SUCCESS,
        SCORE,
        columns.number("latency_ms", "Latency", order=False, unit="ms"),
        Column("Tokens", _tokens),
        columns.money("cost_micros", "Cost", order=False),
        columns.words("flags"),
    )
    list_select_related = ("agent", "score")
    list_filter = OF_RUNS
    search_fields = ("run_id__exact", "root_task_id__exact")
    search_help_text = "A run id or root task id, in full"
    ordering = ("-created_at", "-id")
    detail_related = ("team",)
    list_acts = (export_act("runs"),)
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
                columns.words("redactions"),
            ),
            long=(Column("Flags", _flags),),
        ),
        Facts(
            "Figures",
            (
                columns.moment("started_at"),
                columns.moment("ended_at"),
                columns.moment("received_at"),
                columns.number("latency_ms", "Latency", unit="ms"),
                columns.tokens("tokens_in"),
                columns.tokens("tokens_out"),
                columns.tokens("cached_tokens", "Tokens in, from the cache"),
                columns.tokens("cache_write_tokens", "Tokens in, to the cache"),
                columns.tokens("reasoning_tokens", "Tokens out, reasoning"),
                columns.money("cost_micros", "Cost"),
                columns.number("retries"),
                columns.yes_no("format_passed"),
                columns.yes_no("approval_passed"),
            ),
        ),
        Facts(
            "Content, redacted",
            (Column("Root task", root_link), columns.code("task_id", "Task"), columns.text("producer")),
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
    panels = (Panel("Terminal output", "telemetry/output.html", _output),)
    parts = {"output": _output_part}
    relatives = (
        Relatives(
            "Events",
            _events,
            (
                columns.itself("Event"),
                columns.moment("created_at", "When"),
                columns.text("action"),
                columns.text("status"),
                MESSAGE,
            ),
            query=lambda run: {"run_id": run.run_id},
            empty="This run has reported no events.",
            limit=20,
        ),
    )
