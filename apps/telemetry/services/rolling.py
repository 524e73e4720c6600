"""Adding up what came in: figures by minute, hour and day, counts of values, terms for lists, and what was last seen of each model.

Claim, figures and the end of the claim are one transaction, so every row counts once, whatever is repeated or broken off. The work is the
database's: rows are copied into a narrow temporary table and added up there.
"""

# ruff: noqa: S608 -- every name in the SQL is a constant of this module or of domain/

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from apps.core.context import ActionContext
from apps.core.ids import new_id
from apps.telemetry.domain.sketch import BUCKET_SQL
from apps.telemetry.domain.terms import DIMENSIONS, PAIRS, SEVERAL, UNCOUNTED
from apps.telemetry.services.storage import cursor

# Rows of one transaction: some whole batches, at least one.
LIMIT = 20_000
# A value that is rarer in a minute is listed with its keys; of one that is more frequent a page looks through the minute.
MAX_IDS = 64
# Different values of one dimension that one transaction counts by name; the others are summed under "".
MAX_VALUES = 50

_WAIT = """
INSERT INTO telemetry_unrolledbatch (id, tenant_id, kind, day, row_ids, open_ids, minutes, created_at)
VALUES (%b, %b, %b, %b, %b::uuid[], %b::uuid[], %b::bigint[], %b)
"""
# One worker a tenant: figures of two would wait for each other's rows. What it groups is kept in memory.
_ALONE = """
SELECT pg_try_advisory_xact_lock(hashtextextended('telemetry.roll_up' || %s::text, 0)), set_config('work_mem', '64MB', true)
"""
_CLAIM = """
SELECT b.id, b.kind, b.day, b.row_ids, b.open_ids FROM telemetry_unrolledbatch b
WHERE b.tenant_id = %s AND b.id IN (
    SELECT id FROM (
        SELECT id, size, sum(size) OVER (ORDER BY id) AS upto FROM (
            SELECT id, cardinality(row_ids) + cardinality(open_ids) AS size FROM telemetry_unrolledbatch WHERE tenant_id = %s ORDER BY id LIMIT %s
        ) first
    ) counted WHERE upto - size < %s
) ORDER BY b.id FOR UPDATE SKIP LOCKED
"""
_PREPARE = """
CREATE TEMPORARY TABLE IF NOT EXISTS telemetry_rolling (
    id uuid, counted bool, at timestamptz, team uuid, agent uuid, pack text, pack_version int, arm text, provider text, model_id text,
    of_user bool, mark bigint, success bool, tokens_in bigint, tokens_out bigint, cost_micros bigint, latency_ms bigint, bucket int, score int,
    error text, tier text, status text, persona text, skill text, task_type text, action text, mcp_tool text, mcp_server text[],
    flag text[], user_ref text
) ON COMMIT DELETE ROWS;
DELETE FROM pg_temp.telemetry_rolling
"""
# Marks tell a tenant's users apart, and say nothing of them.
_RUN_NAMES = f"""
    r.created_at, r.team_id, r.agent_id, r.pack, r.pack_version, r.arm, r.provider, r.model_id, r.user_ref IS NOT NULL,
    hashtextextended(r.user_ref, hashtextextended(r.tenant_id::text, 0)), r.success, r.tokens_in, r.tokens_out, r.cost_micros, r.latency_ms,
    {BUCKET_SQL.format("r.latency_ms")}
"""
_FILL = {
    "r": f"""
INSERT INTO pg_temp.telemetry_rolling
SELECT r.id, %(counted)s, {_RUN_NAMES}, NULL, coalesce(r.error_code, r.status, 'failed'), r.tier, r.status, r.persona, r.skill, r.task_type,
    NULL, NULL, CASE WHEN jsonb_typeof(r.mcp_servers) = 'array' THEN ARRAY(SELECT DISTINCT jsonb_array_elements_text(r.mcp_servers)) END,
    r.flags, r.user_ref
FROM telemetry_run r WHERE r.tenant_id = %(tenant)s AND r.day = %(day)s AND r.id = ANY(%(ids)s)
""",
    "s": f"""
INSERT INTO pg_temp.telemetry_rolling
SELECT r.id, false, {_RUN_NAMES}, s.score
FROM telemetry_run r JOIN telemetry_runscore s ON s.id = r.id AND s.day = r.day AND s.day = %(day)s
WHERE r.tenant_id = %(tenant)s AND r.day = %(day)s AND r.id = ANY(%(ids)s)
""",
    # Whose an event is, its run says; one that names a run, or waits for one, is taken for a user's.
    "e": """
INSERT INTO pg_temp.telemetry_rolling
SELECT e.id, %(counted)s, e.created_at, e.team_id, e.agent_id, NULL, NULL, NULL, e.provider, e.model_id,
    e.run_id IS NOT NULL OR 'unsettled' = ANY (e.flags), NULL,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, e.tier, e.status, e.persona, e.skill, NULL, e.action, e.mcp_tool, ARRAY[e.mcp_server],
    array_remove(e.flags, 'unsettled')
FROM telemetry_event e WHERE e.tenant_id = %(tenant)s AND e.day = %(day)s AND e.id = ANY(%(ids)s)
""",
}
_KEY = "team, agent, pack, pack_version, arm, provider, model_id, of_user"
_COLUMNS = "team_id, agent_id, pack, pack_version, arm, provider, model_id, of_user"
_SUMS = (
    *("runs", "successes", "failures", "tokens_in", "tokens_out", "cost_micros", "cost_count", "latency_sum", "latency_count"),
    *("score_sum", "score_count"),
)
_ONCE = "(tenant_id, step, start, agent_id, team_id, pack, pack_version, arm, provider, model_id, of_user)"
_EPOCH = "timestamptz '1970-01-01 00:00:00+00'"
_FIGURES = f"""
WITH minutes AS (
    SELECT date_bin('1 minute', at, {_EPOCH}) AS start, {_KEY}, CASE WHEN counted THEN bucket END AS bucket,
        count(*) FILTER (WHERE counted) AS runs, count(*) FILTER (WHERE counted AND success) AS successes,
        count(*) FILTER (WHERE counted AND NOT success) AS failures, sum(tokens_in) FILTER (WHERE counted) AS tokens_in,
        sum(tokens_out) FILTER (WHERE counted) AS tokens_out, sum(cost_micros) FILTER (WHERE counted) AS cost_micros,
        count(cost_micros) FILTER (WHERE counted) AS cost_count, sum(latency_ms) FILTER (WHERE counted) AS latency_sum,
        count(latency_ms) FILTER (WHERE counted) AS latency_count, sum(score) AS score_sum, count(score) AS score_count
    FROM pg_temp.telemetry_rolling WHERE counted OR score IS NOT NULL GROUP BY 1, {_KEY}, 10
), steps AS (
    SELECT step, date_bin(make_interval(secs => step), start, {_EPOCH}) AS start, {_KEY}, bucket,
        {", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in _SUMS)}
    FROM minutes CROSS JOIN (VALUES (60), (3600), (86400)) v (step) GROUP BY 1, 2, {_KEY}, bucket
)
INSERT INTO telemetry_rollup AS r (tenant_id, step, start, {_COLUMNS}, {", ".join(_SUMS)}, latencies, users, marks)
SELECT %(tenant)s, step, start, {_KEY}, {", ".join(f"sum({name})" for name in _SUMS)},
    coalesce(array_agg(ARRAY[bucket, latency_count::bigint] ORDER BY bucket) FILTER (WHERE bucket IS NOT NULL), '{{}}'), 0, '{{}}'
FROM steps GROUP BY step, start, {_KEY}
ON CONFLICT {_ONCE} DO UPDATE SET {", ".join(f"{name} = r.{name} + excluded.{name}" for name in _SUMS)},
    latencies = telemetry_add_sketches(r.latencies, excluded.latencies)
"""
_USERS = f"""
INSERT INTO telemetry_rollup AS r (tenant_id, step, start, {_COLUMNS}, {", ".join(_SUMS)}, latencies, users, marks)
SELECT %(tenant)s, 3600, start, {_KEY}, {", ".join("0" for _ in _SUMS)}, '{{}}', 0, array_agg(mark)
FROM (SELECT DISTINCT date_bin('1 hour', at, {_EPOCH}) AS start, {_KEY}, mark FROM pg_temp.telemetry_rolling WHERE counted AND of_user) seen
GROUP BY start, {_KEY}
ON CONFLICT {_ONCE} DO UPDATE SET (users, marks) = (
    SELECT least(count(*), 5), CASE WHEN count(*) < 5 THEN array_agg(mark) ELSE '{{}}' END
    FROM (SELECT DISTINCT unnest(r.marks || excluded.marks) AS mark) united
) WHERE r.users < 5
"""
_MODELS = """
INSERT INTO telemetry_modelhealth AS h
    (id, tenant_id, provider, model_id, "window", total_calls, success_calls, failed_calls, last_used_at, last_error, last_error_at, updated_at)
SELECT gen_random_uuid(), %(tenant)s, provider, model_id, w, 0, 0, 0, used, error, error_at, now() FROM (
    SELECT provider, model_id, least(max(at), now()) AS used, (array_agg(error ORDER BY at DESC) FILTER (WHERE NOT success))[1] AS error,
        least(max(at) FILTER (WHERE NOT success), now()) AS error_at
    FROM pg_temp.telemetry_rolling WHERE counted AND provider IS NOT NULL AND model_id IS NOT NULL GROUP BY provider, model_id
) seen CROSS JOIN (VALUES ('1h'), ('24h'), ('7d')) v (w)
ON CONFLICT (tenant_id, provider, model_id, "window") DO UPDATE SET last_used_at = greatest(h.last_used_at, excluded.last_used_at),
    last_error = CASE WHEN excluded.last_error_at >= coalesce(h.last_error_at, '-infinity') THEN excluded.last_error ELSE h.last_error END,
    last_error_at = greatest(h.last_error_at, excluded.last_error_at)
"""


