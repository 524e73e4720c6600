"""The whole archive cycle: a day of runs is read, packed, written, read again and let go of."""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.ingest import a_run
from benchmarks.seeding import shared_pack, tenants

ROWS = 300_000
TEXTS = 2_000


def run() -> Iterator[tuple[str, str]]:
    """Rows of (what, figure)."""
    from django.conf import settings

    from apps.core.context import EVERY_USER, in_tenant
    from apps.identity.tokens import authenticate
    from apps.telemetry.models import Archive
    from apps.telemetry.services.archiving import archive_day
    from apps.telemetry.services.releasing import drop_days

    tenant_id = authenticate(f"Bearer {tenants(shared_pack(body_bytes=4000), 1)[0]}").tenant_id
    day = datetime.now(UTC).date() - timedelta(days=9)
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner, tempfile.TemporaryDirectory() as folder:
        settings.ARCHIVE_STORE = str(Path(folder) / "archives")
        fill(owner, tenant_id, day)
        fields = len(a_run(0, ""))
        started, used = time.perf_counter(), _cpu()
        archive = archive_day(tenant_id=tenant_id, day=day)
        archived = time.perf_counter()
        assert drop_days() == {day: "dropped"}
        seconds, worked = time.perf_counter() - started, _cpu() - used
        with in_tenant(tenant_id, EVERY_USER):
            stored = Archive.objects.get(day=day)
        assert stored.rows == archive.rows == ROWS
        yield "Payload", f"{ROWS:,} runs of {fields} fields with 1 KiB of text, {stored.bytes / ROWS:,.0f} bytes each in the archive"
        dropped, portal = seconds - (archived - started), worked / ROWS * 1e6
        yield (
            "Read, packed, written, read again, dropped",
            f"{ROWS / seconds:,.0f} rows/s ({seconds:.1f} s, of which the drop {dropped:.2f} s; the portal's CPU {portal:.0f} µs a row)",
        )
        fill(owner, tenant_id, day - timedelta(days=1))
        begun = time.perf_counter()
        with owner.cursor().copy(f"COPY telemetry_run_{day - timedelta(days=1):%Y%m%d} TO STDOUT") as copy:
            size = sum(len(block) for block in copy)
        copied = time.perf_counter() - begun
        yield (
            "PostgreSQL's own COPY TO of the same rows, unpacked, one connection",
            f"{ROWS / copied:,.0f} rows/s, {size / ROWS:,.0f} bytes a row",
        )


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def fill(owner: psycopg.Connection[Any], tenant_id: Any, day: Any) -> None:
    """A day of the past with runs as the ingest benchmark sends them; texts of mixed words."""
    item = a_run(0, f"{day}T12:00:00+00:00")
    row = {name: value for name, value in item.items() if name not in ("agent", "cost_usd", "input", "output", "run_id")}
    row |= {"id": None, "day": day.isoformat(), "tenant_id": str(tenant_id), "agent_id": str(tenant_id), "cost_micros": 4217}
    row |= {"received_at": item["created_at"], "flags": [], "redactions": [], "producer": "p", "producer_seq": 1}
    owner.execute(
        f"CREATE TABLE telemetry_run_{day:%Y%m%d} PARTITION OF telemetry_run FOR VALUES FROM ('{day}') TO ('{day + timedelta(1)}')"
    )
    owner.execute(
        "CREATE TEMPORARY TABLE IF NOT EXISTS words AS SELECT n, (SELECT string_agg(md5((n * 31 + w)::text), ' ') FROM generate_series(1, 16) w)"
        f" AS said FROM generate_series(0, {TEXTS - 1}) n"
    )
    owner.execute(
        "INSERT INTO telemetry_run SELECT r.* FROM generate_series(1, %s) AS n JOIN words w ON w.n = n.n %% %s, LATERAL json_populate_record("
        "json_populate_record(NULL::telemetry_run, %s::json), json_build_object('id', ('018f0000-0000-7000-8000-' || lpad(to_hex(n.n), 12, '0')),"
        " 'run_id', 'run-' || n.n, 'input', left(w.said, 512), 'output', right(w.said, 512))) r",
        [ROWS, TEXTS, json.dumps(row)],
    )
    owner.execute(f"ANALYZE telemetry_run_{day:%Y%m%d}")
