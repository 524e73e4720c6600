"""Cursor paging: `{results, next, previous}`, `?limit=` up to 500."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request


class CreatedCursorPagination(CursorPagination):
    """Newest first. Keys are time-ordered, so `id` alone is a stable order over an index that every table has."""

    ordering = "-id"
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 500
    # What the position in a cursor must be; a client can send any text there.
    position_type: ClassVar[type[UUID] | type[int]] = UUID

    def decode_cursor(self, request: Request) -> Any:
        cursor = super().decode_cursor(request)
        if cursor is not None and cursor.position is not None:
            try:
                self.position_type(str(cursor.position))
            except ValueError:
                raise NotFound(self.invalid_cursor_message) from None
        return cursor
