"""Laws of the gate, over generated evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apps.promotions.domain.approvals import Status
from apps.promotions.domain.gate import Arm, Batch, Evidence, Measured, PairedCase, Verdict, gate
from apps.promotions.domain.thresholds import DEMANDS, FIELDS, Thresholds

APPROVED = Status(True, ())
points = st.integers(0, 100).map(float)
aims = st.sampled_from(["improve", "non_inferior", "policy"])
failed = st.dictionaries(
    st.sampled_from(["safety", "format", "quality"]), st.frozensets(st.sampled_from(["a", "b"]), min_size=1, max_size=2), max_size=1
)


@st.composite
def paired_cases(draw: st.DrawFn) -> list[PairedCase]:
    """Cases near a common gain, so that all outcomes of the quality rule turn up, and seldom a failed check."""
    before, gain, noise = draw(st.integers(0, 95)), draw(st.integers(-10, 15)), draw(st.integers(0, 20))
    regressing = draw(st.sampled_from([0, 0, 0, 1]))
    found = []
    for number in range(draw(st.integers(2, 45))):
        after = min(100.0, max(0.0, before + gain + draw(st.integers(-noise, noise))))
        found.append(PairedCase(f"c{number}", after, float(before), draw(failed) if number < regressing else {}))
    return found


@st.composite
def evidence(draw: st.DrawFn) -> Evidence:
    def measured() -> Measured:
        base, n = draw(st.integers(1, 200)), draw(st.sampled_from([0, 20, 40, 210]))
        voice = draw(st.lists(points, max_size=2))
        return Measured([base + i % 7 for i in range(n)], [base * 3] * n, voice, draw(st.integers(0, 150)), draw(st.integers(0, 30)))

    return Evidence([Batch(("e",), "new", "old", draw(paired_cases()), measured(), measured())])


@st.composite
def all_thresholds(draw: st.DrawFn) -> Thresholds:
    chosen = {name: draw(st.integers(0, 2 * getattr(Thresholds(), name))) for name in draw(st.sets(st.sampled_from(FIELDS), max_size=4))}
    return replace(Thresholds(), **chosen)


def ask(given: Evidence, thresholds: Thresholds, *, aim: Any = "improve", grown: int = 100, **more: Any) -> Verdict:
    return gate(Arm("new", 900 + grown), Arm("old", 900), given, thresholds, aim=aim, approvals=APPROVED, **more)


def outcomes(verdict: Verdict) -> dict[str, str]:
    return {result.rule: result.outcome.value for result in verdict.rules}


@given(evidence(), all_thresholds(), st.sampled_from(["improve", "non_inferior"]), st.integers(1, 40))
def test_a_challenger_that_is_better_in_every_case_never_loses_a_pass_on_quality(
    given: Evidence, thresholds: Thresholds, aim: str, better: int
) -> None:
    """Better by the same in every case: Student's bound widens when single cases jump, so more than that isn't true."""
    [batch] = given.batches
    raised = [replace(case, challenger_score=case.challenger_score + better) for case in batch.cases]
    before = outcomes(ask(given, thresholds, aim=aim))["quality"]
    after = outcomes(ask(Evidence([replace(batch, cases=raised)]), thresholds, aim=aim))["quality"]
    assert not (before == "pass" and after != "pass")


@given(evidence(), st.integers(0, 600), all_thresholds(), st.sampled_from(FIELDS), st.integers(1, 3000), aims)
def test_loosening_a_threshold_never_loses_a_pass(
    given: Evidence, grown: int, thresholds: Thresholds, name: str, by: int, aim: str
) -> None:
    value = getattr(thresholds, name)
    looser = replace(thresholds, **{name: max(0, value - by) if name in DEMANDS else value + by})
    before, after = ask(given, thresholds, aim=aim, grown=grown), ask(given, looser, aim=aim, grown=grown)
    lost = {rule for rule, outcome in outcomes(before).items() if outcome == "pass" and outcomes(after)[rule] != "pass"}
    assert lost == set()
    assert not (before.outcome == "pass" and after.outcome != "pass")


ANYTHING = Thresholds(
    min_cases=0,
    min_runs=0,
    min_units=0,
    min_quality_gain_pct=0,
    non_inferiority_margin=1000,
    max_allowed_latency_regression_pct=10**9,
    max_cost_regression_pct=10**9,
    max_prompt_growth_tokens=10**9,
    max_voice_drop=1000,
    absolute_min_mean=0,
)


@given(
    evidence(),
    aims,
    st.sampled_from(
        [
            {"invalid_descendants": ["team:acme/support"]},
            {"violations": ["The house policy denies it."]},
            {"training_overlaps": ["one two three four five"]},
            {"safety": True},
            {"format": True},
        ]
    ),
)
def test_nothing_overrides_a_hard_rule(given: Evidence, aim: str, broken: dict[str, Any]) -> None:
    """Neither the loosest thresholds nor force."""
    [batch] = given.batches
    if dimension := next((name for name in ("safety", "format") if name in broken), None):
        bad = PairedCase("bad", 100.0, 0.0, {dimension: frozenset({"check"})})
        given, broken = Evidence([replace(batch, cases=[*batch.cases, bad])]), {}
    verdict = ask(given, ANYTHING, aim=aim, **broken)
    assert verdict.outcome == "fail"
    assert verdict.hard_failures
    assert not verdict.forceable


@given(evidence(), all_thresholds(), aims)
def test_a_verdict_is_as_bad_as_its_worst_rule_and_is_the_same_twice(given: Evidence, thresholds: Thresholds, aim: str) -> None:
    verdict = ask(given, thresholds, aim=aim)
    found = set(outcomes(verdict).values())
    assert verdict.outcome == ("fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass")
    assert Verdict.from_json(verdict.to_json()) == verdict == ask(given, thresholds, aim=aim)
    assert all(result.sentence.endswith(".") for result in verdict.rules)
    if verdict.forceable:
        assert all(result.outcome == "pass" for result in verdict.rules if result.hard)


@given(evidence(), all_thresholds(), aims)
def test_evidence_of_another_prefix_changes_no_rule(given: Evidence, thresholds: Thresholds, aim: str) -> None:
    [batch] = given.batches
    foreign = replace(batch, evidence_ids=("foreign",), champion_prefix="another")
    with_it = outcomes(ask(Evidence([batch, foreign]), thresholds, aim=aim))
    assert with_it == outcomes(ask(given, thresholds, aim=aim))
