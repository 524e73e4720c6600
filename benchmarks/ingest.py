"""Runs taken durably: token, validation, redaction, key ledger, COPY, commit, and only then the answer."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.seeding import PACK, shared_pack, tenants
from benchmarks.send import ID
from benchmarks.stage import OTHER_CORE, WEB_CORE, warm_memory, web

BATCH, TEXT_BYTES = 500, 1024
BATCHES, SENDERS = 240, 4


@dataclass(frozen=True, slots=True)
class Sent:
    """What a sender was answered; `cpu_s` is its own processor time."""

    accepted: int
    batches: int
    seconds: float
    cpu_s: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        return self.accepted / self.seconds

    def __str__(self) -> str:
        cpu_us = 1e6 * self.cpu_s / max(self.accepted, 1)
        return (
            f"{self.rate:,.0f} runs/s ({self.accepted:,} accepted of {self.batches * BATCH:,}, {SENDERS} senders; answer to a batch "
            f"p50 {self.p50_ms:.0f} ms, p99 {self.p99_ms:.0f} ms; a run cost the senders {cpu_us:.1f} us of a core)"
        )


def a_run(number: int, now: str, digest: str = "sha256:" + "0" * 64) -> dict[str, Any]:
    """Every field of the contract, 1 KiB of text in input and output together."""
    words = ("The employee asked about parental leave and the answer cites the handbook section. " * 12)[: TEXT_BYTES // 2]
    return {
        "run_id": ID.format(index=number),
        "final": True,
        "tenant": None,
        "team": "team",
        "agent": "agent",
        "rollout": None,
        "user_ref": f"u-{number % 500}",
        "pack": "bench-pack",
        "pack_version": 1,
        "effective_digest": digest,
        "arm": "champion",
        "task_type": "answer",
        "root_task_id": ID.format(index=number // 10 * 10),
        "task_id": ID.format(index=number),
        "tier": "T1",
        "actor": "assistant",
        "provider": "openai",
        "model_id": "gpt-5-mini",
        "persona": "helpdesk",
        "skill": "leave",
        "mcp_servers": ["calendar", "hr"],
        "adapter_kind": "openclaw",
        "status": "completed",
        "started_at": now,
        "ended_at": now,
        "latency_ms": 1200 + number % 700,
        "tokens_in": 1800,
        "tokens_out": 240,
        "token_delta": 12,
        "cached_tokens": 900,
        "cache_write_tokens": 0,
        "reasoning_tokens": 64,
        "cost_usd": "0.004217",
        "success": number % 9 != 0,
        "error_code": None if number % 9 else "timeout",
        "retries": number % 3,
        "format_passed": True,
        "approval_passed": True,
        "safety_flags": [],
        "checks": {"cites": True, "length": 212},
        "input": words,
        "output": words[::-1],
        "metadata": {"channel": "chat", "region": "eu", "attempt": 1},
        "created_at": now,
    }


def template(folder: str, digest: str) -> tuple[Path, str]:
    """The encoded runs of a batch, and what they are, in words."""
    now = datetime.now(UTC).isoformat()
    runs = [a_run(index, now, digest) for index in range(BATCH)]
    path = Path(folder) / "runs.json"
    path.write_text(json.dumps(runs))
    size = path.stat().st_size / BATCH / 1024
    words = f"batches of {BATCH} runs, {len(runs[0])} fields, {TEXT_BYTES} bytes of text, random ids, {size:.1f} KiB a run"
    return path, words


def send(port: int, token: str, path: Path, *, batches: int = 0, seconds: float = 0, core: str | None = OTHER_CORE) -> Sent:
    pinned = ["taskset", "-c", core] if core else []
    command = [sys.executable, "-m", "benchmarks.send", str(port), token, str(path), str(SENDERS), str(batches), str(seconds)]
    return Sent(**json.loads(subprocess.run([*pinned, *command], capture_output=True, text=True, check=True).stdout))


def resolved_digest(port: int, token: str) -> str:
    """What a harness reports with its runs: the digest of the pack that it resolved."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/resolve?pack={PACK}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as response:
        found: str = json.loads(response.read())["digest"]
    return found


def processor_seconds(pid: int) -> float:
    """Of a process and its children that live."""
    total = 0.0
    for path in [Path(f"/proc/{pid}/stat"), *(Path(f"/proc/{child}/stat") for child in children(pid))]:
        fields = path.read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def children(pid: int) -> list[int]:
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


def own_copy(*, indexes: bool) -> float:
    """Rows a second of PostgreSQL's own COPY, from memory into a table with the columns of the runs, committed durably: the same rows, one
    connection, no row security, no ledger, nothing to decode or redact."""
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("SET synchronous_commit = on")
        like = "INCLUDING ALL" if indexes else ""
        owner.execute(f"CREATE TABLE bench_copy (LIKE telemetry_run {like})")
        try:
            rows = io.BytesIO()
            with owner.cursor().copy(f"COPY (SELECT * FROM telemetry_run LIMIT {20 * BATCH}) TO STDOUT (FORMAT binary)") as copy:
                for data in copy:
                    rows.write(data)
            found = 0
            begun = time.perf_counter()
            while time.perf_counter() - begun < 5:
                # Each round is a transaction of 10,000 rows; the next one begins with an empty table.
                with owner.cursor().copy("COPY bench_copy FROM STDIN (FORMAT binary)") as copy:
                    copy.write(rows.getvalue())
                found += 20 * BATCH
                spent = time.perf_counter()
                owner.execute("TRUNCATE bench_copy")
                begun += time.perf_counter() - spent
            return found / (time.perf_counter() - begun)
        finally:
            owner.execute("DROP TABLE bench_copy")


def run() -> Iterator[tuple[str, str]]:
    """Rows of (what, figure)."""
    token = tenants(shared_pack(body_bytes=4000), 1)[0]
    with tempfile.TemporaryDirectory() as folder, web() as (port, process):
        path, words = template(folder, resolved_digest(port, token))
        yield "Payload", words
        warm_memory()
        send(port, token, path, batches=20)
        before = processor_seconds(process.pid)
        found = send(port, token, path, batches=BATCHES)
        spent = processor_seconds(process.pid) - before
        yield "Runs taken durably, one web process", f"{found}"
        yield "Processor time of the web process", f"{1e6 * spent / found.accepted:.1f} us a run (core {WEB_CORE})"
        for indexes in (False, True):
            rate = own_copy(indexes=indexes)
            what = "with the indexes of the runs" if indexes else "without indexes"
            yield f"PostgreSQL's own COPY of these rows, {what}", f"{rate:,.0f} rows/s; ingest is {found.rate / rate:.0%} of it"
    stored = stored_runs(token)
    taken = found.accepted + 20 * BATCH
    yield "Stored = accepted", f"{stored:,} = {taken:,}" if stored == taken else f"NO: {stored} and {taken}"


def stored_runs(token: str) -> int:
    from apps.core.context import EVERY_USER, in_tenant
    from apps.identity.tokens import authenticate
    from apps.telemetry.models import Run

    with in_tenant(authenticate(f"Bearer {token}").tenant_id, EVERY_USER):
        return Run.objects.count()
