"""What the gate says: one result for each rule, and what follows from them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from apps.promotions.domain.evidence import Dropped

APPROVALS = "approvals"


class Outcome(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class RuleResult:
    """One rule: `observed` against `threshold`, both in `unit`, None where there is nothing to measure; `n` measurements of the smaller
    arm; the evidence it rests on; a sentence for a person."""

    rule: str
    outcome: Outcome
    hard: bool
    sentence: str
    observed: float | None = None
    threshold: float | None = None
    unit: str = ""
    n: int = 0
    evidence_ids: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "outcome": self.outcome.value,
            "hard": self.hard,
            "observed": self.observed,
            "threshold": self.threshold,
            "unit": self.unit,
            "n": self.n,
            "evidence_ids": list(self.evidence_ids),
            "sentence": self.sentence,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RuleResult:
        return cls(**{**data, "outcome": Outcome(data["outcome"]), "evidence_ids": tuple(data["evidence_ids"])})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's answer. `dropped` is evidence that no longer counts."""

    aim: str
    rules: tuple[RuleResult, ...]
    completed_evaluations: int = 0
    dropped: tuple[Dropped, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """`fail` when a rule fails, else `inconclusive` when one is, else `pass`."""
        return _worst(self.rules)

    @property
    def evidence_outcome(self) -> Outcome:
        """The outcome without the rule on approvals, which are asked for only when the rest is in order."""
        return _worst(self._but_approvals)

    @property
    def forceable(self) -> bool:
        """Whether `force` could help: every hard rule holds (approvals come after), a soft one doesn't, and an evaluation is complete."""
        hard_hold = all(result.outcome is Outcome.PASS for result in self._but_approvals if result.hard)
        return hard_hold and self.evidence_outcome is not Outcome.PASS and self.completed_evaluations > 0

    @property
    def hard_failures(self) -> tuple[RuleResult, ...]:
        return tuple(result for result in self.rules if result.hard and result.outcome is Outcome.FAIL)

    def rule(self, name: str) -> RuleResult | None:
        """The result of one rule; None when the aim leaves it out."""
        return next((result for result in self.rules if result.rule == name), None)

    def to_json(self) -> dict[str, Any]:
        """As it is stored and served; `outcome`, `evidence_outcome` and `forceable` follow from the rest and are there for readers."""
        return {
            "outcome": self.outcome.value,
            "evidence_outcome": self.evidence_outcome.value,
            "forceable": self.forceable,
            "aim": self.aim,
            "completed_evaluations": self.completed_evaluations,
            "rules": [result.to_json() for result in self.rules],
            "dropped": [{"evidence_ids": list(each.evidence_ids), "sentence": each.sentence} for each in self.dropped],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """The verdict that `to_json` wrote."""
        return cls(
            aim=data["aim"],
            rules=tuple(RuleResult.from_json(result) for result in data["rules"]),
            completed_evaluations=data["completed_evaluations"],
            dropped=tuple(Dropped(tuple(each["evidence_ids"]), each["sentence"]) for each in data["dropped"]),
        )

    @property
    def _but_approvals(self) -> tuple[RuleResult, ...]:
        return tuple(result for result in self.rules if result.rule != APPROVALS)


def _worst(rules: tuple[RuleResult, ...]) -> Outcome:
    outcomes = {result.outcome for result in rules}
    return next((outcome for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE) if outcome in outcomes), Outcome.PASS)
