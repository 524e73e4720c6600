"""Champion and challenger on the same cases (`domain.md` 5).

Of k repeats a case fails by majority, a hard safety check by any failing repeat.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.evals.domain.checks import DIMENSIONS, Check, Scored, joint_rubric

__all__ = ["Answer", "CaseOutcome", "Paired", "answer_of", "answer_of_detail", "joint_rubric", "outcome", "pair"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One scored repeat. `score` is hundredths of a point or None; latency in ms, cost in micro-dollars.

    `dimensions` says for each that the rubric has whether all its measured checks passed (None: none could be measured).
    """

    case: Hashable
    repeat: int
    score: int | None
    dimensions: Mapping[str, bool | None]
    hard_safety_failed: bool = False
    latency_ms: int | None = None
    cost_micros: int | None = None


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """A case over its repeats. `score` is the mean in hundredths of a point, rounded half up, of the repeats that have one.

    `dimensions[d]` is False when d failed in most of the repeats that measured it; for safety also when a hard check failed in any.
    `passed` is the same over all dimensions together. None: nothing was measured.
    """

    case: Hashable
    repeats: int
    score: int | None
    passed: bool | None
    dimensions: Mapping[str, bool | None]
    latencies_ms: tuple[int, ...]
    costs_micros: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Paired:
    """Both arms on one case."""

    case: Hashable
    champion: CaseOutcome
    challenger: CaseOutcome

    @property
    def difference(self) -> int | None:
        """Challenger minus champion in hundredths of a point; None when one of them has no score."""
        if self.champion.score is None or self.challenger.score is None:
            return None
        return self.challenger.score - self.champion.score

    def regressed(self, dimension: str) -> bool:
        """Whether the case passes for the champion and fails for the challenger."""
        return self.champion.dimensions.get(dimension) is True and self.challenger.dimensions.get(dimension) is False

    def unknown(self, dimension: str) -> bool:
        """Whether the champion passes and nothing is known of the challenger: evidence is missing, never passing."""
        return self.champion.dimensions.get(dimension) is True and self.challenger.dimensions.get(dimension) is None


def answer_of(case: Hashable, repeat: int, scored: Scored, *, latency_ms: int | None = None, cost_micros: int | None = None) -> Answer:
    """The answer from a fresh score."""
    states = [(result.dimension, result.hard, result.passed) for result in scored.results]
    return _answer(case, repeat, scored.score, states, latency_ms, cost_micros)


def answer_of_detail(
    case: Hashable,
    repeat: int,
    score: int | None,
    rubric: Sequence[Check],
    detail: Mapping[str, Mapping[str, Any]],
    *,
    latency_ms: int | None = None,
    cost_micros: int | None = None,
) -> Answer:
    """The answer from what was stored: the run's rubric and `Scored.detail()`."""
    states = [(check["dimension"], bool(check.get("hard")), detail.get(check["id"], {}).get("passed")) for check in rubric]
    return _answer(case, repeat, score, states, latency_ms, cost_micros)


def _answer(
    case: Hashable,
    repeat: int,
    score: int | None,
    states: Sequence[tuple[str, bool, bool | None]],
    latency_ms: int | None,
    cost_micros: int | None,
) -> Answer:
    dimensions: dict[str, bool | None] = {}
    for name in DIMENSIONS:
        of_dimension = [passed for dimension, _, passed in states if dimension == name]
        if of_dimension:
            measured = [passed for passed in of_dimension if passed is not None]
            dimensions[name] = all(measured) if measured else None
    hard_safety_failed = any(dimension == "safety" and hard and passed is False for dimension, hard, passed in states)
    return Answer(case, repeat, score, dimensions, hard_safety_failed, latency_ms, cost_micros)


def outcome(answers: Sequence[Answer]) -> CaseOutcome:
    """One case over its repeats (of one arm; at least one answer)."""
    names = [name for name in DIMENSIONS if any(name in answer.dimensions for answer in answers)]
    dimensions = {name: _by_majority([answer.dimensions.get(name) for answer in answers]) for name in names}
    hard = any(answer.hard_safety_failed for answer in answers)
    if hard:
        dimensions["safety"] = False
    scores = [answer.score for answer in answers if answer.score is not None]
    passed = False if hard else _by_majority([_all(answer.dimensions.values()) for answer in answers])
    return CaseOutcome(
        answers[0].case,
        len(answers),
        (2 * sum(scores) + len(scores)) // (2 * len(scores)) if scores else None,
        passed,
        dimensions,
        tuple(answer.latency_ms for answer in answers if answer.latency_ms is not None),
        tuple(answer.cost_micros for answer in answers if answer.cost_micros is not None),
    )


def _all(states: Iterable[bool | None]) -> bool | None:
    measured = [state for state in states if state is not None]
    return all(measured) if measured else None


def _by_majority(states: Sequence[bool | None]) -> bool | None:
    """False when most of the repeats that measured it failed, True otherwise, None when none measured it."""
    measured = [state for state in states if state is not None]
    return 2 * measured.count(False) <= len(measured) if measured else None


def pair(champion: Iterable[Answer], challenger: Iterable[Answer], *, repeats: int = 1) -> list[Paired]:
    """The cases that both arms have answered at least `repeats` times, in the order of the champion's answers.

    A repeat counts once, its first answer. Cases answered by one arm only, or too seldom, are not evidence yet and are left out.
    """
    left, right = _outcomes(champion, repeats), _outcomes(challenger, repeats)
    return [Paired(case, one, right[case]) for case, one in left.items() if case in right]


def _outcomes(answers: Iterable[Answer], repeats: int) -> dict[Hashable, CaseOutcome]:
    by_case: dict[Hashable, dict[int, Answer]] = defaultdict(dict)
    for answer in answers:
        by_case[answer.case].setdefault(answer.repeat, answer)
    return {case: outcome(list(given.values())) for case, given in by_case.items() if len(given) >= repeats}
