"""Ingest into an empty database, and into one that holds millions of runs of today. FLAT_MILLIONS sets how many (10).

They are written by the server, without texts, all else as ingest leaves it: what a run costs later depends on the indexes and the key ledger that it
is entered into, not on the texts beside it. Their ids are random and in no order, as those of the runs that follow: the worst case.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

from benchmarks.ingest import Sent, resolved_digest, send, template
from benchmarks.seeding import shared_pack, tenants
from benchmarks.stage import settle, warm_memory, web

_RUNS = """
INSERT INTO telemetry_run (id, day, tenant_id, agent_id, run_id, final, pack, pack_version, arm, root_task_id, tier, provider, model_id, status,
    success, latency_ms, tokens_in, tokens_out, cost_micros, started_at, created_at, received_at)
SELECT uuidv7(), (now() AT TIME ZONE 'UTC')::date, %(tenant)s, %(agent)s, left(md5(n::text), 16), true, 'bench-pack', 1, 'champion',
    left(md5((n / 10)::text), 16), 'T1', 'openai', 'gpt-5-mini', 'completed', true, 900, 1800, 240, 4217, now(), now(), now()
FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
"""
_KEYS = """
INSERT INTO telemetry_ledger (tenant_id, kind, key, day, final, hashes, row_id)
SELECT %(tenant)s, 'r', left(md5(n::text), 16), (now() AT TIME ZONE 'UTC')::date, true, decode(md5('h' || n), 'hex'), uuidv7()
FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
"""
STEP, SECONDS = 250_000, 60


def run() -> Iterator[tuple[str, str]]:
    """Rows of (what, figure)."""
    from apps.identity.tokens import authenticate

    rows = int(float(os.environ.get("FLAT_MILLIONS", "10")) * 1_000_000)
    token = tenants(shared_pack(body_bytes=4000), 1)[0]
    principal = authenticate(f"Bearer {token}")
    with tempfile.TemporaryDirectory() as folder, web() as (port, _):
        path, words = template(folder, resolved_digest(port, token))
        yield "Payload", words
        empty = sustained(port, token, path)
        yield f"Into an empty database, for {SECONDS} s", str(empty)
        with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
            for first in range(0, rows, STEP):
                values = {"tenant": principal.tenant_id, "agent": principal.agent_id, "first": first, "last": min(first + STEP, rows) - 1}
                owner.execute(_RUNS, values)
                owner.execute(_KEYS, values)
            # What a day of ingest would have had by now.
            owner.execute("ANALYZE telemetry_run, telemetry_ledger")
        settle()
        full = sustained(port, token, path)
    yield f"Into one with {rows:,} runs of today, for {SECONDS} s", f"{full}; {full.rate / empty.rate - 1:+.0%}"


def sustained(port: int, token: str, path: Path) -> Sent:
    """As much as is taken in SECONDS: long enough that what a checkpoint makes dear at first (whole pages in the log) is spread out."""
    warm_memory()
    send(port, token, path, batches=20)
    return send(port, token, path, seconds=SECONDS)
