"""Cursor paging: `{results, next, previous}`, `?limit=` up to 500."""

from __future__ import annotations

from rest_framework.pagination import CursorPagination


class CreatedCursorPagination(CursorPagination):
    """Newest first. Keys are time-ordered, so `id` alone is a stable order over an index that every table has."""

    ordering = "-id"
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 500
