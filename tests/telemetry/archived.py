"""Days of the past with telemetry in them, and what an archive of them holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from apps.core.context import in_tenant
from apps.core.storage import Storage, open_storage
from apps.telemetry.models import Archive, ArchivePart
from apps.telemetry.services.archive_files import lines
from apps.telemetry.services.archiving import archive_day
from apps.telemetry.services.releasing import drop_days
from tests.telemetry.sending import Harness, event, harness, run

OwnerSql = Callable[..., list[tuple[Any, ...]]]
TABLES = ("telemetry_run", "telemetry_event", "telemetry_runscore")
OLD = 9


def day_ago(days: int) -> date:
    return datetime.now(UTC).date() - timedelta(days=days)


def open_day(owner_sql: OwnerSql, day: date) -> None:
    for table in TABLES:
        owner_sql(
            f"CREATE TABLE IF NOT EXISTS {table}_{day:%Y%m%d} PARTITION OF {table} FOR VALUES FROM ('{day}') TO ('{day + timedelta(1)}')"
        )


def aged(owner_sql: OwnerSql, days: int = OLD) -> date:
    """Makes everything of today something of that many days ago."""
    day, today = day_ago(days), day_ago(0)
    open_day(owner_sql, day)
    for table in TABLES:
        owner_sql(
            f"WITH gone AS (DELETE FROM {table} WHERE day = %s RETURNING *) INSERT INTO {table}"
            f" SELECT r.* FROM gone g, LATERAL jsonb_populate_record(NULL::{table}, to_jsonb(g) || %s::jsonb) r",
            [today, msgspec.json.encode({"day": day.isoformat()}).decode()],
        )
    owner_sql("UPDATE telemetry_ledger SET day = %s WHERE day = %s", [day, today])
    owner_sql("UPDATE telemetry_unscoredbatch SET day = %s WHERE day = %s", [day, today])
    return day


def furnished(owner_sql: OwnerSql, sender: Harness | None = None, *, runs: int = 7, days: int = OLD) -> tuple[Harness, date]:
    """A tenant with runs (one of them unfinished), and three events, received that many days ago."""
    sender = sender or harness()
    sender.send(*[run(user_ref=f"u-{number % 2}", input='a "quoted" \\ and\nbroken\tüñí') for number in range(runs - 1)], run(final=False))
    sender.send_events(*[event(payload={"a": [1, None, "\\n"]}) for _ in range(3)])
    return sender, aged(owner_sql, days)


def hot(owner_sql: OwnerSql, day: date) -> dict[str, list[Any]]:
    """Kind -> the day's rows as JSON, in order of id, as they lie in the database."""
    names = dict(zip(("run", "event", "score"), TABLES, strict=True))
    return {
        kind: [row for (row,) in owner_sql(f"SELECT row_to_json(t) FROM {table} t WHERE day = %s ORDER BY id", [day])]
        for kind, table in names.items()
    }


def content(address: str, tenant_id: UUID, day: date) -> dict[str, list[Any]]:
    """The same of the archive."""
    storage: Storage = open_storage(address)
    found: dict[str, list[Any]] = {"run": [], "event": [], "score": []}
    with in_tenant(tenant_id):
        parts = list(ArchivePart.objects.filter(tenant_id=tenant_id, archive__day=day).order_by("kind", "after_id"))
    for part in parts:
        found[part.kind] += [msgspec.json.decode(line) for line in lines(storage.get(part.path), part.path)]
    return {kind: sorted(rows, key=lambda row: row["id"]) for kind, rows in found.items()}


def archived(tenant_id: UUID, day: date) -> Archive:
    """Archived and let go of."""
    archive_day(tenant_id=tenant_id, day=day)
    drop_days()
    with in_tenant(tenant_id):
        return Archive.objects.get(tenant_id=tenant_id, day=day)