# Columns in which the values of pairs stand in the order of their names in every pair.
_ORDER = (
    *("tier", "agent", "action", "status", "pack", "pack_version", "arm", "provider", "model_id", "persona", "skill", "mcp_server"),
    *("mcp_tool", "task_type", "success", "team", "user"),
)
# What counts are told apart by besides.
_ALONG = f"date_bin('1 hour', at, {_EPOCH}) AS hour, team AS of_team, of_user, floor(date_part('epoch', at) / 60)::bigint AS minute"
# Where a dimension is not a column of the same name.
_EXPRESSIONS = {("e", "mcp_server"): "mcp_server[1]", ("r", "user"): "coalesce(user_ref, '')"}


def _grouped(kind: str, sets: Sequence[tuple[str, ...]], along: str, figure: str, where: str) -> str:
    """SQL of ({along}, dimension, value, figure) for each value of each of the sets of dimensions, in one pass over the rows; a row that
    lacks one of the values is in no group."""
    several = SEVERAL[kind]
    plain = [names for names in sets if not set(names) & set(several)]
    used = [name for name in _ORDER if any(name in names for names in plain)]
    columns = {name: f'({_EXPRESSIONS.get((kind, name), name)})::text AS "{name}"' for name in used}
    quoted = ", ".join(f'"{name}"' for name in used)
    masks = {names: sum(1 << (len(used) - 1 - at) for at, name in enumerate(used) if name not in names) for names in plain}
    dimension = " ".join(f"WHEN {mask} THEN '{','.join(names)}'" for names, mask in masks.items())
    size = " ".join(f"WHEN {mask} THEN {len(names)}" for names, mask in masks.items())
    grouping_sets = ", ".join(f"({along}, {', '.join(chr(34) + name + chr(34) for name in names)})" for names in plain)
    source = f"SELECT {_ALONG}, id, counted, {', '.join(columns.values())} FROM pg_temp.telemetry_rolling"
    pieces = [
        f"SELECT {along}, CASE GROUPING({quoted}) {dimension} END, concat_ws(chr(31), {quoted}), {figure} FROM ({source}) n {where}"
        f" GROUP BY GROUPING SETS ({grouping_sets}) HAVING num_nonnulls({quoted}) = CASE GROUPING({quoted}) {size} END"
    ]
    for name in (each for each in several if (each,) in sets):
        values = f"SELECT {_ALONG}, id, counted, unnest({name}) AS value FROM pg_temp.telemetry_rolling"
        pieces.append(
            f"SELECT {along}, '{name}', value, {figure} FROM ({values}) n {where} GROUP BY {along}, value HAVING value IS NOT NULL"
        )
    return " UNION ALL ".join(pieces)


