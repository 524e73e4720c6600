"""Harnesses: who is there, who is silent, and what each serves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.core.admin import Facts, GovernedAdmin, Relatives, cells, columns, filters
from apps.core.admin.columns import Column
from apps.fleet.domain.liveness import silent_after
from apps.fleet.models import Delivery, Harness, Serving
from apps.fleet.selectors.harnesses import STATES, in_state

LINE = SafeString("<br>")
STATE = Column("State", lambda row: cells.badge(row.state(timezone.now())))
STALE = Column("Should resolve again", lambda row: cells.words(row.stale))
FLAGS = Column("Flags", lambda row: cells.words(row.flags))


def _serves(harness: Harness) -> object:
    """Pack and digest, those that are stale marked by a word."""
    rows = list(harness.serving.all())
    if not rows:
        return cells.EMPTY
    shown = (
        (row.pack, cells.digest(row.digest, 8), cells.badge("stale") if row.pack in harness.stale else "")
        for row in sorted(rows, key=lambda row: (row.pack, row.arm))
    )
    return format_html_join(LINE, "{} {} {}", shown)


class ByState(SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return STATES

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return in_state(queryset, str(self.value())) if self.value() else queryset


@admin.register(Harness)
class HarnessAdmin(GovernedAdmin):
    audited = False
    list_display = (
        columns.itself("Process"),
        columns.link("agent"),
        STATE,
        Column("Serves", _serves),
        columns.text("status", "Says", order=False),
        columns.moment("last_seen_at", "Last seen"),
    )
    list_select_related = ("agent",)
    list_filter = (
        ByState,
        filters.related("agent", "identity.Agent", "agent"),
        filters.exact("serving__pack", "pack"),
        filters.when("last_seen_at"),
    )
    search_fields = ("agent__slug", "instance", "status")
    ordering = ("-last_seen_at",)
    when_empty = "A harness appears with its first heartbeat; docs/fleet.md says what it sends. Those silent for a week are forgotten."
    facts = (
        Facts(
            "Harness",
            (
                columns.link("agent"),
                columns.text("instance", "Process"),
                STATE,
                columns.text("status", "Says"),
                columns.number("ttl_s", "A heartbeat every", unit="s"),
                columns.moment("first_seen_at"),
                columns.moment("last_seen_at"),
                STALE,
                FLAGS,
            ),
        ),
    )
    relatives = (
        Relatives(
            "What it serves",
            lambda ctx, row: Serving.objects.restrict(ctx).filter(harness=row).order_by("pack", "arm"),
            (
                columns.text("pack"),
                columns.text("arm"),
                columns.digest("digest", length=16),
                columns.moment("since"),
                columns.yes_no("traced", "Given by resolve"),
            ),
            empty="Nothing, as of its last heartbeat.",
            limit=100,
        ),
        Relatives(
            "Commands",
            lambda ctx, row: (
                Delivery.objects.restrict(ctx)
                .filter(agent_id=row.agent_id, instance__in=[row.instance, ""])
                .select_related("command")
                .order_by("-command_id")
            ),
            (
                columns.link("command", order=False),
                columns.badge("state", order=False),
                columns.number("handed_out", "Handed out", order=False),
                columns.moment("created_at", "Ordered", order=False),
                columns.moment("closed_at", "Ended", order=False),
            ),
            empty="Nothing was ordered of it.",
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("serving")

    def heading(self, obj: Harness) -> object:
        return format_html("{} {} {}", obj.agent, obj.instance, cells.badge(obj.state(timezone.now())))

    def intro(self, request: HttpRequest, obj: Harness) -> Iterable[object]:
        missed = int(silent_after(obj.ttl_s).total_seconds())
        match obj.state(timezone.now()):
            case "silent":
                yield f"It has not been heard of for more than {missed:,} s, three of its intervals: commands wait for it until they expire."
            case "stale":
                yield "It is there, and serves another version than resolve would give it now. It has been told, and resolves again by itself."
