"""The SQL of ingest, inside the caller's transaction: the key ledger, staging, and the tables themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, cast
from uuid import UUID

import psycopg
from django.db import connection

from apps.telemetry.services.settle import Settled
from apps.telemetry.services.tables import Table

_CLAIM = """
INSERT INTO telemetry_ledger (tenant_id, kind, key, day, final, hashes, row_id)
SELECT %b, %b, t.key, %b, t.final, t.hashes, t.row_id
FROM unnest(%b::text[], %b::bool[], %b::bytea[], %b::uuid[]) AS t (key, final, hashes, row_id)
ON CONFLICT DO NOTHING RETURNING key
"""
_LOCK = """
SELECT key, day, final, hashes, row_id FROM telemetry_ledger
WHERE tenant_id = %b AND kind = %b AND key = ANY(%b::text[]) ORDER BY key COLLATE "C" FOR UPDATE
"""
_EXTEND = """
UPDATE telemetry_ledger l SET final = t.final, hashes = t.hashes
FROM unnest(%b::text[], %b::bool[], %b::bytea[]) AS t (key, final, hashes)
WHERE l.tenant_id = %b AND l.kind = %b AND l.key = t.key
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger holds of a key."""

    day: date
    final: bool
    hashes: bytes
    row_id: UUID


def cursor() -> psycopg.Cursor[Any]:
    """A cursor of psycopg's own on Django's connection and transaction: parameters travel in binary, and COPY can be written."""
    connection.ensure_connection()
    return psycopg.Cursor(cast("psycopg.Connection[Any]", connection.connection))


def claim(cur: psycopg.Cursor[Any], table: Table, tenant_id: UUID, day: date, rows: Mapping[str, tuple[UUID, Settled]]) -> set[str]:
    """Enters the new keys into the ledger, in order of key, so that writers of the same keys wait for each other and never in a circle;
    gives those that are new. Another writer's uncommitted key is waited for."""
    keys = sorted(rows)
    found = [rows[key] for key in keys]
    cur.execute(
        _CLAIM,
        [tenant_id, table.kind, day, keys, [s.final for _, s in found], [s.hashes for _, s in found], [row_id for row_id, _ in found]],
    )
    return {key for (key,) in cur.fetchall()}


def lock(cur: psycopg.Cursor[Any], table: Table, tenant_id: UUID, keys: Iterable[str]) -> dict[str, Known]:
    """What the ledger holds of these keys, locked in order of key."""
    cur.execute(_LOCK, [tenant_id, table.kind, list(keys)])
    return {key: Known(day, final, hashes, row_id) for key, day, final, hashes, row_id in cur.fetchall()}


def extend(cur: psycopg.Cursor[Any], table: Table, tenant_id: UUID, completed: Mapping[str, Settled]) -> None:
    """Remembers in the ledger what completions brought."""
    keys = list(completed)
    cur.execute(_EXTEND, [keys, [completed[k].final for k in keys], [completed[k].hashes for k in keys], tenant_id, table.kind])


def store(
    cur: psycopg.Cursor[Any], table: Table, fresh: Sequence[tuple[Any, ...]], completing: Mapping[date, Sequence[tuple[Any, ...]]]
) -> None:
    """Copies the rows into the staging table and moves them on: new ones are inserted, the others complete the rows of their day."""
    cur.execute(table.prepare)
    with cur.copy(table.copy) as copy:
        copy.set_types(table.types)
        write = copy.write_row
        for row in fresh:
            write((True, *row))
        for rows in completing.values():
            for row in rows:
                write((False, *row))
    if fresh:
        cur.execute(table.insert)
    for day in completing:
        cur.execute(table.complete, {"day": day})
