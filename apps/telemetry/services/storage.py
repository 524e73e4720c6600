"""The SQL of ingest, inside the caller's transaction: the key ledger, staging, and the tables themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import psycopg

from apps.telemetry.domain.rows import ARRAY_COLUMNS
from apps.telemetry.native import cursor
from apps.telemetry.services.settle import Settled
from apps.telemetry.services.tables import Table

__all__ = ["Known", "claim", "complete", "cursor", "extend", "insert", "lock", "stage"]

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


def stage(cur: psycopg.Cursor[Any], table: Table, rows: Iterable[Settled]) -> None:
    """Copies rows, in this order, into the staging table, which holds nothing else afterwards."""
    cur.execute(table.prepare)
    # Flags and redactions are the last of what is sent, and nearly always empty.
    arrays = table.sent - len(ARRAY_COLUMNS)
    none = (None,) * len(ARRAY_COLUMNS)
    with cur.copy(table.copy) as copy:
        copy.set_types(table.types)
        write = copy.write_row
        for values, _, hashes, *_ in rows:
            assert values is not None
            named = values[arrays : table.sent]
            write((hashes, *values[:arrays], *(named if any(named) else none)))


def claim(cur: psycopg.Cursor[Any], table: Table, common: Mapping[str, Any]) -> set[str]:
    """Enters the keys of the staged rows into the ledger, in the order in which they were staged; gives those that are new. Another writer's
    uncommitted key is waited for: rows are staged in order of key, so that writers of the same keys never wait in a circle."""
    cur.execute(table.claim, common)
    return {key for (key,) in cur.fetchall()}


def lock(cur: psycopg.Cursor[Any], table: Table, tenant_id: UUID, keys: Iterable[str]) -> dict[str, Known]:
    """What the ledger holds of these keys, locked in order of key."""
    cur.execute(_LOCK, [tenant_id, table.kind, list(keys)])
    return {key: Known(day, final, hashes, row_id) for key, day, final, hashes, row_id in cur.fetchall()}


def extend(cur: psycopg.Cursor[Any], table: Table, tenant_id: UUID, completed: Mapping[str, Settled]) -> None:
    """Remembers in the ledger what completions brought."""
    keys = list(completed)
    cur.execute(_EXTEND, [keys, [completed[k].final for k in keys], [completed[k].hashes for k in keys], tenant_id, table.kind])


def insert(cur: psycopg.Cursor[Any], table: Table, common: Mapping[str, Any], *, known: Iterable[str]) -> None:
    """Moves the staged rows into their table, except those whose keys were known."""
    if known:
        cur.execute(table.known, [list(known)])
    cur.execute(table.insert, common)


def complete(cur: psycopg.Cursor[Any], table: Table, day: date, rows: Iterable[Settled]) -> None:
    """Completes stored rows of one day."""
    stage(cur, table, rows)
    cur.execute(table.complete, {"day": day})
