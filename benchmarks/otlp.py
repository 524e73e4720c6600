"""Spans taken durably: token, protobuf, mapping, redaction, key ledger, COPY, commit, and only then the answer; beside PostgreSQL's own COPY
of the same rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.seeding import shared_pack, tenants
from benchmarks.stage import OTHER_CORE, warm_memory, web

# The SDKs' export size; ten spans a trace: an agent, six calls of a model, three tools.
BATCH, TRACE = 512, 10
BATCHES, SENDERS = 120, 4
TEXT = ("The employee asked about parental leave and the answer cites the handbook section. " * 12)[:512]
CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.response.model": "gpt-5-mini-2025-08-07",
    "gen_ai.response.id": "chatcmpl-9J3x",
    "gen_ai.conversation.id": "conv-17",
    "gen_ai.usage.input_tokens": 1800,
    "gen_ai.usage.output_tokens": 240,
    "gen_ai.usage.cache_read.input_tokens": 900,
    "gen_ai.request.max_tokens": 500,
    "server.address": "api.openai.com",
    "server.port": 443,
    "gen_ai.input.messages": TEXT,
    "gen_ai.output.messages": TEXT[::-1],
}
TOOL = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "search",
    "gen_ai.tool.call.id": "call_7",
    "gen_ai.tool.call.arguments": '{"query": "parental leave"}',
    "gen_ai.tool.call.result": TEXT,
}
AGENT = {
    "gen_ai.operation.name": "invoke_agent",
    "gen_ai.agent.name": "helpdesk",
    "gen_ai.input.messages": TEXT,
    "gen_ai.output.messages": TEXT[::-1],
    "mc.pack": "bench-pack",
    "mc.task_type": "answer",
}


def a_batch(number: int, now_ns: int) -> bytes:
    """One export, of whole traces but for those at its ends."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    scope.scope.name = "bench"
    for at in range(number * BATCH, (number + 1) * BATCH):
        trace, place = divmod(at, TRACE)
        root = place == TRACE - 1
        name, attributes = (
            ("invoke_agent helpdesk", AGENT) if root else ("chat gpt-5-mini", CALL) if place % 3 else ("execute_tool search", TOOL)
        )
        span = scope.spans.add(
            trace_id=(trace + 1).to_bytes(16, "big"),
            span_id=(place + 1).to_bytes(8, "big"),
            parent_span_id=b"" if root else TRACE.to_bytes(8, "big"),
            name=name,
            start_time_unix_nano=now_ns,
            end_time_unix_nano=now_ns + 1_200_000_000,
        )
        for key, value in attributes.items():
            pair = span.attributes.add(key=key)
            if isinstance(value, int):
                pair.value.int_value = value
            else:
                pair.value.string_value = str(value)
    return request.SerializeToString()


def run() -> Iterator[tuple[str, str]]:
    """Rows of (what, figure)."""
    token = tenants(shared_pack(body_bytes=4000), 1)[0]
    now_ns = time.time_ns()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(BATCHES):
            (Path(folder) / f"{number:05d}.pb").write_bytes(a_batch(number, now_ns))
        body = (Path(folder) / "00000.pb").read_bytes()
        yield "Payload", f"protobuf, {BATCH} spans a request, {TRACE} a trace, {len(body) / BATCH:,.0f} bytes a span, half to 1 KiB of text"
        yield from _cpu(body)
        with web() as (port, _):
            command = [sys.executable, "-m", "benchmarks.send_bodies", str(port), token, folder, str(SENDERS)]
            command += ["/api/v1/otlp/v1/traces", "application/x-protobuf"]
            warm_memory()
            printed = subprocess.run(["taskset", "-c", OTHER_CORE, *command], capture_output=True, text=True, check=True).stdout
    found = json.loads(printed)
    sent = BATCHES * BATCH
    yield (
        "Spans taken durably, one web process",
        f"{found['answered'] * BATCH / found['seconds']:,.0f} spans/s ({found['answered']} of {BATCHES} requests taken, {SENDERS} senders; "
        f"answer p50 {found['p50_ms']:.0f} ms, p99 {found['p99_ms']:.0f} ms)",
    )
    yield from _stored(token, sent)


def _cpu(body: bytes) -> Iterator[tuple[str, str]]:
    """Of the same bytes in this process, by its own CPU time: the quickest of several times."""
    from apps.telemetry.domain.otlp import protobuf
    from apps.telemetry.domain.otlp.batch import to_batch

    def quickest(work: Any) -> float:
        times = []
        for _ in range(20):
            begun = time.process_time()
            work()
            times.append(time.process_time() - begun)
        return min(times) * 1e6 / BATCH

    whole, decoded = quickest(lambda: to_batch(protobuf.decode(body))), quickest(lambda: protobuf.decode(body))
    yield "CPU of decoding and mapping", f"{whole:.0f} µs a span, {decoded:.0f} of them for the protobuf"


def _stored(token: str, sent: int) -> Iterator[tuple[str, str]]:
    from django.utils import timezone

    from apps.core.context import EVERY_USER, in_tenant, system_context
    from apps.identity.tokens import authenticate
    from apps.telemetry.models import Event, Run
    from apps.telemetry.services.otlp import SETTLE, settle_traces

    tenant_id = authenticate(f"Bearer {token}").tenant_id
    ctx = system_context("benchmarks", tenant_id=tenant_id)
    begun, cpu = time.perf_counter(), time.process_time()
    while settle_traces(ctx=ctx, now=timezone.now() + SETTLE):
        pass
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    with in_tenant(tenant_id, EVERY_USER):
        events, runs, final = Event.objects.count(), Run.objects.count(), Run.objects.filter(final=True, tokens_in__gt=0).count()
    right = events == sent and final == runs == sent // TRACE
    yield "Settled afterwards, one process", f"{sent / seconds:,.0f} spans/s, {cpu * 1e6 / sent:.0f} µs of CPU a span"
    yield (
        "Stored = sent",
        f"{'' if right else 'NO: '}{events:,} events of {sent:,} spans, {final:,} of {runs:,} runs final with the sum of their calls",
    )
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("CREATE TABLE bare AS SELECT * FROM telemetry_event WITH NO DATA")
        with owner.cursor().copy("COPY (SELECT * FROM telemetry_event) TO STDOUT (FORMAT binary)") as out:
            rows = [bytes(piece) for piece in out]
        begun = time.perf_counter()
        with owner.cursor().copy("COPY bare FROM STDIN (FORMAT binary)") as into:
            for piece in rows:
                into.write(piece)
        yield "PostgreSQL's COPY of these events, no index, no policy", f"{events / (time.perf_counter() - begun):,.0f} rows/s"
        owner.execute("DROP TABLE bare")
