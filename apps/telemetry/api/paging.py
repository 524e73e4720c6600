"""Keyset paging over (created_at, id): any page of ten million rows costs what the first one costs."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

from apps.core.api.paging import CreatedCursorPagination
from apps.core.errors import problem
from apps.telemetry.selectors.pages import page


class KeysetPagination(CreatedCursorPagination):
    """Newest first. A cursor holds the row it stands beside, so rows with equal times are neither lost nor shown twice."""

    ordering = ("-created_at", "-id")

    def paginate_queryset(self, queryset: QuerySet[Any], request: Request, view: Any = None) -> list[Any]:
        self.request = request
        self.base_url = request.build_absolute_uri()
        limit = self.get_page_size(request) or self.page_size
        self.cursor = self._cursor(request)
        back = self.cursor is not None and self.cursor.reverse
        if self.cursor is not None:
            queryset = queryset.filter(self._beyond(str(self.cursor.position), back))
        rows = page(queryset, limit=limit + 1, back=back)
        more = len(rows) > limit
        self.page = rows[:limit][::-1] if back else rows[:limit]
        self.has_next = more if not back else True
        self.has_previous = self.cursor is not None if not back else more
        return self.page

    def _cursor(self, request: Request) -> Cursor | None:
        try:
            # Its position is not a key alone, which is what the base checks for.
            return CursorPagination.decode_cursor(self, request)
        except NotFound:
            raise self._refused() from None

    def _beyond(self, position: str, back: bool) -> Q:
        """What follows the position. The first condition is implied, and is the one that an index can use."""
        moment_text, _, key_text = position.partition("|")
        try:
            moment, key = datetime.fromisoformat(moment_text), UUID(key_text)
        except ValueError:
            raise self._refused() from None
        if moment.tzinfo is None:
            raise self._refused()
        if back:
            return Q(created_at__gte=moment) & (Q(created_at__gt=moment) | Q(id__gt=key))
        return Q(created_at__lte=moment) & (Q(created_at__lt=moment) | Q(id__lt=key))

    def get_next_link(self) -> str | None:
        return self._link(self.page[-1], reverse=False) if self.has_next and self.page else None

    def get_previous_link(self) -> str | None:
        return self._link(self.page[0], reverse=True) if self.has_previous and self.page else None

    def _link(self, row: Any, *, reverse: bool) -> str:
        position: Any = f"{row.created_at.isoformat()}|{row.pk}"
        link: str = self.encode_cursor(Cursor(offset=0, reverse=reverse, position=position))
        return link

    @staticmethod
    def _refused() -> Exception:
        return problem("invalid", "This is not a cursor of this list; take `next` or `previous` of an earlier answer.", pointer="/cursor")
