"""The first page of the list of runs, narrowed by any one filter or listed pair, in a window of seven days, on many millions of runs.

Runs are written by the database itself (two tenants, nine tenths and one tenth, skewed values, some that occur a few times in all), then added
up by the task as ingested ones are. Pages are read as the API reads them: application role, row security, keyset paging; the median of
several, by the clock and by the time that the database's process was on a core. READING_RUNS sets how many runs (default 10 million), READING_DAYS
over how many days (default 7): 1,000 a minute, as ten million in a week are, is what fewer runs are measured at in fewer days.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import connection, connections

from apps.core.context import ActionContext, Actor, RoleGrant, in_tenant, system_context
from apps.core.ids import new_id
from apps.core.owner import as_owner
from apps.identity.models import Agent, Membership, Team, Tenant, User
from apps.identity.services import create_group, grant
from apps.telemetry.api.filters import RunFilter
from apps.telemetry.domain.terms import DIMENSIONS, PAIRS
from apps.telemetry.models import Run
from apps.telemetry.selectors.facets import facets
from apps.telemetry.selectors.metrics import metrics
from apps.telemetry.selectors.pages import page
from apps.telemetry.services.rolling import roll_up
from benchmarks.measuring import measured, on_core
from benchmarks.seeding import a_tenant

RUNS, DAYS = int(os.environ.get("READING_RUNS", "10000000")), float(os.environ.get("READING_DAYS", "7"))
LIMIT, TIMES = 51, 3
AGENTS, CHUNK = 50, 500_000
# A value of each filter that is common, one that a few runs in a million have, and one that only this many runs in all have.
COMMON = {
    "tier": "T1",
    "status": "completed",
    "provider": "openai",
    "model_id": "model-1",
    "persona": "persona-1",
    "skill": "skill-1",
    "mcp_server": "calendar",
    "agent": "agent-01",
    "pack": "pack-1",
    "arm": "champion",
    "task_type": "task-1",
    "success": "true",
    "pack_version": "3",
}
RARE = {
    "tier": "T3",
    "status": "stuck",
    "provider": "rare",
    "model_id": "rare",
    "persona": "rare",
    "skill": "rare",
    "mcp_server": "rare",
    "agent": "agent-rare",
    "pack": "rare",
    "arm": "challenger",
    "task_type": "rare",
    "success": "false",
    "flag": "mismatch",
    "pack_version": "99",
}
# `h` is a hash of the row's number, 0 to 999,999.
SEED = """
INSERT INTO telemetry_run (id, day, tenant_id, agent_id, run_id, final, user_ref, pack, pack_version, effective_digest, arm, task_type,
    root_task_id, task_id, tier, actor, provider, model_id, persona, skill, mcp_servers, adapter_kind, status, started_at, ended_at, latency_ms,
    tokens_in, tokens_out, token_delta, cached_tokens, cache_write_tokens, reasoning_tokens, cost_micros, success, retries, format_passed,
    approval_passed, safety_flags, checks, input, output, metadata, created_at, received_at, producer, producer_seq, flags)
SELECT gen_random_uuid(), (at AT TIME ZONE 'UTC')::date, CASE WHEN h % 10 = 7 THEN %(other)s ELSE %(tenant)s END::uuid,
    CASE WHEN h % 100000 = 1 THEN %(rare_agent)s::uuid ELSE (%(agents)s::uuid[])[1 + agent] END,
    'run-' || n, true, CASE WHEN h % 1000 = 13 THEN NULL ELSE 'u-' || h2 % 500 END,
    CASE WHEN h % 200000 IN (3, 4) THEN 'rare' ELSE 'pack-' || agent % 10 END, CASE WHEN h % 200000 = 4 THEN 99 ELSE 3 END,
    'sha256:' || repeat('0', 64), CASE WHEN h % 200 = 5 THEN 'challenger' ELSE 'champion' END,
    CASE WHEN h % 200000 = 6 THEN 'rare' ELSE 'task-' || h2 % 12 END, 'root-' || n / 10, 'task-' || n,
    CASE WHEN h % 1000 = 8 THEN 'T3' WHEN h % 10 < 7 THEN 'T1' ELSE 'T2' END, 'assistant',
    CASE WHEN h % 200000 = 9 THEN 'rare' WHEN agent % 3 = 0 THEN 'local' ELSE 'openai' END,
    CASE WHEN h % 200000 = 9 THEN 'rare' ELSE 'model-' || agent % 4 + h2 % 2 END,
    CASE WHEN h % 200000 = 11 THEN 'rare' ELSE 'persona-' || h2 % 20 END, CASE WHEN h % 200000 IN (11, 12) THEN 'rare' ELSE 'skill-' || h % 50 END,
    CASE WHEN h % 200000 = 14 THEN '["calendar", "rare"]' ELSE '["calendar", "hr"]' END::jsonb, 'openclaw',
    CASE WHEN h % 200000 = 15 THEN 'stuck' WHEN h % 20 = 1 THEN 'failed' ELSE 'completed' END, at, at, 200 + h2 % 3000,
    1800, 240, 12, 900, 0, 64, 4217, h % 500 <> 1, h % 3, true,
    true, '[]', '{"cites": true, "length": 212}', repeat(md5(n::text), 16), repeat(md5(h::text), 16), '{"channel": "chat", "region": "eu"}',
    at, at, 'gw-1', n / 500, CASE WHEN h % 50000 = 16 THEN '{mismatch}' ELSE '{}' END::text[]
