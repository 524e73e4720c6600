"""The two tables that batches go to, and the SQL made from their columns."""

# ruff: noqa: S608 -- every name in the SQL is a constant of this module or of domain/rows.py

from __future__ import annotations

from dataclasses import dataclass

from apps.telemetry.domain.rows import ARRAY_COLUMNS, EVENT_COLUMNS, JSON_COLUMNS, RUN_COLUMNS

_TYPES = {
    **dict.fromkeys(("id", "tenant_id", "team_id", "agent_id"), "uuid"),
    **dict.fromkeys(("final", "success", "format_passed", "approval_passed"), "bool"),
    **dict.fromkeys(("pack_version", "retries", "retry_count"), "int4"),
    **dict.fromkeys(
        ("latency_ms", "tokens_in", "tokens_out", "token_delta", "cached_tokens", "cache_write_tokens", "reasoning_tokens"), "int8"
    ),
    **dict.fromkeys(("cost_micros", "seq", "producer_seq"), "int8"),
    **dict.fromkeys(("created_at", "received_at", "started_at", "ended_at"), "timestamptz"),
    **dict.fromkeys(ARRAY_COLUMNS, "text[]"),
    "day": "date",
}
# Ours, or the first delivery's: later ones do not complete them (`domain/merge.py`).
_FIRST = frozenset({"id", "day", "tenant_id", "team_id", "agent_id", "run_id", "created_at", "received_at", "producer", "producer_seq"})


@dataclass(frozen=True, slots=True)
class Table:
    """`kind` is the ledger's; `types` are the staging table's, where `fresh` (a new row, not a completion) stands first and JSON is text."""

    name: str
    kind: str
    plural: str
    key: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    prepare: str
    copy: str
    insert: str
    complete: str


def _table(name: str, kind: str, plural: str, key: str, columns: tuple[str, ...]) -> Table:
    types = [_TYPES.get(column, "text") for column in columns]
    staging, names = f"{name}_staging", ", ".join(columns)
    staged = ", ".join(f"{column} {type_}" for column, type_ in zip(columns, types, strict=True))
    return Table(
        name=name,
        kind=kind,
        plural=plural,
        key=key,
        columns=columns,
        types=("bool", *types),
        # Emptied as well: inside a surrounding transaction a batch before this one may have left its rows.
        prepare=f"CREATE TEMPORARY TABLE IF NOT EXISTS {staging} (fresh bool, {staged}) ON COMMIT DELETE ROWS; DELETE FROM pg_temp.{staging}",
        copy=f"COPY pg_temp.{staging} (fresh, {names}) FROM STDIN (FORMAT binary)",
        insert=f"INSERT INTO {name} ({names}) SELECT {', '.join(map(_staged, columns))} FROM pg_temp.{staging} s WHERE s.fresh",
        complete=_complete(name, staging, columns) if "final" in columns else "",
    )


def _staged(column: str) -> str:
    if column in ARRAY_COLUMNS:
        return f"coalesce(s.{column}, '{{}}')"
    return f"s.{column}::jsonb" if column in JSON_COLUMNS else f"s.{column}"


def _complete(name: str, staging: str, columns: tuple[str, ...]) -> str:
    """Null fields only; names are united, in order. The constant `day` keeps the plan to one partition."""
    filled = [column for column in columns if column not in _FIRST and column not in ARRAY_COLUMNS and column != "final"]
    sets = [f"{column} = coalesce(r.{column}, {_staged(column)})" for column in filled]
    sets += [
        f"{column} = ARRAY(SELECT DISTINCT n FROM unnest(r.{column} || {_staged(column)}) n ORDER BY n)" for column in sorted(ARRAY_COLUMNS)
    ]
    return (
        f"UPDATE {name} r SET final = s.final, {', '.join(sets)} FROM pg_temp.{staging} s "
        "WHERE NOT s.fresh AND s.day = %(day)s AND r.day = %(day)s AND r.id = s.id AND NOT r.final"
    )


RUNS = _table("telemetry_run", "r", "runs", "run_id", RUN_COLUMNS)
EVENTS = _table("telemetry_event", "e", "events", "event_id", EVENT_COLUMNS)