def _facets(kind: str, *, only: str = "") -> str:
    """With `only`: that dimension of rows that were counted before it was known."""
    sets = [(only,)] if only else [(name,) for name in DIMENSIONS[kind] if name not in UNCOUNTED]
    counted = "WHERE NOT counted" if only else "WHERE counted"
    return f"""
INSERT INTO telemetry_facetcount AS f (tenant_id, kind, hour, dimension, value, team_id, of_user, count)
SELECT %(tenant)s, '{kind}', hour, dimension, CASE WHEN place <= {MAX_VALUES} THEN value ELSE '' END, of_team, of_user, sum(n) FROM (
    SELECT *, dense_rank() OVER (PARTITION BY dimension ORDER BY total DESC, value) AS place FROM (
        SELECT *, sum(n) OVER (PARTITION BY dimension, value) AS total FROM (
            {_grouped(kind, sets, "hour, of_team, of_user", "count(*)", counted)}
        ) counted (hour, of_team, of_user, dimension, value, n)
    ) summed
) ranked GROUP BY hour, dimension, 5, of_team, of_user
ON CONFLICT ON CONSTRAINT telemetry_facetcount_once DO UPDATE SET count = f.count + excluded.count
"""


def _postings(kind: str) -> str:
    sets = [*((name,) for name in DIMENSIONS[kind]), *PAIRS[kind]]
    figure = f"CASE WHEN count(*) <= {MAX_IDS} THEN array_agg(id) END"
    return f"""
INSERT INTO telemetry_posting AS p (tenant_id, term, minute, first_day, last_day, ids)
SELECT %(tenant)s, hashtextextended('{kind}:' || dimension || '=' || value, 0) AS term, minute, %(day)s, %(day)s, ids FROM (
    {_grouped(kind, sets, "minute", figure, "")}
) found (minute, dimension, value, ids) ORDER BY term, minute
ON CONFLICT (tenant_id, term, minute) DO UPDATE SET
    ids = CASE WHEN cardinality(p.ids) + cardinality(excluded.ids) <= {MAX_IDS} THEN p.ids || excluded.ids END,
    first_day = least(p.first_day, excluded.first_day), last_day = greatest(p.last_day, excluded.last_day)
    WHERE p.ids IS NOT NULL OR p.first_day > excluded.first_day OR p.last_day < excluded.last_day
"""