FROM (
    SELECT *, least(h2 % 50, h % 50) AS agent FROM (
        SELECT n, %(begin)s::timestamptz + n * %(gap)s::interval AS at, abs(hashint8(n)::bigint) %% 1000000 AS h,
            abs(hashint8(n * 7919 + 13)::bigint) %% 1000003 AS h2
        FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
    ) numbers
) s
"""
QUEUE = """
INSERT INTO telemetry_unrolledbatch (id, tenant_id, kind, day, row_ids, open_ids, minutes, created_at)
SELECT gen_random_uuid(), tenant_id, 'r', day, array_agg(id), '{}', array_agg(DISTINCT floor(extract(epoch FROM created_at) / 60)::bigint), now()
FROM (
    SELECT id, tenant_id, day, created_at, row_number() OVER (PARTITION BY tenant_id, day ORDER BY created_at) / 1000 AS piece FROM telemetry_run
    WHERE created_at >= %s AND created_at < %s
) r GROUP BY tenant_id, day, piece
"""


def run() -> Iterator[tuple[str, str]]:
    now = datetime.now(UTC)
    with as_owner():
        tenant, other = a_tenant("bench"), a_tenant("other")
        people = dict(_people(tenant))
    seconds = _seed(tenant, other, now)
    yield "Runs stored", f"{RUNS:,} over {DAYS:g} days, two tenants, 1 KiB of text (written by the database in {seconds:.0f} s)"
    busy = 0.0
    for each in (tenant, other):
        busy += _roll_up(each.pk)
    yield "Added up", f"{1e6 * busy / RUNS:.1f} µs of the database a run ({busy:.1f} s in all)"
    with connections["owner"].cursor() as cursor:
        for table in ("telemetry_run", "telemetry_posting", "telemetry_rollup", "telemetry_facetcount"):
            cursor.execute(f"VACUUM ANALYZE {table}")
        cursor.execute("SELECT count(*), pg_total_relation_size('telemetry_posting') / 1048576 FROM telemetry_posting")
        yield "Postings", "{:,} rows, {:,} MiB".format(*cursor.fetchone())
    yield from pages(people, now)
    yield (
        "Facets of the window",
        measured(
            people["a role in the tenant"], lambda ctx: len(facets(ctx, kind="run", since=now - timedelta(DAYS), until=now)), times=TIMES
        ),
    )
    yield (
        "Metrics of the window by hour and model",
        measured(
            people["a role in the tenant"],
            lambda ctx: len(metrics(ctx, since=now - timedelta(DAYS), until=now, step=3600, group_by="model").series),
            times=TIMES,
        ),
    )


def pages(people: dict[str, ActionContext], now: datetime) -> Iterator[tuple[str, str]]:
    window = {"since": (now - timedelta(days=DAYS)).isoformat(), "until": now.isoformat()}
    singles = [(name,) for name in (*DIMENSIONS["r"],) if name in RARE]
    cases: list[tuple[str, dict[str, str]]] = [("no filter", {})]
    for names in [*singles, *PAIRS["r"]]:
        for label, values in (("common", COMMON), ("rare", RARE)):
            if all(name in values for name in names):
                cases.append((f"{' and '.join(names)}, {label}", {name: values[name] for name in names}))
        if len(names) == 2:
            cases.append((f"{' and '.join(names)}, common and rare", {names[0]: COMMON[names[0]], names[1]: RARE[names[1]]}))
        elif names[0] not in ("tier", "success"):
            cases.append((f"{names[0]}, that nothing has", {names[0]: "nothing"}))
    for label, ctx in people.items():
        worst = 0.0
        for what, query in cases:
            text = measured(ctx, lambda ctx, query=query: _page(ctx, {**window, **query}), times=TIMES)
            worst = max(worst, float(text.split(" ms")[0]))
            yield f"{label}: {what}", text
        yield f"{label}: the slowest of {len(cases)}", f"{worst:.1f} ms of the database"


class _Asked:
    """What a filter set needs of a request."""

    def __init__(self, ctx: ActionContext) -> None:
        self._request = self
        self.ctx = ctx


def _page(ctx: ActionContext, query: dict[str, str]) -> int:
    rows = RunFilter(query, queryset=Run.objects.restrict(ctx).defer("input", "output", "metadata"), request=_Asked(ctx)).qs
    return len(page(rows, limit=LIMIT))


def _people(tenant: Tenant) -> Iterator[tuple[str, ActionContext]]:
    with system_context("benchmark", tenant_id=tenant.pk).transaction():
        team = Team.objects.create(tenant=tenant, slug="support", name="Support")
        made = [Agent.objects.create(tenant=tenant, slug=f"agent-{n:02d}", name=f"Agent {n}", domain="bench") for n in range(AGENTS)]
        first = made[1]
        rare = Agent.objects.create(tenant=tenant, slug="agent-rare", name="Rare", domain="bench")
        person, granted = (User.objects.create_user(f"{new_id().hex}@example.test") for _ in range(2))
        Membership.objects.create(tenant=tenant, user=person, role="viewer", team=team, user_ref="u-7")
    system = system_context("benchmark", tenant_id=tenant.pk)
    group = create_group(ctx=system, name="few")
    for agent in (rare, first):
        grant(ctx=system, group_id=group.pk, obj=agent, actions=["view"])
    yield "a role in the tenant", ActionContext(Actor("user", new_id(), "role"), tenant.pk, "api", frozenset({RoleGrant("viewer")}))
    yield "a role in a team", ActionContext(Actor("user", person.pk, "team"), tenant.pk, "api", frozenset({RoleGrant("viewer", team.pk)}))
    yield "grants on two agents", ActionContext(Actor("user", granted.pk, "granted"), tenant.pk, "api", groups=frozenset({group.group_id}))


def _seed(tenant: Tenant, other: Tenant, now: datetime) -> float:
    begun = time.perf_counter()
    with in_tenant(tenant.pk):
        *agents, rare = Agent.objects.filter(tenant=tenant).order_by("slug").values_list("pk", flat=True)
    begin = now - timedelta(days=DAYS)
    gap = timedelta(days=DAYS) / RUNS
    with connections["owner"].cursor() as cursor:
        for ahead in range(int(DAYS) + 2):
            day = (begin + timedelta(days=ahead)).date()
            for parent in ("telemetry_run", "telemetry_event", "telemetry_runscore"):
                part = f"{parent}_{day:%Y%m%d}"
                cursor.execute("SELECT to_regclass(%s)", [part])
                if cursor.fetchone()[0] is None:
                    cursor.execute(f"CREATE TABLE {part} PARTITION OF {parent} FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')")
        for first in range(0, RUNS, CHUNK):
            last = min(first + CHUNK, RUNS) - 1
            values = {"tenant": tenant.pk, "other": other.pk, "agents": agents, "rare_agent": rare, "begin": begin, "gap": gap}
            cursor.execute(re.sub(r"(h|h2|agent) % ", r"\1 %% ", SEED), {**values, "first": first, "last": last})
            cursor.execute(QUEUE, [begin + first * gap, begin + (last + 1) * gap])
    return time.perf_counter() - begun


def _roll_up(tenant_id: UUID) -> float:
    """Seconds of the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        process = cursor.fetchone()[0]
    before = on_core(process)
    while roll_up(ctx=system_context("benchmark", tenant_id=tenant_id)):
        pass
    return (on_core(process) - before) / 1000
