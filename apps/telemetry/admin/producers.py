"""How complete each producer's stream is."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.core.admin import Facts, GovernedAdmin, cells, columns, filters
from apps.core.admin.columns import Column
from apps.telemetry.admin.base import AGENT
from apps.telemetry.models import Producer


def _missing(producer: Producer) -> object:
    """Numbers that lie between the ranges received, and those given up."""
    return cells.badge(f"{producer.missing:,} missing", "warn") if producer.missing else cells.badge("none missing", "good")


def _skew(producer: Producer) -> object:
    return cells.badge(f"{producer.skew_ms / 1000:,.1f} s off", "warn") if producer.skew_ms else cells.badge("in time", "good")


class WithGaps(admin.SimpleListFilter):
    """Whether batches are missing."""

    title = "gaps"
    parameter_name = "gaps"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [("yes", "with gaps"), ("no", "without gaps")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return {"yes": queryset.filter(missing__gt=0), "no": queryset.filter(missing=0)}.get(self.value() or "", queryset)


GAPS, CLOCK = Column("Gaps", _missing, order="missing"), Column("Clock", _skew, order="skew_ms")


@admin.register(Producer)
class ProducerAdmin(GovernedAdmin):
    audited = False
    list_display = (
        "name",
        columns.link("agent"),
        columns.moment("last_seen_at", "Last seen"),
        columns.number("last_seq", "Last number"),
        GAPS,
        CLOCK,
        columns.number("accepted"),
        columns.number("duplicates"),
        columns.number("rejected"),
        columns.number("too_old"),
    )
    list_select_related = ("agent",)
    list_filter = (WithGaps, AGENT, filters.when("last_seen_at"))
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
                GAPS,
                columns.number("given_up", "Given up"),
                CLOCK,
                columns.moment("skew_at", "Clock last seen off"),
            ),
        ),
        Facts(
            "Items over all batches",
            (columns.number("accepted"), columns.number("duplicates"), columns.number("rejected"), columns.number("too_old")),
            long=(Column("Numbers received", lambda producer: cells.words(_range(each) for each in (producer.ranges or [])[-200:])),),
        ),
    )

    def intro(self, request: HttpRequest, obj: Producer) -> list[object]:
        return [
            "A producer numbers its batches by one; numbers that are missing between those received are batches that never arrived.",
            "Its clock is off by the most that a time of its items lay after ours when they came, or an end before its start; up to 5 s is not.",
        ]


def _range(each: list[int]) -> str:
    return f"{each[0]}–{each[1]}" if each[0] != each[1] else str(each[0])
