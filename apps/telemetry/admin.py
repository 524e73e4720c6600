"""What harnesses reported: runs, their events and scores, and how complete each producer's stream is."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.paginator import InfinitePaginator

from apps.core.admin import Facts, GovernedAdmin, Relatives, cells, columns, filters
from apps.core.admin.columns import Column
from apps.core.context import ActionContext
from apps.telemetry.models import Event, Producer, Run, RunScore, Tier


def _success(run: Run) -> object:
    return None if run.success is None else cells.badge("success", "good") if run.success else cells.badge("failure", "bad")


def _score(run: Run) -> object:
    score = getattr(run, "score", None)
    return cells.link_to(score) if score is not None else cells.badge("waiting", "wait") if run.final else None


def _run_of(event: Event) -> object:
    return cells.link(cells.list_url(Run, run_id=event.run_id), event.run_id) if event.run_id else None


def _missing(producer: Producer) -> object:
    """Numbers that lie between the ranges received, and those given up."""
    ranges = producer.ranges or []
    gaps = sum(after[0] - before[1] - 1 for before, after in pairwise(ranges)) + producer.given_up
    return cells.badge(f"{gaps:,} missing", "warn") if gaps else cells.badge("none missing", "good")


def _events(ctx: ActionContext, run: Run) -> Any:
    return Event.objects.restrict(ctx).filter(run_id=run.run_id).order_by("created_at", "id")


TIER = filters.values("tier", "tier", [(tier, tier) for tier in Tier.values])
AGENT = filters.related("agent", "identity.Agent", "agent")
SUCCESS, SCORE = Column("Outcome", _success), Column("Score", _score)


class ReportedAdmin(GovernedAdmin):
    """Millions of rows: pages are not counted, look-ups are by indexed keys."""

    paginator = InfinitePaginator
    show_full_result_count = False
    audited = False
    list_select_related = ("agent",)


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
        columns.clipped("message", length=60),
    )
    list_filter = (
        filters.when("created_at"),
        AGENT,
        TIER,
        filters.exact("action", "action"),
        filters.exact("run_id", "run"),
        filters.exact("root_task_id", "root task"),
    )
    search_fields = ("event_id__exact", "run_id__exact", "root_task_id__exact")
    search_help_text = "An event, run or root task id, in full"
    ordering = ("-created_at", "-id")
    detail_related = ("team",)
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
                columns.number("tokens_in"),
                columns.number("tokens_out"),
                columns.money("cost_micros", "Cost"),
                columns.number("retry_count", "Retries"),
                columns.code("root_task_id", "Root task"),
                columns.words("flags"),
                columns.words("redactions"),
            ),
            long=(columns.block("message"), columns.pretty("payload")),
        ),
    )


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


@admin.register(Producer)
class ProducerAdmin(GovernedAdmin):
    audited = False
    list_display = (
        "name",
        columns.link("agent"),
        columns.moment("last_seen_at", "Last seen"),
        columns.number("last_seq", "Last number"),
        Column("Gaps", _missing),
        columns.number("accepted"),
        columns.number("duplicates"),
        columns.number("rejected"),
        columns.number("too_old"),
    )
    list_select_related = ("agent",)
    list_filter = (AGENT, filters.when("last_seen_at"))
    search_fields = ("name",)
    ordering = ("-last_seen_at",)
    when_empty = (
        "A producer appears with its first numbered batch; batches without `producer` and `seq` are taken, but their gaps cannot be seen."
    )
    facts = (
        Facts(
            "Producer",
            (
                columns.text("name"),
                columns.link("agent"),
                columns.moment("first_seen_at"),
                columns.moment("last_seen_at"),
                columns.number("last_seq", "Last number"),
                Column("Gaps", _missing),
                columns.number("given_up", "Given up"),
            ),
        ),
        Facts(
            "Items over all batches",
            (columns.number("accepted"), columns.number("duplicates"), columns.number("rejected"), columns.number("too_old")),
            long=(Column("Numbers received", lambda producer: cells.words(_range(each) for each in (producer.ranges or [])[-200:])),),
        ),
    )

    def intro(self, request: HttpRequest, obj: Producer) -> list[object]:
        return ["A producer numbers its batches by one; numbers that are missing between those received are batches that never arrived."]


def _range(each: list[int]) -> str:
    return f"{each[0]}–{each[1]}" if each[0] != each[1] else str(each[0])
