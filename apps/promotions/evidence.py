"""The evidence of a promotion, from the paired evaluation runs that evals keeps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from apps.evals.models import EvalResult, EvalRun, EvalRunState
from apps.promotions.domain.evidence import Batch, Evidence, Measured, PairedCase
from apps.promotions.models import Promotion

Rows = Mapping[UUID, Sequence[EvalResult]]


def runs_of(promotion: Promotion) -> Iterable[EvalRun]:
    """The challenger's evaluation runs, each with the champion's (or the baseline's) that it is paired with; failed ones are left out."""
    runs = EvalRun.objects.filter(layer_id=promotion.layer_id, version_id=promotion.challenger_id).exclude(state=EvalRunState.FAILED)
    if promotion.retire:
        # Without a version of its own: told from a baseline by what it is compared with.
        runs = runs.filter(paired_with__version_id=promotion.champion_id)
    return runs.select_related("paired_with", "eval_set").order_by("id")


def evidence_of(promotion: Promotion) -> Evidence:
    """All there is; which of it counts is the gate's question."""
    return Evidence([_batch(run) for run in runs_of(promotion)])


def _batch(run: EvalRun) -> Batch:
    other = run.paired_with
    mine, theirs = _by_case(run), _by_case(other) if other else {}
    completed = run.state == EvalRunState.COMPLETED and (other is None or other.state == EvalRunState.COMPLETED)
    return Batch(
        evidence_ids=tuple(str(arm.pk) for arm in (run, other) if arm is not None),
        challenger_prefix=run.prefix_digest,
        champion_prefix=other.prefix_digest if other else None,
        cases=[case for key in sorted(mine) if (case := _case(key, mine[key], theirs.get(key, ()), run.rubric)) is not None],
        challenger=_measured(mine),
        champion=_measured(theirs),
        completed=completed,
    )


def _by_case(run: EvalRun) -> Rows:
    found: dict[UUID, list[EvalResult]] = defaultdict(list)
    for result in EvalResult.objects.filter(eval_run=run).select_related("case").order_by("repeat"):
        found[result.case_id].append(result)
    return found


def _measured(rows: Rows) -> Measured:
    results = [result for group in rows.values() for result in group]
    return Measured(
        latencies_ms=[result.latency_ms for result in results if result.latency_ms is not None],
        costs_micros=[result.cost_micros for result in results if result.cost_micros is not None],
    )


def _case(case_id: UUID, challenger: Sequence[EvalResult], champion: Sequence[EvalResult], rubric: Sequence[Mapping[str, Any]]) -> PairedCase | None:
    case, score = challenger[0].case, _score(challenger)
    if score is None:
        return None
    challenger_failed, challenger_hard = _failed(challenger, rubric)
    champion_failed, champion_hard = _failed(champion, rubric)
    return PairedCase(
        case_id=str(case_id),
        label=f"case {case.number}",
        split=case.split,
        challenger_score=score,
        champion_score=_score(champion),
        challenger_failed=challenger_failed,
        champion_failed=champion_failed,
        challenger_hard_failed=challenger_hard,
        champion_hard_failed=champion_hard,
    )


def _score(results: Sequence[EvalResult]) -> float | None:
    """Points 0..100: the mean over the repeats that could be scored; None where none could, which is evidence missing."""
    scores = [result.deterministic_score for result in results if result.deterministic_score is not None]
    return sum(scores) / len(scores) / 100 if scores else None


def _failed(results: Sequence[EvalResult], rubric: Sequence[Mapping[str, Any]]) -> tuple[dict[str, frozenset[str]], frozenset[str]]:
    """The failed checks by dimension, and the hard ones among them: a check fails by a majority of the repeats, a hard safety check by
    any of them."""
    by_dimension: dict[str, set[str]] = defaultdict(set)
    hard: set[str] = set()
    for check in rubric:
        outcomes = [result.detail.get(check["id"], {}).get("passed") for result in results]
        measured = [passed for passed in outcomes if passed is not None]
        failures = measured.count(False)
        strict = bool(check.get("hard")) and check["dimension"] == "safety"
        if failures and (strict or 2 * failures > len(measured)):
            by_dimension[check["dimension"]].add(check["id"])
            if check.get("hard"):
                hard.add(check["id"])
    return {dimension: frozenset(ids) for dimension, ids in by_dimension.items()}, frozenset(hard)
