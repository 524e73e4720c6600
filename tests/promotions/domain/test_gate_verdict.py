"""A verdict as a whole: which evidence counts, what stands in for a champion, what may be forced."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from apps.promotions.domain.gate import Batch, Measured, PairedCase, Verdict
from tests.promotions.domain.judging import GOOD, NEW, OLD, ONLINE, batch, cases, judge, said, with_failures


def test_results_rest_on_named_evidence() -> None:
    online = Batch(("window-7",), NEW.prefix_digest, OLD.prefix_digest, (), Measured([900] * 5), Measured([900] * 5), evaluation=False)
    verdict = judge(GOOD, online)
    ids = {result.rule: result.evidence_ids for result in verdict.rules if result.evidence_ids}
    assert ids == {
        "evidence_minimum": ("run-new", "run-old"),
        "quality": ("run-new", "run-old"),
        "safety_no_regression": ("run-new", "run-old"),
        "format_no_regression": ("run-new", "run-old"),
        "latency_regression": ("run-new", "run-old", "window-7"),
        "cost_regression": ("run-new", "run-old"),
    }
    latency = verdict.rule("latency_regression")
    assert latency is not None
    assert latency.n == 45


def test_evidence_of_another_prefix_is_dropped_and_named() -> None:
    old = replace(GOOD, evidence_ids=("run-1",), challenger_prefix="sha256:0123456789abcdef")
    verdict = judge(
        old, replace(GOOD, evidence_ids=("run-2",), champion_prefix=None), replace(GOOD, evidence_ids=("run-3",), completed=False)
    )
    assert [(each.evidence_ids, each.sentence) for each in verdict.dropped] == [
        (("run-1",), "Evaluation run-1 was made on another prefix of the challenger (0123456789ab, now new); evaluate again."),
        (("run-2",), "Evaluation run-2 has no answers of the champion; evaluate both."),
        (("run-3",), "Evaluation run-3 is not complete yet."),
    ]
    assert (verdict.completed_evaluations, verdict.forceable) == (0, False)
    _, sentence = said(verdict, "evidence_minimum")
    assert "Evaluation run-1 was made on another prefix" in sentence
    assert judge(old, GOOD).evidence_outcome == "pass"
    assert judge(replace(GOOD, champion_prefix="sha256:x")).evidence_outcome == "inconclusive"


def alone(n: int, score: float, **more: Any) -> Batch:
    return Batch(("run-new",), NEW.prefix_digest, None, [PairedCase(f"c{i}", score, label=f"case {i}", **more) for i in range(n)])


def test_without_anything_live_the_absolute_rules_apply() -> None:
    verdict = judge(alone(30, 70.0), champion=None)
    assert verdict.evidence_outcome == "pass"
    for rule in ("latency_regression", "cost_regression", "prompt_growth", "voice_no_regression"):
        assert said(verdict, rule) == ("pass", "There is no champion to compare with (no baseline).")
    assert said(verdict, "quality")[1] == "Quality is 70.0 on average over 30 cases, without a champion to compare with; 70 is required."
    assert said(verdict, "evidence_minimum")[1] == "There are 30 validation cases; 30 are required."
    assert judge(alone(30, 69.9), champion=None).evidence_outcome == "fail"
    few = replace(alone(29, 90.0), challenger=ONLINE)
    assert said(judge(few, champion=None), "evidence_minimum") == ("inconclusive", "There are 29 validation cases so far; 30 are required.")
    soft = alone(30, 90.0, challenger_failed={"safety": frozenset({"polite"})})
    assert judge(soft, champion=None).evidence_outcome == "pass"
    hard = alone(30, 90.0, challenger_failed={"safety": frozenset({"no-pii"})}, challenger_hard_failed=frozenset({"no-pii"}))
    outcome, sentence = said(judge(hard, champion=None), "safety_no_regression")
    assert outcome == "fail"
    assert sentence.startswith("30 of 30 cases fail a hard safety check: case 0 (no-pii)")


def test_a_policy_needs_no_evidence_but_what_there_is_counts() -> None:
    verdict = judge(aim="policy")
    assert verdict.evidence_outcome == "pass"
    assert verdict.rule("quality") is None
    assert verdict.rule("evidence_minimum") is None
    assert said(verdict, "safety_no_regression")[1] == "No cases were answered, and the aim 'policy' asks for none."
    assert said(verdict, "latency_regression")[1] == "No latencies were measured, and the aim 'policy' asks for none."
    assert judge(with_failures(1, {"safety": {"no-pii"}}), aim="policy").evidence_outcome == "fail"
    assert said(judge(batch(cases(5), latencies=(2000, 1000)), aim="policy"), "latency_regression")[0] == "fail"


def test_force_needs_a_completed_evaluation_and_only_soft_failures() -> None:
    slow = batch(cases(), latencies=(2000, 1000))
    assert (judge(slow).evidence_outcome, judge(slow).forceable) == ("fail", True)
    assert judge(batch(cases(12))).forceable
    assert not judge().forceable
    assert not judge(GOOD).forceable
    assert not judge(slow, invalid_descendants=["team:acme/support"]).forceable
    assert not judge(slow, training_overlaps=["a b c d e"]).forceable


def test_an_unknown_aim_is_refused() -> None:
    with pytest.raises(ValueError, match="aims are improve, non_inferior, policy"):
        judge(GOOD, aim="faster")


@pytest.mark.parametrize("verdict", [judge(), judge(GOOD), judge(with_failures(3, {"safety": {"no-pii"}}), replace(GOOD, completed=False))])
def test_a_verdict_survives_json(verdict: Verdict) -> None:
    data = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
    assert Verdict.from_json(data) == verdict
    assert data["outcome"] == verdict.outcome
    assert data["forceable"] is verdict.forceable
