"""psycopg's own cursors on Django's connection and in its transaction: no placeholders are filled in here, and COPY can be written."""

from __future__ import annotations

from typing import Any, cast

import psycopg
from django.db import connection


def cursor(*, binary: bool = False) -> psycopg.Cursor[Any]:
    """Parameters travel as their placeholders say (`%b`: binary); `binary` says the same of results."""
    connection.ensure_connection()
    found = psycopg.Cursor(cast("psycopg.Connection[Any]", connection.connection))
    found.format = psycopg.pq.Format(binary)
    return found