_COUNTED = {
    "r": (_FIGURES, _USERS, _facets("r"), _postings("r"), _MODELS),
    "s": (_FIGURES,),
    "e": (_facets("e"), _facets("e", only="tier"), _postings("e")),
}


def await_roll_up(
    cur: Any,
    ctx: ActionContext,
    kind: str,
    day: date,
    ids: list[UUID],
    *,
    open_ids: list[UUID] | None = None,
    moments: Iterable[datetime] = (),
    now: datetime,
) -> None:
    """Queues rows of one partition, in the transaction that stored them: runs that are final now (`r`), events (`e`), scored runs (`s`).
    `open_ids` are runs that are not final yet, and events that learned their tier after they were queued; `moments` the rows' `created_at`,
    where they are known."""
    minutes = sorted({int(moment.timestamp() // 60) for moment in set(moments)})
    cur.execute(_WAIT, [new_id(), ctx.tenant_id, kind, day, ids, open_ids or [], minutes, now])


def roll_up(*, ctx: ActionContext, limit: int = LIMIT) -> int:
    """Adds up about `limit` of the tenant's rows that wait, oldest first; how many. 0 as well where another worker is at it."""
    with ctx.transaction(), connection.wrap_database_errors:
        cur = cursor()
        cur.execute(_ALONE, [ctx.tenant_id])
        found = cur.fetchone()
        if found is None or not found[0]:
            return 0
        cur.execute(_CLAIM, [ctx.tenant_id, ctx.tenant_id, limit, limit])
        batches = cur.fetchall()
        groups: dict[tuple[str, date], tuple[list[UUID], list[UUID]]] = {}
        for _, kind, day, row_ids, open_ids in batches:
            final, open_ = groups.setdefault((kind, day), ([], []))
            final.extend(row_ids)
            open_.extend(open_ids)
        for (kind, day), (final, open_) in groups.items():
            cur.execute(_PREPARE)
            for counted, ids in ((True, final), (False, open_)):
                if ids:
                    cur.execute(_FILL[kind], {"tenant": ctx.tenant_id, "day": day, "ids": ids, "counted": counted})
            for statement in _COUNTED[kind]:
                cur.execute(statement, {"tenant": ctx.tenant_id, "day": day})
        cur.execute("DELETE FROM telemetry_unrolledbatch WHERE tenant_id = %s AND id = ANY(%s)", [ctx.tenant_id, [b[0] for b in batches]])
        return sum(len(final) + len(open_) for final, open_ in groups.values())


def post_again(kind: str, tenant_id: UUID, day: date, ids: list[UUID]) -> None:
    """Posts the terms of runs (`r`) or events (`e`) that are back in the database, in the transaction that brought them; they were counted
    when they first came. Waits for a roll-up of the tenant that is under way."""
    cur = cursor()
    cur.execute(_ALONE.replace("pg_try_", "pg_"), [tenant_id])
    for at in range(0, len(ids), LIMIT):
        cur.execute(_PREPARE)
        cur.execute(_FILL[kind], {"tenant": tenant_id, "day": day, "ids": ids[at : at + LIMIT], "counted": False})
        cur.execute(_postings(kind), {"tenant": tenant_id, "day": day})


_HEALTH = """
UPDATE telemetry_modelhealth h SET total_calls = coalesce(f.runs, 0), success_calls = coalesce(f.successes, 0),
    failed_calls = coalesce(f.failures, 0), avg_latency_ms = round(f.latency_sum / nullif(f.latency_count, 0)),
    avg_cost_micros = round(f.cost_micros / nullif(f.cost_count, 0)), quality_score = round(f.score_sum / nullif(f.score_count, 0)),
    updated_at = %(now)s
FROM telemetry_modelhealth k LEFT JOIN (
    SELECT provider, model_id, sum(runs) AS runs, sum(successes) AS successes, sum(failures) AS failures, sum(latency_sum) AS latency_sum,
        sum(latency_count) AS latency_count, sum(cost_micros) AS cost_micros, sum(cost_count) AS cost_count, sum(score_sum) AS score_sum,
        sum(score_count) AS score_count
    FROM telemetry_rollup WHERE tenant_id = %(tenant)s AND step = %(step)s AND start > %(since)s AND start <= %(now)s
        AND provider IS NOT NULL AND model_id IS NOT NULL
    GROUP BY provider, model_id
) f ON f.provider = k.provider AND f.model_id = k.model_id
WHERE k.id = h.id AND h.tenant_id = %(tenant)s AND k."window" = %(window)s
"""
# Seconds of a window, and of the steps it is made of.
WINDOWS = {"1h": (3600, 60), "24h": (86_400, 3600), "7d": (7 * 86_400, 3600)}


def refresh_model_health(*, ctx: ActionContext) -> None:
    """Figures of every model that the tenant has used, for each window up to now. What happens between two minutes waits for the next."""
    now = timezone.now()
    with ctx.transaction(), connection.cursor() as cur:
        for window, (seconds, step) in WINDOWS.items():
            since = datetime.fromtimestamp(now.timestamp() - seconds, tz=now.tzinfo)
            cur.execute(_HEALTH, {"tenant": ctx.tenant_id, "window": window, "step": step, "since": since, "now": now})
