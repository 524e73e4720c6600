"""Online scores are computed by evals and stored here, beside the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.db import connection
from django.utils import timezone

from apps.core.context import ActionContext
from apps.telemetry.native import cursor
from apps.telemetry.selectors.scoring import UnscoredRuns
from apps.telemetry.services.rolling import await_roll_up

# Each run is looked up by its key (OFFSET 0 keeps the two from being joined otherwise): until a new day has statistics, all of it would be read.
_STORE = """
INSERT INTO telemetry_runscore
    (id, day, tenant_id, team_id, agent_id, run_id, pack, pack_version, effective_digest, arm, tier,
     latency_ms, score, baseline_ms, parts, created_at)
SELECT r.id, r.day, r.tenant_id, r.team_id, r.agent_id, r.run_id, r.pack, r.pack_version, r.effective_digest, r.arm, coalesce(r.tier, ''),
    r.latency_ms, s.score, s.baseline_ms, s.parts::jsonb, now()
FROM unnest(%b::uuid[], %b::int[], %b::bigint[], %b::text[]) AS s (id, score, baseline_ms, parts)
CROSS JOIN LATERAL (
    SELECT id, day, tenant_id, team_id, agent_id, run_id, pack, pack_version, effective_digest, arm, tier, latency_ms
    FROM telemetry_run WHERE id = s.id AND day = %b AND tenant_id = %b AND final OFFSET 0
) r
ON CONFLICT DO NOTHING RETURNING id
"""


class Score(NamedTuple):
    """`score` in hundredths of a point, 0 to 10000; `baseline_ms` the median it was compared with; `parts` what each term gave."""

    row_id: UUID
    score: int
    baseline_ms: int | None = None
    parts: Mapping[str, Any] = {}


def store_scores(*, ctx: ActionContext, claimed: UnscoredRuns, scores: Sequence[Score]) -> int:
    """Stores the scores of claimed runs and takes these runs off the queue; how many were new. A run keeps its first score.

    Belongs into the transaction in which `unscored_final_runs` gave the claim; until it commits, the runs stay queued.
    """
    stored = 0
    by_row = {score.row_id: score for score in scores}
    with ctx.transaction(), connection.wrap_database_errors:
        cur, encode = cursor(), msgspec.json.Encoder().encode
        for day in sorted({run.day for run in claimed.runs}):
            found = [by_row[run.row_id] for run in claimed.runs if run.day == day and run.row_id in by_row]
            parts = [encode(score.parts).decode() for score in found]
            keys, points, baselines = [s.row_id for s in found], [s.score for s in found], [s.baseline_ms for s in found]
            cur.execute(_STORE, [keys, points, baselines, parts, day, ctx.tenant_id])
            new = [key for (key,) in cur.fetchall()]
            stored += len(new)
            if new:
                await_roll_up(cur, ctx, "s", day, new, now=timezone.now())
        cur.execute(
            "DELETE FROM telemetry_unscoredbatch WHERE tenant_id = %b AND id = ANY(%b::uuid[])", [ctx.tenant_id, list(claimed.batches)]
        )
    return stored
