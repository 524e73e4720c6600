"""The online score of final runs, in batches (`domain.md` 5)."""

from __future__ import annotations

from uuid import UUID

import msgspec

from apps.core.context import ActionContext
from apps.evals.domain.online import ENGINEERING, MIN_BASELINE_RUNS, Baseline, baseline_of, online_score
from apps.identity.selectors import platform_id
from apps.packs.models import Pack
from apps.telemetry.selectors.scoring import UnscoredRun, baseline_latencies, unscored_final_runs
from apps.telemetry.services.scores import Score, store_scores

BATCH = 2000


def score_batch(*, ctx: ActionContext, limit: int = BATCH) -> int:
    """Scores about `limit` of the tenant's final runs that have no score; how many there were. Each is scored once, whatever is repeated,
    broken off or done by two workers at once: claim, scores and the end of the claim are one transaction."""
    with ctx.transaction():
        claimed = unscored_final_runs(limit, tenant_id=ctx.tenant_id)
        if not claimed.batches:
            return 0
        # All runs of a batch are compared with what was scored before it.
        groups = {(run.pack, run.tier) for run in claimed.runs if run.pack}
        baselines = {group: baseline_of(latencies) for group, latencies in baseline_latencies(ctx.tenant_id, groups).items()}
        domains = _domains(ctx.tenant_id, {pack for pack, _ in groups})
        none = baseline_of([])
        scores = [_score(run, baselines.get((run.pack or "", run.tier), none), domains.get(run.pack or "", "")) for run in claimed.runs]
        store_scores(ctx=ctx, claimed=claimed, scores=scores)
        return len(claimed.runs)


def _domains(tenant_id: UUID, slugs: set[str]) -> dict[str, str]:
    """The domain of each pack; a slug is unique over the tenant's own and the shared ones."""
    return dict(Pack.objects.filter(tenant_id__in=[tenant_id, platform_id()], slug__in=slugs).values_list("slug", "domain"))


def _score(run: UnscoredRun, baseline: Baseline, domain: str) -> Score:
    found = online_score(
        success=run.success,
        format_passed=run.format_passed,
        approval_passed=run.approval_passed,
        retries=run.retries,
        latency_ms=run.latency_ms,
        baseline=baseline,
        domain=domain,
        checks=msgspec.json.decode(run.checks) if run.checks and domain == ENGINEERING else None,
    )
    parts = {
        "success": found.success,
        "format": found.format,
        "approval": found.approval,
        "retries": found.retries,
        "latency": found.latency,
    }
    known = {"baseline_us": baseline.median_us, "baseline_runs": baseline.runs}
    compared = baseline.runs >= MIN_BASELINE_RUNS
    return Score(run.row_id, found.score, (baseline.median_us + 500) // 1000 if compared else None, {**parts, **known})
