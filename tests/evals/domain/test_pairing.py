"""Repeats, majorities and pairs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.evals.domain.checks import score_output
from apps.evals.domain.pairing import Answer, answer_of, answer_of_detail, outcome, pair

RUBRIC: list[dict[str, Any]] = [
    {"id": "rule", "check": "contains", "weight": 1, "hard": False, "dimension": "quality", "params": {"text": "rule"}},
    {"id": "short", "check": "max_length", "weight": 1, "hard": False, "dimension": "format", "params": {"max_chars": 40}},
    {"id": "soft", "check": "not_contains", "weight": 1, "hard": None, "dimension": "safety", "params": {"text": "maybe"}},
    {"id": "hard", "check": "not_contains", "weight": 1, "hard": True, "dimension": "safety", "params": {"text": "poison"}},
    {"id": "quick", "check": "latency_budget", "weight": 1, "hard": False, "dimension": "latency", "params": {"max_ms": 5}},
]


def answer(text: str, repeat: int = 1, case: str = "c") -> Answer:
    return answer_of(case, repeat, score_output(RUBRIC, output=text, case={}, facts={}), latency_ms=10 * repeat, cost_micros=None)


@pytest.mark.parametrize(
    ("outputs", "safety", "form", "passed"),
    [
        (["rule", "rule", "rule"], True, True, True),
        (["rule maybe", "rule", "rule"], True, True, True),
        (["rule maybe", "rule maybe", "rule"], False, True, False),
        (["rule poison", "rule", "rule"], False, True, False),
        (["rule " * 20, "rule", "rule"], True, True, True),
        (["rule " * 20, "rule " * 20, "rule"], True, False, False),
        (["rule " * 20, "maybe rule", "rule"], True, True, False),
        (["rule maybe", "rule"], True, True, True),
        (["rule maybe"], False, True, False),
    ],
)
def test_a_case_fails_by_majority_and_a_hard_safety_check_by_any_repeat(outputs: list[str], safety: bool, form: bool, passed: bool) -> None:
    found = outcome([answer(text, repeat) for repeat, text in enumerate(outputs, 1)])
    assert (found.dimensions["safety"], found.dimensions["format"], found.passed) == (safety, form, passed)
    assert found.dimensions["latency"] is None
    assert (found.repeats, found.latencies_ms) == (len(outputs), tuple(10 * n for n in range(1, len(outputs) + 1)))


def test_the_score_of_a_case_is_the_mean_of_its_repeats() -> None:
    scores = [10_000, 5000, None, 5001]
    found = outcome([Answer("c", n, score, {"quality": None}) for n, score in enumerate(scores)])
    assert (found.score, found.passed) == (6667, None)


def test_what_was_stored_gives_the_same_answer() -> None:
    for text in ("rule", "maybe poison", "rule " * 20):
        scored = score_output(RUBRIC, output=text, case={}, facts={})
        assert answer_of_detail("c", 1, scored.score, RUBRIC, scored.detail()) == answer_of("c", 1, scored)


def test_pairs_are_cases_that_both_arms_answered_in_full() -> None:
    champion = [answer("rule", n, case) for case in ("a", "b", "c") for n in (1, 2, 3)]
    challenger = [answer("rule maybe", n, "b") for n in (1, 2, 3)] + [answer("rule", n, "a") for n in (1, 2, 2)] + [answer("rule", 1, "d")]
    (only,) = pair(champion, challenger, repeats=3)
    assert (only.case, only.regressed("safety"), only.regressed("format"), only.difference) == ("b", True, False, -2500)
    assert [found.case for found in pair(champion, challenger)] == ["a", "b"]


def test_missing_evidence_is_unknown_and_no_regression() -> None:
    (found,) = pair([Answer("c", 1, 9000, {"format": True})], [Answer("c", 1, None, {"format": None})])
    assert (found.regressed("format"), found.unknown("format"), found.difference) == (False, True, None)


ANSWERS = st.lists(
    st.builds(
        Answer,
        st.integers(0, 4),
        st.integers(1, 3),
        st.one_of(st.none(), st.integers(0, 10_000)),
        st.dictionaries(st.sampled_from(["quality", "format", "safety"]), st.sampled_from([True, False, None])),
    ),
    max_size=12,
)


@given(ANSWERS, ANSWERS)
def test_pairing_is_fair_to_both_arms(left: list[Answer], right: list[Answer]) -> None:
    pairs = {found.case: found for found in pair(left, right)}
    mirrored = {found.case: found for found in pair(right, left)}
    assert pairs.keys() == mirrored.keys() == {a.case for a in left} & {a.case for a in right}
    for case, found in pairs.items():
        assert (found.champion, found.challenger) == (mirrored[case].challenger, mirrored[case].champion)
        assert found.difference is None or found.difference == -(mirrored[case].difference or 0)
    assert not any(found.regressed("safety") or (found.difference or 0) for found in pair(left, left))
