"""Runs taken durably: token, validation, redaction, key ledger, COPY, commit, and only then the answer."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.seeding import shared_pack, tenants
from benchmarks.stage import OTHER_CORE, web

BATCH, TEXT_BYTES = 500, 1024
BATCHES, SENDERS = 120, 4


def a_run(number: int, now: str) -> dict[str, Any]:
    """Every field of the contract, 1 KiB of text in input and output together."""
    words = ("The employee asked about parental leave and the answer cites the handbook section. " * 12)[: TEXT_BYTES // 2]
    return {
        "run_id": f"run-{number:09d}",
        "final": True,
        "agent": "agent",
        "rollout": None,
        "user_ref": f"u-{number % 500}",
        "pack": "bench-pack",
        "pack_version": 1,
        "effective_digest": "sha256:" + "0" * 64,
        "arm": "champion",
        "task_type": "answer",
        "root_task_id": f"root-{number // 10}",
        "task_id": f"task-{number}",
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


def run() -> Iterator[tuple[str, str]]:
    """Rows of (what, figure)."""
    pack = shared_pack(body_bytes=4000)
    token = tenants(pack, 1)[0]
    now = datetime.now(UTC).isoformat()
    with tempfile.TemporaryDirectory() as folder:
        for batch in range(BATCHES):
            runs = [a_run(batch * BATCH + index, now) for index in range(BATCH)]
            body = json.dumps({"producer": f"bench-{batch % SENDERS}", "seq": batch // SENDERS + 1, "runs": runs})
            (Path(folder) / f"{batch:05d}.json").write_text(body)
        size = (Path(folder) / "00000.json").stat().st_size
        fields = len(a_run(0, now))
        yield "Payload", f"batches of {BATCH} runs, {fields} fields, {TEXT_BYTES} bytes of text, {size / BATCH / 1024:.1f} KiB a run"
        with web() as (port, _):
            command = [sys.executable, "-m", "benchmarks.send", str(port), token, folder, str(SENDERS)]
            printed = subprocess.run(["taskset", "-c", OTHER_CORE, *command], capture_output=True, text=True, check=True).stdout
        found = json.loads(printed)
        yield (
            "Runs taken durably, one web process",
            (
                f"{found['accepted'] / found['seconds']:,.0f} runs/s ({found['accepted']:,} accepted of {BATCHES * BATCH:,}, {SENDERS} senders; "
                f"answer to a batch p50 {found['p50_ms']:.0f} ms, p99 {found['p99_ms']:.0f} ms)"
            ),
        )
    from apps.core.context import EVERY_USER, in_tenant
    from apps.identity.tokens import authenticate
    from apps.telemetry.models import Run

    with in_tenant(authenticate(f"Bearer {token}").tenant_id, EVERY_USER):
        stored = Run.objects.count()
    yield (
        "Stored = accepted",
        f"{stored:,} = {found['accepted']:,}" if stored == found["accepted"] else f"NO: {stored} and {found['accepted']}",
    )
