"""The evidence on a challenger that promotions judge by: both arms on the same cases. Online evidence comes with rollouts, which give
runs another arm than the champion's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from apps.evals.domain.checks import Check
from apps.evals.domain.pairing import Answer, CaseOutcome, answer_of_detail, outcome
from apps.evals.models import EvalResult, EvalRun, EvalRunState
from apps.evals.selectors.prefix import Prefix, prefix_of, prefix_or_none
from apps.packs.chains import Pictures
from apps.packs.models import Layer, PackVersion

# Older evaluations of the same version add nothing that these don't.
MAX_EVALUATIONS = 20


@dataclass(frozen=True, slots=True)
class CaseEvidence:
    """One case, repeats folded. Scores are points 0..100; `*_failed` are ids of failed checks by dimension (by majority of the repeats, a
    hard safety check by any of them), `*_hard_failed` those of hard checks. What was measured for the champion and not for the challenger
    counts as failed: missing evidence never passes."""

    case_id: str
    label: str
    split: str
    challenger_score: float
    champion_score: float | None = None
    challenger_failed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    champion_failed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    challenger_hard_failed: frozenset[str] = frozenset()
    champion_hard_failed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ArmEvidence:
    """What was measured of one arm: of each answer the latency in ms and the cost in micro-dollars."""

    latencies_ms: tuple[int, ...] = ()
    costs_micros: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A run of the challenger and the champion's run it is paired with. No cases until both are complete."""

    run_ids: tuple[str, ...]
    runner: str
    challenger_prefix: str
    champion_prefix: str | None
    completed: bool
    failed: bool
    cases: tuple[CaseEvidence, ...] = ()
    challenger: ArmEvidence = ArmEvidence()
    champion: ArmEvidence = ArmEvidence()


@dataclass(frozen=True, slots=True)
class PairedEvidence:
    """`challenger` and `champion` are the prefixes as they are now; evidence counts only where its prefix digests are theirs. `champion` is
    None where nothing is live without the challenger. Evaluations: the newest first, also those that no longer count."""

    challenger: Prefix
    champion: Prefix | None
    evaluations: tuple[Evaluation, ...]


def paired_evidence(
    *, layer: Layer, champion: PackVersion | None, challenger: PackVersion | None, pictures: Pictures | None = None
) -> PairedEvidence:
    """All there is on `challenger` (None: the layer's retirement) against `champion` (None: the baseline without the layer).

    Raises Problem like `prefix_of` when the challenger's own prefix can't be served.
    """
    tested, base = prefix_of(layer, challenger, pictures), prefix_or_none(layer, champion, pictures)
    runs = EvalRun.objects.filter(layer=layer, version=challenger)
    if challenger is None:
        # Unpaired runs without a version are baselines of others.
        runs = runs.filter(paired_with__isnull=False)
    newest = list(runs.select_related("paired_with").order_by("-id")[:MAX_EVALUATIONS])
    return PairedEvidence(tested, base, tuple(_evaluation(run) for run in newest))


def _evaluation(run: EvalRun) -> Evaluation:
    other = run.paired_with
    both = [run, other] if other else [run]
    completed = all(each.state == EvalRunState.COMPLETED for each in both)
    found = Evaluation(
        run_ids=tuple(str(each.pk) for each in both),
        runner=run.runner,
        challenger_prefix=run.prefix_digest,
        champion_prefix=other.prefix_digest if other else None,
        completed=completed,
        failed=any(each.state == EvalRunState.FAILED for each in both),
    )
    if not completed:
        return found
    mine, theirs = _folded(run), _folded(other) if other else {}
    cases = [_case(run, folded, theirs.get(case_id)) for case_id, folded in mine.items() if other is None or case_id in theirs]
    return replace(found, cases=tuple(case for case in cases if case is not None), challenger=_arm(mine), champion=_arm(theirs))


@dataclass(slots=True)
class _Folded:
    """A case of one arm. `states`: check id -> whether it passed, over the repeats (None: not measured)."""

    case_id: UUID
    label: str
    split: str
    outcome: CaseOutcome
    states: dict[str, bool | None]


def _folded(run: EvalRun) -> dict[UUID, _Folded]:
    columns = ("case_id", "case__number", "case__split", "repeat", "deterministic_score", "detail", "latency_ms", "cost_micros")
    rows = EvalResult.objects.filter(eval_run=run).order_by("case__number", "repeat").values_list(*columns)
    answers: dict[UUID, list[Answer]] = defaultdict(list)
    details: dict[UUID, list[Mapping[str, Any]]] = defaultdict(list)
    labels: dict[UUID, tuple[str, str]] = {}
    for case_id, number, split, repeat, score, detail, latency, cost in rows:
        answers[case_id].append(answer_of_detail(case_id, repeat, score, run.rubric, detail, latency_ms=latency, cost_micros=cost))
        details[case_id].append(detail)
        labels[case_id] = (f"case {number}", split)
    return {
        case_id: _Folded(case_id, *labels[case_id], outcome(given), {check["id"]: _state(check, details[case_id]) for check in run.rubric})
        for case_id, given in answers.items()
    }


def _state(check: Check, details: Sequence[Mapping[str, Any]]) -> bool | None:
    """A check over the repeats: failed by majority, a hard safety check by any; None when no repeat measured it."""
    measured = [state for detail in details if (state := detail.get(check["id"], {}).get("passed")) is not None]
    if not measured:
        return None
    failures = measured.count(False)
    return not failures if check.get("hard") and check["dimension"] == "safety" else 2 * failures <= len(measured)


def _case(run: EvalRun, challenger: _Folded, champion: _Folded | None) -> CaseEvidence | None:
    """None where nothing that makes a score was measured for either arm."""
    scores = [folded.outcome.score for folded in (challenger, champion) if folded is not None]
    if all(score is None for score in scores):
        return None
    before = champion.states if champion else {}
    unknown = {check_id for check_id, state in challenger.states.items() if state is None and before.get(check_id) is not None}
    failed = {check_id for check_id, state in challenger.states.items() if state is False} | unknown
    failed_before = {check_id for check_id, state in before.items() if state is False}
    return CaseEvidence(
        case_id=str(challenger.case_id),
        label=challenger.label,
        split=challenger.split,
        challenger_score=(challenger.outcome.score or 0) / 100,
        champion_score=champion.outcome.score / 100 if champion and champion.outcome.score is not None else None,
        challenger_failed=_by_dimension(run.rubric, failed),
        champion_failed=_by_dimension(run.rubric, failed_before),
        challenger_hard_failed=frozenset(check["id"] for check in run.rubric if check.get("hard") and check["id"] in failed),
        champion_hard_failed=frozenset(check["id"] for check in run.rubric if check.get("hard") and check["id"] in failed_before),
    )


def _by_dimension(rubric: Sequence[Check], failed: set[str]) -> dict[str, frozenset[str]]:
    dimensions = dict.fromkeys(check["dimension"] for check in rubric if check["id"] in failed)
    return {name: frozenset(c["id"] for c in rubric if c["dimension"] == name and c["id"] in failed) for name in dimensions}


def _arm(folded: Mapping[UUID, _Folded]) -> ArmEvidence:
    outcomes = [each.outcome for each in folded.values()]
    latencies = tuple(value for one in outcomes for value in one.latencies_ms)
    return ArmEvidence(latencies, tuple(value for one in outcomes for value in one.costs_micros))
