"""Background work of the evals room."""

from __future__ import annotations

import time

import structlog
from celery import shared_task

from apps.core.context import system_context
from apps.evals.services.online import score_batch
from apps.telemetry.selectors.scoring import tenants_with_unscored_runs

log = structlog.get_logger(__name__)
# The scheduler starts the task again at once; a long queue must not keep other tasks of this worker waiting.
BUDGET_S = 20.0


@shared_task(name="evals.score_runs")
def score_runs() -> None:
    """Scores what waits, tenant by tenant, the longest waiting first. Safe to repeat and to run twice at once."""
    until = time.monotonic() + BUDGET_S
    for tenant_id in tenants_with_unscored_runs():
        try:
            while time.monotonic() < until and score_batch(ctx=system_context("evals.score_runs", tenant_id=tenant_id)):
                pass
        except Exception:
            # One tenant's trouble is not another's: it stays queued and is said aloud.
            log.exception("evals.scoring_failed", tenant_id=str(tenant_id))
