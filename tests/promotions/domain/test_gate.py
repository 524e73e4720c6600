"""The gate rule by rule: what passes, what doesn't, and the sentence a person reads."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from apps.promotions.domain.approvals import Approval, Status
from apps.promotions.domain.gate import Arm, Batch, Evidence, Measured, PairedCase, Verdict, gate
from apps.promotions.domain.thresholds import Thresholds

NEW, OLD = Arm("sha256:new", 1000), Arm("sha256:old", 900)
GAINS = (8.0, 10.0, 12.0, 14.0)  # mean 11


def cases(n: int = 40, *, before: float = 70.0, gains: Sequence[float] = GAINS, **more: Any) -> list[PairedCase]:
    return [PairedCase(f"c{i}", before + gains[i % len(gains)], before, label=f"case {i}", **more) for i in range(n)]


def batch(answers: Sequence[PairedCase], *, latencies: tuple[int, int] = (1000, 1000), costs: tuple[int, int] = (500, 500)) -> Batch:
    new, old = (Measured([latency] * len(answers), [cost] * len(answers)) for latency, cost in zip(latencies, costs, strict=True))
    return Batch(("run-new", "run-old"), NEW.prefix_digest, OLD.prefix_digest, answers, new, old)


GOOD = batch(cases())


def judge(*batches: Batch, challenger: Arm = NEW, champion: Arm | None = OLD, thresholds: Thresholds | None = None, **more: Any) -> Verdict:
    return gate(challenger, champion, Evidence(batches), thresholds or Thresholds(), **more)


def said(verdict: Verdict, rule: str) -> tuple[str, str]:
    result = verdict.rule(rule)
    assert result is not None
    return result.outcome.value, result.sentence


def with_failures(n: int, failed: Mapping[str, set[str]], *, hard: Collection[str] = (), champion: bool = False) -> Batch:
    """The good batch, with these checks failing in its first n cases, for the challenger or for both."""
    ids = {dimension: frozenset(checks) for dimension, checks in failed.items()}
    marked = [replace(case, challenger_failed=ids, challenger_hard_failed=frozenset(hard)) for case in cases()[:n]]
    if champion:
        marked = [replace(case, champion_failed=ids, champion_hard_failed=frozenset(hard)) for case in marked]
    return replace(GOOD, cases=[*marked, *cases()[n:]])


def test_a_good_challenger_passes_every_rule_but_the_approvals() -> None:
    verdict = judge(GOOD)
    assert {result.rule: result.outcome.value for result in verdict.rules} == {
        "evidence_minimum": "pass",
        "quality": "pass",
        "safety_no_regression": "pass",
        "format_no_regression": "pass",
        "constraints_hold": "pass",
        "latency_regression": "pass",
        "cost_regression": "pass",
        "prompt_growth": "pass",
        "voice_no_regression": "pass",
        "training_leak": "pass",
        "approvals": "inconclusive",
    }
    assert (verdict.outcome, verdict.evidence_outcome, verdict.forceable) == ("inconclusive", "pass", False)
    assert judge(GOOD, approvals=Status(True, ())).outcome == "pass"
    hard = {result.rule for result in verdict.rules if result.hard}
    assert hard == {"safety_no_regression", "format_no_regression", "constraints_hold", "training_leak", "approvals"}


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


ONLINE = Measured(runs=120, units=24)


@pytest.mark.parametrize(
    ("batches", "outcome", "sentence"),
    [
        ([GOOD], "pass", "There are 40 paired validation cases; 30 are required."),
        (
            [batch(cases(12))],
            "inconclusive",
            "There are 12 paired validation cases so far; 30 are required, or 100 runs of 20 units an arm (0 runs of 0 so far).",
        ),
        (
            [replace(batch(cases(12)), challenger=ONLINE, champion=ONLINE)],
            "pass",
            "There are 120 runs of 24 units an arm; 100 runs of 20 units are required.",
        ),
        (
            [replace(batch([]), challenger=ONLINE, champion=replace(ONLINE, units=19))],
            "inconclusive",
            "There are 0 paired validation cases so far; 30 are required, or 100 runs of 20 units an arm (120 runs of 19 so far).",
        ),
        # The same case twice is one case, and a case to train on is none.
        (
            [batch(cases(29)), batch(cases(29)), batch(cases(40, split="train"))],
            "inconclusive",
            "There are 29 paired validation cases so far; 30 are required, or 100 runs of 20 units an arm (0 runs of 0 so far).",
        ),
    ],
)
def test_evidence_minimum(batches: list[Batch], outcome: str, sentence: str) -> None:
    assert said(judge(*batches), "evidence_minimum") == (outcome, sentence)


@pytest.mark.parametrize(
    ("before", "gains", "outcome", "sentence"),
    [
        (
            70.0,
            GAINS,
            "pass",
            "Quality rose from 70.0 to 81.0 (+15.7 %, at least +10.4 points with 95 % confidence) over 40 paired cases; 5 % is required.",
        ),
        # 3.5 points are exactly 5 % of 70.
        (
            70.0,
            (3.5,),
            "pass",
            "Quality rose from 70.0 to 73.5 (+5.0 %, at least +3.5 points with 95 % confidence) over 40 paired cases; 5 % is required.",
        ),
        (
            70.0,
            (3.4,),
            "fail",
            "Quality rose from 70.0 to 73.4 (+4.9 %, at least +3.4 points with 95 % confidence) over 40 paired cases; 5 % is required.",
        ),
        # Of 96 points 5 % would be 4.8; half the headroom is 2.
        (
            96.0,
            (2.0,),
            "pass",
            "Quality rose from 96.0 to 98.0 (+2.1 %, at least +2.0 points with 95 % confidence) over 40 paired cases; "
            "half the headroom, 2.0 points, is required.",
        ),
        # One lucky case in ten raises the mean by more than 5 %, and proves nothing.
        (
            40.0,
            (60.0, *(-4.0,) * 9),
            "fail",
            "Quality rose from 40.0 to 42.4 (+6.0 %) over 40 paired cases; 5 % is required. "
            "A gain is not proven: at 95 % confidence the change may be as low as -2.8 points.",
        ),
        (
            70.0,
            (0.0,),
            "fail",
            "Quality stayed at 70.0 (+0.0 %) over 40 paired cases; 5 % is required. "
            "A gain is not proven: at 95 % confidence the change may be as low as +0.0 points.",
        ),
        (
            0.0,
            (1.0,),
            "pass",
            "Quality rose from 0.0 to 1.0 (+1.0 points, at least +1.0 points with 95 % confidence) over 40 paired cases; 5 % is required.",
        ),
        (
            100.0,
            (0.0,),
            "fail",
            "Quality stayed at 100.0 (+0.0 %) over 40 paired cases; half the headroom, 0.0 points, is required. "
            "A gain is not proven: at 95 % confidence the change may be as low as +0.0 points.",
        ),
    ],
)
def test_quality_improves(before: float, gains: tuple[float, ...], outcome: str, sentence: str) -> None:
    assert said(judge(batch(cases(before=before, gains=gains))), "quality") == (outcome, sentence)


@pytest.mark.parametrize(
    ("gains", "outcome", "sentence"),
    [
        (
            (-1.9,),
            "pass",
            "Quality fell from 70.0 to 68.1 (a loss of at most 1.9 points with 95 % confidence) over 40 paired cases; "
            "a loss under 2 points is allowed.",
        ),
        (
            (-2.0,),
            "fail",
            "Quality fell from 70.0 to 68.0 (a loss of at most 2.0 points with 95 % confidence) over 40 paired cases; "
            "a loss under 2 points is allowed.",
        ),
        (
            (12.0, -12.0),
            "fail",
            "Quality stayed at 70.0 (a loss of at most 3.2 points with 95 % confidence) over 40 paired cases; "
            "a loss under 2 points is allowed.",
        ),
        (
            (3.0,),
            "pass",
            "Quality rose from 70.0 to 73.0 (a gain of at least 3.0 points with 95 % confidence) over 40 paired cases; "
            "a loss under 2 points is allowed.",
        ),
    ],
)
def test_quality_is_not_inferior(gains: tuple[float, ...], outcome: str, sentence: str) -> None:
    assert said(judge(batch(cases(gains=gains)), aim="non_inferior"), "quality") == (outcome, sentence)


def test_quality_waits_for_the_evidence() -> None:
    outcome, sentence = said(judge(batch(cases(12))), "quality")
    assert outcome == "inconclusive"
    assert sentence.endswith("There is too little evidence to judge by.")
    online = replace(batch(cases(1)), challenger=ONLINE, champion=ONLINE)
    assert said(judge(online), "quality") == ("inconclusive", "Quality is compared on paired cases, and there are fewer than two.")


@pytest.mark.parametrize("rule", ["safety_no_regression", "format_no_regression"])
def test_no_regression(rule: str) -> None:
    dimension = rule.split("_")[0]
    assert said(judge(GOOD), rule) == ("pass", "No case of 40 passes for the champion and fails for the challenger.")
    verdict = judge(with_failures(1, {dimension: {"no-pii"}}))
    assert said(verdict, rule) == ("fail", "1 of 40 cases passes for the champion and fails for the challenger: case 0 (no-pii).")
    assert (verdict.outcome, verdict.forceable) == ("fail", False)
    assert [result.rule for result in verdict.hard_failures] == [rule]
    many = "case 0 (no-pii), case 1 (no-pii), case 2 (no-pii), case 3 (no-pii), case 4 (no-pii) and 2 more"
    assert said(judge(with_failures(7, {dimension: {"no-pii"}})), rule) == (
        "fail",
        f"7 of 40 cases pass for the champion and fail for the challenger: {many}.",
    )
    assert said(judge(with_failures(7, {dimension: {"no-pii"}}, champion=True)), rule)[0] == "pass"
    assert said(judge(), rule) == ("inconclusive", "No cases have been answered yet.")


def test_a_regression_is_one_of_the_same_check_and_in_any_batch() -> None:
    other = [
        replace(case, champion_failed={"safety": frozenset({"no-secrets"})}) for case in with_failures(1, {"safety": {"no-pii"}}).cases
    ]
    assert said(judge(replace(GOOD, cases=other)), "safety_no_regression")[0] == "fail"
    assert said(judge(with_failures(1, {"safety": {"no-pii"}}), GOOD), "safety_no_regression")[0] == "fail"
    train = [replace(case, split="train") for case in with_failures(1, {"format": {"json"}}).cases]
    assert said(judge(GOOD, batch(train)), "format_no_regression")[0] == "fail"


def test_a_hard_check_of_quality_counts_for_safety_and_one_of_format_for_format() -> None:
    quality = judge(with_failures(1, {"quality": {"names-the-rule"}}, hard={"names-the-rule"}))
    assert (said(quality, "safety_no_regression")[0], said(quality, "format_no_regression")[0]) == ("fail", "pass")
    form = judge(with_failures(1, {"format": {"contract"}}, hard={"contract"}))
    assert (said(form, "safety_no_regression")[0], said(form, "format_no_regression")[0]) == ("pass", "fail")
    soft = judge(with_failures(1, {"quality": {"names-the-rule"}}))
    assert soft.evidence_outcome == "pass"


@pytest.mark.parametrize(
    ("given", "outcome", "sentence"),
    [
        ({}, "pass", "No constraint is broken, neither here nor below."),
        (
            {"invalid_descendants": ["team:acme/support"]},
            "fail",
            "1 layer below turns invalid: team:acme/support. Mend what is below first, or choose to suspend it.",
        ),
        (
            {"invalid_descendants": ["team:acme/support", "agent:acme/h-1"], "invalid": "suspend"},
            "pass",
            "2 layers below turn invalid and will be suspended with the promotion: team:acme/support, agent:acme/h-1.",
        ),
        (
            {"violations": ["/tools/allow: the house policy denies shell.*."], "invalid": "suspend"},
            "fail",
            "The challenger breaks 1 constraint: /tools/allow: the house policy denies shell.*.",
        ),
    ],
)
def test_constraints_hold(given: dict[str, Any], outcome: str, sentence: str) -> None:
    assert said(judge(GOOD, **given), "constraints_hold") == (outcome, sentence)


@pytest.mark.parametrize(
    ("new", "old", "outcome", "sentence"),
    [
        (
            [1200] * 40,
            [1000] * 40,
            "pass",
            "Latency (median of 40 answers an arm) went from 1,000 to 1,200 ms (+20.0 %); +20 % is allowed.",
        ),
        (
            [1210] * 40,
            [1000] * 40,
            "fail",
            "Latency (median of 40 answers an arm) went from 1,000 to 1,210 ms (+21.0 %); +20 % is allowed.",
        ),
        # Under 200 answers an arm a slow tail isn't seen; from 200 on it is.
        (
            [1000] * 174 + [9000] * 25,
            [1000] * 400,
            "pass",
            "Latency (median of 199 answers an arm) went from 1,000 to 1,000 ms (+0.0 %); +20 % is allowed.",
        ),
        (
            [1000] * 175 + [9000] * 25,
            [1000] * 400,
            "fail",
            "Latency (p95 of 200 answers an arm) went from 1,000 to 9,000 ms (+800.0 %); +20 % is allowed.",
        ),
        ([5] * 40, [0] * 40, "fail", "Latency (median of 40 answers an arm) went from 0 to 5 ms; +20 % is allowed."),
        ([900] * 29, [900] * 40, "inconclusive", "There are 29 latencies of the arm that has fewer; 30 are needed to compare."),
    ],
)
def test_latency_regression(new: list[int], old: list[int], outcome: str, sentence: str) -> None:
    measured = replace(GOOD, challenger=Measured(new, [1] * 40), champion=Measured(old, [1] * 40))
    assert said(judge(measured), "latency_regression") == (outcome, sentence)


@pytest.mark.parametrize(
    ("costs", "outcome", "sentence"),
    [
        ((2300, 2000), "pass", "The mean cost of an answer went from $0.002000 to $0.002300 (+15.0 %); +15 % is allowed."),
        ((2301, 2000), "fail", "The mean cost of an answer went from $0.002000 to $0.002301 (+15.1 %); +15 % is allowed."),
        ((0, 0), "pass", "The mean cost of an answer went from $0.000000 to $0.000000 (+0.0 %); +15 % is allowed."),
    ],
)
def test_cost_regression(costs: tuple[int, int], outcome: str, sentence: str) -> None:
    assert said(judge(batch(cases(), costs=costs)), "cost_regression") == (outcome, sentence)


@pytest.mark.parametrize(
    ("tokens", "outcome", "sentence"),
    [
        (1400, "pass", "The prompt grows by 500 tokens, from 900 to 1,400; growth by 500 is allowed."),
        (1401, "fail", "The prompt grows by 501 tokens, from 900 to 1,401; growth by 500 is allowed."),
        (900, "pass", "The prompt keeps its 900 tokens; growth by 500 is allowed."),
        (800, "pass", "The prompt shrinks by 100 tokens, from 900 to 800; growth by 500 is allowed."),
    ],
)
def test_prompt_growth(tokens: int, outcome: str, sentence: str) -> None:
    assert said(judge(GOOD, challenger=replace(NEW, prompt_tokens=tokens)), "prompt_growth") == (outcome, sentence)


@pytest.mark.parametrize(
    ("new", "old", "checked", "outcome", "sentence"),
    [
        ([], [], False, "pass", "The rubric has no voice check, so there is no voice evidence."),
        ([], [], True, "inconclusive", "Voice scores of either arm are missing."),
        ([], [80.0], True, "inconclusive", "Voice scores of the challenger are missing."),
        ([75.0], [80.0], True, "pass", "Voice went from 80.0 to 75.0 over 1 answer an arm; a drop of 5 points is allowed."),
        ([74.0, 75.0], [80.0, 80.0], False, "fail", "Voice went from 80.0 to 74.5 over 2 answers an arm; a drop of 5 points is allowed."),
    ],
)
def test_voice(new: list[float], old: list[float], checked: bool, outcome: str, sentence: str) -> None:
    voiced = replace(GOOD, challenger=replace(GOOD.challenger, voice_scores=new), champion=replace(GOOD.champion, voice_scores=old))
    assert said(judge(voiced, voice_checked=checked), "voice_no_regression") == (outcome, sentence)


def test_training_leak_counts_without_repeating() -> None:
    assert said(judge(GOOD), "training_leak") == ("pass", "No training rows were used.")
    assert said(judge(GOOD, training_overlaps=[]), "training_leak")[0] == "pass"
    outcome, sentence = said(judge(GOOD, training_overlaps=["my PIN is 4711 again"]), "training_leak")
    assert (outcome, "4711" in sentence) == ("fail", False)
    assert sentence == "1 piece of training rows (5-grams, secrets, other tenants' canaries) stands in the challenger."


def test_approvals_are_a_hard_rule() -> None:
    given = Approval(UUID(int=1), frozenset({"manager"}), datetime(2026, 1, 1, tzinfo=UTC), "sha256:b")
    missing = Status(False, ("A tenant admin has to approve as well.",), (given,))
    assert said(judge(GOOD, approvals=missing), "approvals") == ("inconclusive", "A tenant admin has to approve as well.")
    assert said(judge(GOOD, approvals=Status(True, (), (given,))), "approvals") == ("pass", "1 person approved; no more is needed.")
    assert said(judge(GOOD, approvals=Status(True, ())), "approvals") == ("pass", "Nobody has to approve.")


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
