"""What the pages of runs, events and scores have in common."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from unfold.paginator import InfinitePaginator

from apps.core.admin import GovernedAdmin, filters
from apps.telemetry.models import Tier
from apps.telemetry.selectors.pages import page

TIER = filters.values("tier", "tier", [(tier, tier) for tier in Tier.values])
AGENT = filters.related("agent", "identity.Agent", "agent")


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

    # Also for who sees single objects by what is granted: their rows are found by terms as well.
    def get_ordering(self, request: HttpRequest) -> Any:
        return self.ordering

    def get_paginator(self, request: HttpRequest, queryset: Any, per_page: int, *more: Any, **options: Any) -> Any:
        return TermPaginator(queryset, per_page, *more, **options)

    show_full_result_count = False
    audited = False
    list_select_related = ("agent",)
