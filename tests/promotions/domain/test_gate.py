"""The gate rule by rule: what passes, what doesn't, and the sentence a person reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from apps.promotions.domain.approvals import Approval, Status
from apps.promotions.domain.gate import Batch, Measured
from tests.promotions.domain.judging import GAINS, GOOD, NEW, ONLINE, batch, cases, judge, said, with_failures


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
