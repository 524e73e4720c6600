"""Both arms of a demo challenger on its validation cases, scored by the evals' own checks and paired as the gate takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from apps.demo import catalogue
from apps.demo.simulate import Answer, answer
from apps.evals.domain.checks import Scored, joint_rubric, score_output
from apps.packs.domain.content import prompt_tokens
from apps.packs.domain.fold import fold
from apps.packs.domain.scopes import Scope
from apps.packs.domain.values import Effective
from apps.promotions.domain.evidence import Arm, Batch, Evidence, Measured, PairedCase
from apps.promotions.domain.gate import gate
from apps.promotions.domain.thresholds import strictest
from apps.promotions.domain.verdict import Verdict
from tests.demo.chains import prefix

REPEATS = 3


@dataclass(frozen=True)
class Answered:
    """A case, its answers and their scores, one for each repeat."""

    case: catalogue.Case
    answers: Sequence[Answer]
    scores: Sequence[Scored]

    @property
    def mean(self) -> float:
        return fmean((scored.score or 0) / 100 for scored in self.scores)

    def failed(self) -> dict[str, frozenset[str]]:
        """Dimension -> the checks that most repeats failed."""
        found: dict[str, set[str]] = {}
        for result in self.scores[0].results:
            fails = sum(1 for scored in self.scores for other in scored.results if other.id == result.id and other.passed is False)
            if 2 * fails > len(self.scores):
                found.setdefault(result.dimension, set()).add(result.id)
        return {dimension: frozenset(ids) for dimension, ids in found.items()}

    def hard_failed(self) -> frozenset[str]:
        return frozenset(check for scored in self.scores for check in scored.hard_failures)


def run(content: Mapping[str, Any], cases: catalogue.EvalSet, rubric: Sequence[Mapping[str, Any]], salt: str = "") -> list[Answered]:
    found = []
    for case in cases.split("validation"):
        answers = [answer(content, None, case.input, seed=f"{salt}{case.number}:{repeat}") for repeat in range(REPEATS)]
        scores = [
            score_output(
                rubric,
                output=given.output,
                case={"input": case.input, "expected": case.expected, "tags": list(case.tags)},
                facts={
                    "latency_ms": given.latency_ms,
                    "cost_micros": given.cost_micros,
                    "tokens_in": given.tokens_in,
                    "tokens_out": given.tokens_out,
                    "tools": list(given.tools),
                    "tool_policy": content["tools"],
                    "contract": content["contracts"][case.task_type],
                    "success": given.success,
                },
            )
            for given in answers
        ]
        found.append(Answered(case, answers, scores))
    return found


def mean_score(answered: Sequence[Answered]) -> float:
    return fmean(each.mean for each in answered)


def baseline(slug: str, tenant: str) -> list[Answered]:
    content = fold(prefix(slug, tenant)).content
    return run(content, catalogue.eval_set(slug), content["rubric"])


def arms(story: catalogue.Challenger, champion: Mapping[str, Any] | None = None) -> tuple[Effective, Effective]:
    """(champion, challenger), each the prefix of its chain; `champion` is another content of the layer than the seeded one."""
    tenant = Scope.parse(story.scope).tenant_slug
    before = champion or catalogue.pack(story.pack).layer(story.scope).content
    both = (before, story.content(before))
    old, new = (fold(prefix(story.pack, tenant, {story.scope: content})) for content in both)
    return old, new


def judge(
    story: catalogue.Challenger, salt: str = "", champion: Mapping[str, Any] | None = None
) -> tuple[Verdict, list[Answered], list[Answered]]:
    """The gate's verdict (approvals not asked yet), and the champion's and the challenger's answers; `salt` changes the luck of both."""
    old_pack, new_pack = arms(story, champion)
    rubric = joint_rubric(old_pack.content["rubric"], new_pack.content["rubric"])
    cases = catalogue.eval_set(story.pack)
    old, new = run(old_pack.content, cases, rubric, salt), run(new_pack.content, cases, rubric, salt)
    pairs = [
        PairedCase(
            case_id=str(before.case.number),
            challenger_score=after.mean,
            champion_score=before.mean,
            challenger_failed=after.failed(),
            champion_failed=before.failed(),
            challenger_hard_failed=after.hard_failed(),
            champion_hard_failed=before.hard_failed(),
            label=before.case.input[:40],
        )
        for before, after in zip(old, new, strict=True)
    ]
    evidence = Evidence([Batch(("eval-1",), new_pack.digest, old_pack.digest, pairs, measured(new), measured(old))])
    verdict = gate(
        Arm(new_pack.digest, prompt_tokens(new_pack.content)),
        Arm(old_pack.digest, prompt_tokens(old_pack.content)),
        evidence,
        strictest(old_pack.content["promotion"], new_pack.content["promotion"]),
        aim="improve",
    )
    return verdict, old, new


def measured(answered: Sequence[Answered]) -> Measured:
    answers = [given for each in answered for given in each.answers]
    return Measured([given.latency_ms for given in answers], [given.cost_micros for given in answers])
