"""The promotion gate (`domain.md` 6): every rule, asked once, of the evidence that counts.

Scores are points 0..100, latencies milliseconds, costs micro-dollars. Nothing here looks anything up: the caller brings the two arms as
they stand now, all evidence there is, and the thresholds (`thresholds.strictest` of both packs).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from apps.promotions.domain import rules
from apps.promotions.domain.approvals import Status
from apps.promotions.domain.evidence import Arm, Batch, Dropped, Evidence, Measured, PairedCase
from apps.promotions.domain.rules import IMPROVE, NON_INFERIOR, POLICY, Question, named
from apps.promotions.domain.thresholds import Thresholds
from apps.promotions.domain.verdict import APPROVALS, Outcome, RuleResult, Verdict

__all__ = [
    "AIMS",
    "Arm",
    "Batch",
    "Dropped",
    "Evidence",
    "Measured",
    "Outcome",
    "PairedCase",
    "RuleResult",
    "Verdict",
    "gate",
]

AIMS: Final = (IMPROVE, NON_INFERIOR, POLICY)
Aim = Literal["improve", "non_inferior", "policy"]
Invalid = Literal["wait", "suspend"]


def gate(
    challenger: Arm,
    champion: Arm | None,
    evidence: Evidence,
    thresholds: Thresholds,
    *,
    aim: Aim = "improve",
    invalid_descendants: Sequence[str] = (),
    invalid: Invalid = "wait",
    violations: Sequence[str] = (),
    training_overlaps: Sequence[str] | None = None,
    approvals: Status | None = None,
    voice_checked: bool = False,
) -> Verdict:
    """The verdict on the challenger.

    - `champion`: the layer's champion or, where it has none, the effective pack without the layer; None when nothing is live at all.
    - `invalid_descendants`: the layers that the promotion makes invalid, by name, and what is done with them (`invalid`).
    - `violations`: the constraints of ancestors that the challenger itself breaks today, a sentence each.
    - `training_overlaps`: 5-grams, secrets and canaries found in the challenger that come from training rows; None: no training rows were
      used. They are counted, never repeated in the verdict.
    - `approvals`: how far they are; None while they aren't asked for yet.
    - `voice_checked`: the rubric has a voice check, so that missing voice scores are missing evidence.

    Retiring a layer is asked with the effective pack without the layer as challenger. Raises ValueError for an unknown aim.
    """
    if aim not in AIMS:
        raise ValueError(f"{aim!r} is no aim; aims are {', '.join(AIMS)}")
    counted = evidence.counting(challenger, champion)
    question = Question(challenger, champion, counted, thresholds, aim)
    results = [] if aim == POLICY else [rules.evidence_minimum(question), rules.quality(question)]
    results += [
        rules.safety_no_regression(question),
        rules.format_no_regression(question),
        _constraints_hold(invalid_descendants, invalid, violations),
        rules.latency_regression(question),
        rules.cost_regression(question),
        rules.prompt_growth(question),
        rules.voice_no_regression(question, checked=voice_checked),
        _training_leak(training_overlaps),
        _approvals(approvals),
    ]
    return Verdict(aim, tuple(results), counted.completed_evaluations, counted.dropped)


def _constraints_hold(descendants: Sequence[str], invalid: Invalid, violations: Sequence[str]) -> RuleResult:
    name, broken = "constraints_hold", len(violations)
    if violations:
        sentence = f"The challenger breaks {_count(broken, 'constraint')}: {' '.join(violations[: rules.NAMED])}"
        return RuleResult(name, Outcome.FAIL, True, sentence, broken, 0, "constraints", broken)
    n = len(descendants)
    if not n:
        return RuleResult(name, Outcome.PASS, True, "No constraint is broken, neither here nor below.", 0, 0, "layers")
    verb = "turns" if n == 1 else "turn"
    if invalid == "suspend":
        sentence = f"{_count(n, 'layer')} below {verb} invalid and will be suspended with the promotion: {named(descendants)}."
        return RuleResult(name, Outcome.PASS, True, sentence, n, n, "layers", n)
    sentence = f"{_count(n, 'layer')} below {verb} invalid: {named(descendants)}. Mend what is below first, or choose to suspend it."
    return RuleResult(name, Outcome.FAIL, True, sentence, n, 0, "layers", n)


def _training_leak(overlaps: Sequence[str] | None) -> RuleResult:
    if overlaps is None:
        return RuleResult("training_leak", Outcome.PASS, True, "No training rows were used.", 0, 0, "overlaps")
    n = len(overlaps)
    outcome = Outcome.FAIL if n else Outcome.PASS
    found = f"{_count(n, 'piece')} of training rows" if n else "Nothing of the training rows"
    sentence = f"{found} (5-grams, secrets, other tenants' canaries) {'stand' if n > 1 else 'stands'} in the challenger."
    return RuleResult("training_leak", outcome, True, sentence, n, 0, "overlaps", n)


def _approvals(status: Status | None) -> RuleResult:
    if status is None:
        return RuleResult(APPROVALS, Outcome.INCONCLUSIVE, True, "Approvals are asked for once the evidence is in order.", unit="approvals")
    n = len({approval.user_id for approval in status.counted})
    if not status.satisfied:
        return RuleResult(APPROVALS, Outcome.INCONCLUSIVE, True, " ".join(status.missing), n, None, "approvals", n)
    sentence = f"{_count(n, 'person', 'people')} approved; no more is needed." if n else "Nobody has to approve."
    return RuleResult(APPROVALS, Outcome.PASS, True, sentence, n, n, "approvals", n)


def _count(n: int, one: str, several: str = "") -> str:
    return f"{n} {one if n == 1 else several or one + 's'}"
