"""The two tables that batches go to, and the SQL made from their columns."""

# ruff: noqa: S608 -- every name in the SQL is a constant of this module or of domain/rows.py

from __future__ import annotations

from dataclasses import dataclass

from apps.telemetry.domain.rows import ARRAY_COLUMNS, BATCH_COLUMNS, EVENT_COLUMNS, JSON_COLUMNS, RUN_COLUMNS

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
_FIRST = frozenset({*BATCH_COLUMNS, "id", "run_id", "created_at"})


@dataclass(frozen=True, slots=True)
class Table:
    """`kind` is the ledger's; the first `sent` of `columns` go into the staging table, whose `types` begin with the hashes of the ledger,
    and where JSON is text. The others are the same for all rows of a batch."""

    name: str
    kind: str
    plural: str
    key: str
    columns: tuple[str, ...]
    sent: int
    types: tuple[str, ...]
    prepare: str
    copy: str
    claim: str
    known: str
    insert: str
    complete: str


def _table(name: str, kind: str, plural: str, key: str, columns: tuple[str, ...]) -> Table:
    sent, staging = columns[: -len(BATCH_COLUMNS)], f"pg_temp.{name}_staging"
    types = [_TYPES.get(column, "text") for column in sent]
    staged = ", ".join(f"{column} {type_}" for column, type_ in zip(sent, types, strict=True))
    given = [f"%({column})b::{_TYPES.get(column, 'text')}" for column in BATCH_COLUMNS]
    return Table(
        name=name,
        kind=kind,
        plural=plural,
        key=key,
        columns=columns,
        sent=len(sent),
        types=("bytea", *types),
        # Emptied as well: inside a surrounding transaction a batch before this one may have left its rows.
        prepare=f"CREATE TEMPORARY TABLE IF NOT EXISTS {name}_staging (hashes bytea, {staged}) ON COMMIT DELETE ROWS; DELETE FROM {staging}",
        copy=f"COPY {staging} (hashes, {', '.join(sent)}) FROM STDIN (FORMAT binary)",
        claim=(
            "INSERT INTO telemetry_ledger (tenant_id, kind, key, day, final, hashes, row_id)"
            f" SELECT %(tenant_id)b, '{kind}', s.{key}, %(day)b, {'s.final' if 'final' in sent else 'true'}, s.hashes, s.id FROM {staging} s"
            f" ON CONFLICT DO NOTHING RETURNING key"
        ),
        known=f"DELETE FROM {staging} s WHERE s.{key} = ANY(%b::text[])",
        insert=f"INSERT INTO {name} ({', '.join(columns)}) SELECT {', '.join([*map(_staged, sent), *given])} FROM {staging} s",
        complete=_complete(name, staging, sent) if "final" in sent else "",
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
    return f"UPDATE {name} r SET final = s.final, {', '.join(sets)} FROM {staging} s WHERE r.day = %(day)b AND r.id = s.id AND NOT r.final"


RUNS = _table("telemetry_run", "r", "runs", "run_id", RUN_COLUMNS)
EVENTS = _table("telemetry_event", "e", "events", "event_id", EVENT_COLUMNS)
