"""How complete each producer's stream is."""

from __future__ import annotations

from itertools import pairwise

from django.contrib import admin
from django.http import HttpRequest

from apps.core.admin import Facts, GovernedAdmin, cells, columns, filters
from apps.core.admin.columns import Column
from apps.telemetry.admin.base import AGENT
from apps.telemetry.models import Producer


def _missing(producer: Producer) -> object:
    """Numbers that lie between the ranges received, and those given up."""
    ranges = producer.ranges or []
    gaps = sum(after[0] - before[1] - 1 for before, after in pairwise(ranges)) + producer.given_up
    return cells.badge(f"{gaps:,} missing", "warn") if gaps else cells.badge("none missing", "good")


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
