"""The online score, exact, and its laws."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.evals.domain.online import Baseline, baseline_of, latency_points, online_score

BASE = Baseline(1_000_000, 50)  # one second
ALL_GOOD: dict[str, Any] = {
    "success": True,
    "format_passed": True,
    "approval_passed": True,
    "retries": 0,
    "latency_ms": 1000,
    "baseline": BASE,
}
ENGINEERED = {"pr_created": True, "ci_passed": True, "human_reviewed": True}


@pytest.mark.parametrize(
    ("changed", "score"),
    [
        ({}, 9500),
        ({"success": None, "format_passed": None, "approval_passed": None, "retries": None}, 9500),
        ({"latency_ms": None}, 9500),
        ({"latency_ms": 500}, 10000),
        ({"latency_ms": 750}, 9750),
        ({"latency_ms": 1100}, 9250),
        ({"latency_ms": 1400}, 8500),
        ({"latency_ms": 9000}, 8500),
        ({"latency_ms": 1001}, 9497),  # 0.1 % slower: 0.025 points, rounded to 0.03
        ({"success": False}, 4000),
        ({"format_passed": False}, 7500),
        ({"approval_passed": False}, 7500),
        ({"retries": 1}, 9200),
        ({"retries": 5}, 8000),
        ({"retries": 500}, 8000),
        ({"success": False, "format_passed": False, "approval_passed": False, "retries": 9, "latency_ms": 9000}, 0),
        ({"success": False, "format_passed": False, "approval_passed": False, "latency_ms": 1}, 500),
        ({"latency_ms": 9000, "baseline": Baseline(1_000_000, 9)}, 9500),
        ({"latency_ms": 9000, "baseline": Baseline(1_000_000, 10)}, 8500),
        ({"latency_ms": 9000, "baseline": Baseline(0, 50)}, 9500),
        ({"domain": "engineering"}, 7500),
        ({"domain": "engineering", "checks": ENGINEERED}, 9500),
        ({"domain": "engineering", "checks": ENGINEERED, "approval_passed": None}, 9500),
        ({"domain": "engineering", "checks": ENGINEERED, "approval_passed": False}, 7500),
        ({"domain": "engineering", "checks": {**ENGINEERED, "ci_passed": "true"}}, 7500),
        ({"domain": "engineering", "checks": {**ENGINEERED, "ui_labeled": True}}, 7500),
        ({"domain": "engineering", "checks": {**ENGINEERED, "ui_labeled": True, "ui_screenshot_present": True}}, 9500),
        ({"domain": "engineering", "checks": {**ENGINEERED, "ui_labeled": False, "ui_screenshot_present": False}}, 9500),
        ({"domain": "hr-ops", "checks": {"ci_passed": False}}, 9500),
    ],
)
def test_the_formula(changed: dict[str, Any], score: int) -> None:
    assert online_score(**{**ALL_GOOD, **changed}).score == score


RUNS = st.fixed_dictionaries(
    {
        "success": st.sampled_from([None, True, False]),
        "format_passed": st.sampled_from([None, True, False]),
        "approval_passed": st.sampled_from([None, True, False]),
        "retries": st.one_of(st.none(), st.integers(0, 2**31)),
        "latency_ms": st.one_of(st.none(), st.integers(0, 2**53)),
        "baseline": st.builds(Baseline, st.integers(0, 2**60), st.integers(0, 50)),
        "domain": st.sampled_from(["", "hr-ops", "engineering"]),
        "checks": st.dictionaries(st.sampled_from([*ENGINEERED, "ui_labeled"]), st.booleans()),
    }
)


@given(RUNS)
def test_scores_stay_in_bounds_and_are_the_clamped_sum(run: dict[str, Any]) -> None:
    scored = online_score(**run)
    parts = scored.success + scored.format + scored.approval + scored.retries + scored.latency
    assert scored.score == max(0, min(parts, 10_000))
    assert (-1500 <= scored.retries <= 0, -1000 <= scored.latency <= 500) == (True, True)


@given(RUNS, st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 20), st.integers(0, 20))
def test_more_retries_or_latency_never_score_higher(run: dict[str, Any], latency: int, slower: int, retries: int, more: int) -> None:
    better = online_score(**{**run, "latency_ms": latency, "retries": retries}).score
    worse = online_score(**{**run, "latency_ms": latency + slower, "retries": retries + more}).score
    assert worse <= better


@given(RUNS)
def test_missing_scores_as_passed(run: dict[str, Any]) -> None:
    passed = {name: True for name in ("success", "format_passed", "approval_passed") if run[name] is None}
    assert online_score(**run) == online_score(**{**run, **passed})


@given(st.lists(st.integers(0, 10**6), max_size=9), st.integers(0, 10**6))
def test_under_ten_baseline_runs_latency_counts_nothing(latencies: list[int], latency: int) -> None:
    assert latency_points(latency, baseline_of(latencies)) == 0


@pytest.mark.parametrize(
    ("latencies", "baseline"),
    [
        ([], Baseline(0, 0)),
        ([7], Baseline(7000, 1)),
        ([3, 1, 2], Baseline(2000, 3)),
        ([1, 2], Baseline(1500, 2)),
        ([5] * 50 + [10**6] * 100, Baseline(5000, 50)),
    ],
)
def test_the_baseline_is_the_median_of_the_newest_fifty(latencies: list[int], baseline: Baseline) -> None:
    assert baseline_of(latencies) == baseline
