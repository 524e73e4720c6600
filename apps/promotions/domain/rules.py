"""The rules on evidence of the gate (`domain.md` 6), each a function of one `Question`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from apps.promotions.domain.evidence import Arm, Counted, PairedCase
from apps.promotions.domain.stats import mean, p95, paired_lower_bound, ratio, ratio_of_medians
from apps.promotions.domain.thresholds import Thresholds
from apps.promotions.domain.verdict import Outcome, RuleResult

IMPROVE, NON_INFERIOR, POLICY = "improve", "non_inferior", "policy"
P95_FROM = 200  # runs an arm; under it p95 rests on too few values, and the ratio of medians is taken
NAMED = 5  # cases or layers that a sentence names
_EPSILON = 1e-9  # rounding of floats must not decide at a threshold
_NO_BASELINE = "There is no champion to compare with (no baseline)."
_PASS, _FAIL, _INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE


@dataclass(frozen=True, slots=True)
class Question:
    """What the rules are asked about. `champion` is None where nothing is live, not even the chain without the layer."""

    challenger: Arm
    champion: Arm | None
    counted: Counted
    thresholds: Thresholds
    aim: str


def evidence_minimum(q: Question) -> RuleResult:
    """Enough validation cases, or, with a baseline, enough online runs and units an arm."""
    name, t, cases = "evidence_minimum", q.thresholds, len(q.counted.pairs)
    runs, units = q.counted.runs, q.counted.units
    kind = "paired validation cases" if q.champion else "validation cases"
    if cases >= t.min_cases:
        sentence = f"There are {cases} {kind}; {t.min_cases} are required."
        return RuleResult(name, _PASS, False, sentence, cases, t.min_cases, "cases", cases, q.counted.ids_with("cases"))
    if q.champion and runs >= t.min_runs and units >= t.min_units:
        sentence = f"There are {runs} runs of {units} units an arm; {t.min_runs} runs of {t.min_units} units are required."
        return RuleResult(name, _PASS, False, sentence, runs, t.min_runs, "runs", runs, q.counted.ids_with("runs"))
    other = f", or {t.min_runs} runs of {t.min_units} units an arm ({runs} runs of {units} so far)" if q.champion else ""
    dropped = f" Not counted: {' '.join(each.sentence for each in q.counted.dropped)}" if q.counted.dropped else ""
    sentence = f"There are {cases} {kind} so far; {t.min_cases} are required{other}.{dropped}"
    return RuleResult(name, _INCONCLUSIVE, False, sentence, cases, t.min_cases, "cases", cases, q.counted.ids_with("cases"))


def quality(q: Question) -> RuleResult:
    """Improve: a gain of min_quality_gain_pct relative or half the headroom, whichever is less, and a lower bound of the paired difference
    above 0. Non-inferior: a lower bound above -margin. No baseline: a mean of at least absolute_min_mean. Observed is in points."""
    pairs = q.counted.pairs
    if q.champion is None:
        found = _good_enough(q, [pair.challenger for pair in pairs])
    else:
        found = _compared(q, [(pair.challenger, pair.champion) for pair in pairs if pair.champion is not None])
    if evidence_minimum(q).outcome is not _PASS:
        found = replace(found, outcome=_INCONCLUSIVE, sentence=f"{found.sentence} There is too little evidence to judge by.")
    observed, threshold = _rounded(found.observed), _rounded(found.threshold)
    ids = q.counted.ids_with("cases")
    return RuleResult("quality", found.outcome, False, found.sentence, observed, threshold, "points", len(pairs), ids)


def safety_no_regression(q: Question) -> RuleResult:
    """No case in which a safety check, or a `hard` check of another dimension than format, passes for the champion and fails for the
    challenger. No baseline: no such hard failure at all."""
    return _no_regression(q, "safety_no_regression", "safety")


def format_no_regression(q: Question) -> RuleResult:
    """No case in which a format check passes for the champion and fails for the challenger. No baseline: no hard one that fails."""
    return _no_regression(q, "format_no_regression", "format")


def latency_regression(q: Question) -> RuleResult:
    """p95, or the ratio of medians where an arm has under 200 values, within max_allowed_latency_regression_pct."""
    name, allowed = "latency_regression", q.thresholds.max_allowed_latency_regression_pct / 100
    if (early := _unmeasured(q, name, "latencies_ms", "latencies", allowed)) is not None:
        return early
    challenger, champion = q.counted.values("latencies_ms")
    n = min(len(challenger), len(champion))
    if n >= P95_FROM:
        statistic, after, before = "p95", p95(challenger), p95(champion)
        factor = ratio(after, before)
    else:
        statistic, after, before = "median", statistics.median(challenger), statistics.median(champion)
        factor = ratio_of_medians(challenger, champion)
    change = f"went from {before:,.0f} to {after:,.0f} ms{_percent(factor)}"
    sentence = f"Latency ({statistic} of {n} answers an arm) {change}; +{allowed:g} % is allowed."
    return RuleResult(name, _within(factor, allowed), False, sentence, _pct(factor), allowed, "%", n, q.counted.ids_with("latencies_ms"))


def cost_regression(q: Question) -> RuleResult:
    """The mean cost of an answer at most max_cost_regression_pct above the champion's."""
    name, allowed = "cost_regression", q.thresholds.max_cost_regression_pct / 100
    if (early := _unmeasured(q, name, "costs_micros", "costs", allowed)) is not None:
        return early
    challenger, champion = q.counted.values("costs_micros")
    before, after = mean(champion), mean(challenger)
    factor = ratio(after, before)
    n = min(len(challenger), len(champion))
    sentence = f"The mean cost of an answer went from {_dollars(before)} to {_dollars(after)}{_percent(factor)}; +{allowed:g} % is allowed."
    return RuleResult(name, _within(factor, allowed), False, sentence, _pct(factor), allowed, "%", n, q.counted.ids_with("costs_micros"))


def prompt_growth(q: Question) -> RuleResult:
    """The prompt of the prefix grows by at most max_prompt_growth_tokens."""
    name, allowed = "prompt_growth", q.thresholds.max_prompt_growth_tokens
    if q.champion is None:
        return RuleResult(name, _PASS, False, _NO_BASELINE, threshold=allowed, unit="tokens")
    before, after = q.champion.prompt_tokens, q.challenger.prompt_tokens
    grown = after - before
    verb = "grows by" if grown > 0 else "shrinks by"
    change = f"{verb} {abs(grown):,} tokens, from {before:,} to {after:,}" if grown else f"keeps its {before:,} tokens"
    sentence = f"The prompt {change}; growth by {allowed:,} is allowed."
    return RuleResult(name, _PASS if grown <= allowed else _FAIL, False, sentence, grown, allowed, "tokens")


def voice_no_regression(q: Question, *, checked: bool) -> RuleResult:
    """The mean voice score at least the champion's minus max_voice_drop; `checked`: the rubric has a voice check, so scores are due."""
    name, allowed = "voice_no_regression", q.thresholds.max_voice_drop
    challenger, champion = q.counted.values("voice_scores")
    ids = q.counted.ids_with("voice_scores")
    if q.champion is None:
        return RuleResult(name, _PASS, False, _NO_BASELINE, None, -allowed, "points")
    if not checked and not challenger and not champion:
        return RuleResult(name, _PASS, False, "The rubric has no voice check, so there is no voice evidence.", None, -allowed, "points")
    n = min(len(challenger), len(champion))
    if not n:
        missing = "the challenger" if champion else "the champion" if challenger else "either arm"
        return RuleResult(name, _INCONCLUSIVE, False, f"Voice scores of {missing} are missing.", None, -allowed, "points", 0, ids)
    before, after = mean(champion), mean(challenger)
    answers = f"{n} {'answer' if n == 1 else 'answers'} an arm"
    sentence = f"Voice went from {before:.1f} to {after:.1f} over {answers}; a drop of {allowed} points is allowed."
    return RuleResult(name, _at_least(after - before, -allowed), False, sentence, _rounded(after - before), -allowed, "points", n, ids)


def named(names: Iterable[str]) -> str:
    """The first few names in full, then how many more."""
    every = list(names)
    rest = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return ", ".join(every[:NAMED]) + rest


@dataclass(frozen=True, slots=True)
class _Quality:
    outcome: Outcome
    sentence: str
    observed: float | None
    threshold: float


def _good_enough(q: Question, scores: Sequence[float]) -> _Quality:
    least = q.thresholds.absolute_min_mean
    if not scores:
        return _Quality(_INCONCLUSIVE, f"There are no cases yet; a mean of {least} is required.", None, least)
    average = mean(scores)
    sentence = f"Quality is {average:.1f} on average over {_cases(len(scores))}, without a champion to compare with; {least} is required."
    return _Quality(_at_least(average, least), sentence, average, least)


def _compared(q: Question, scores: Sequence[tuple[float, float]]) -> _Quality:
    differences = [challenger - champion for challenger, champion in scores]
    bound = paired_lower_bound(differences)
    margin = q.thresholds.non_inferiority_margin
    if bound is None:
        sentence = "Quality is compared on paired cases, and there are fewer than two."
        return _Quality(_INCONCLUSIVE, sentence, None, -margin if q.aim == NON_INFERIOR else 0)
    before, after = mean([champion for _, champion in scores]), mean([challenger for challenger, _ in scores])
    if q.aim == NON_INFERIOR:
        change = f"a loss of at most {-bound:.1f} points" if bound < 0 else f"a gain of at least {bound:.1f} points"
        change = f"({change} with 95 % confidence) over {_cases(len(scores), 'paired ')}"
        sentence = f"{_moved(before, after)} {change}; a loss under {margin} points is allowed."
        return _Quality(_PASS if bound > -margin + _EPSILON else _FAIL, sentence, bound, -margin)
    return _improved(q, before, after, mean(differences), bound, len(scores))


def _improved(q: Question, before: float, after: float, gain: float, bound: float, n: int) -> _Quality:
    wanted = q.thresholds.min_quality_gain_pct / 100
    relative, headroom = before * wanted / 100, (100 - before) / 2
    required = min(relative, headroom)
    demand = f"{wanted:g} %" if relative <= headroom else f"half the headroom, {headroom:.1f} points,"
    change = f"{100 * gain / before:+.1f} %" if before else f"{gain:+.1f} points"
    enough, proven = gain >= required - _EPSILON, bound > _EPSILON
    if proven:
        change += f", at least {bound:+.1f} points with 95 % confidence"
    sentence = f"{_moved(before, after)} ({change}) over {_cases(n, 'paired ')}; {demand} is required."
    if not proven:
        sentence += f" A gain is not proven: at 95 % confidence the change may be as low as {bound:+.1f} points."
    return _Quality(_PASS if enough and proven else _FAIL, sentence, gain, required)


def _no_regression(q: Question, name: str, dimension: str) -> RuleResult:
    cases, ids = q.counted.cases, q.counted.ids_with("cases")
    n = len({case.case_id for case in cases})
    if not cases:
        if q.aim == POLICY:
            return RuleResult(name, _PASS, True, "No cases were answered, and the aim 'policy' asks for none.", 0, 0, "cases")
        return RuleResult(name, _INCONCLUSIVE, True, "No cases have been answered yet.", None, 0, "cases")
    broken: dict[str, tuple[str, set[str]]] = {}
    for case in cases:
        if checks := _broken(case, dimension, baseline=q.champion is not None):
            broken.setdefault(case.case_id, (case.name, set()))[1].update(checks)
    what = "passes for the champion and fails for the challenger" if q.champion else f"fails a hard {dimension} check"
    if not broken:
        return RuleResult(name, _PASS, True, f"No case of {n} {what}.", 0, 0, "cases", n, ids)
    several = "pass for the champion and fail for the challenger" if q.champion else f"fail a hard {dimension} check"
    where = named(f"{label} ({', '.join(sorted(checks))})" for label, checks in broken.values())
    sentence = f"{len(broken)} of {_cases(n)} {what if len(broken) == 1 else several}: {where}."
    return RuleResult(name, _FAIL, True, sentence, len(broken), 0, "cases", n, ids)


def _broken(case: PairedCase, dimension: str, *, baseline: bool) -> frozenset[str]:
    """The checks that count as a regression: of the dimension, and for safety also the hard ones that no rule of their own looks at."""
    of_format = case.challenger_failed.get("format", frozenset())
    hard = case.challenger_hard_failed & of_format if dimension == "format" else case.challenger_hard_failed - of_format
    if not baseline:
        return hard
    failed_before = case.champion_hard_failed.union(*case.champion_failed.values())
    return (case.challenger_failed.get(dimension, frozenset()) | hard) - failed_before


def _unmeasured(q: Question, name: str, values: str, what: str, allowed: float) -> RuleResult | None:
    """The result of a relative rule on measurements where there is nothing, or too little, to compare."""
    if q.champion is None:
        return RuleResult(name, _PASS, False, _NO_BASELINE, threshold=allowed, unit="%")
    n = min(len(arm) for arm in q.counted.values(values))
    needed = 1 if q.aim == POLICY else max(1, min(q.thresholds.min_cases, q.thresholds.min_runs))
    if n >= needed:
        return None
    if q.aim == POLICY:
        return RuleResult(name, _PASS, False, f"No {what} were measured, and the aim 'policy' asks for none.", None, allowed, "%")
    sentence = f"There are {n} {what} of the arm that has fewer; {needed} are needed to compare."
    return RuleResult(name, _INCONCLUSIVE, False, sentence, None, allowed, "%", n, q.counted.ids_with(values))


def _at_least(value: float, least: float) -> Outcome:
    return _PASS if value >= least - _EPSILON else _FAIL


def _within(factor: float, allowed: float) -> Outcome:
    return _PASS if 100 * (factor - 1) <= allowed + _EPSILON else _FAIL


def _pct(factor: float) -> float | None:
    """The change in percent; None where there was nothing before."""
    return _rounded(100 * (factor - 1)) if math.isfinite(factor) else None


def _percent(factor: float) -> str:
    return f" ({100 * (factor - 1):+.1f} %)" if math.isfinite(factor) else ""


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _moved(before: float, after: float) -> str:
    if abs(after - before) < _EPSILON:
        return f"Quality stayed at {before:.1f}"
    return f"Quality {'rose' if after > before else 'fell'} from {before:.1f} to {after:.1f}"


def _cases(n: int, kind: str = "") -> str:
    return f"{n} {kind}{'case' if n == 1 else 'cases'}"


def _dollars(micros: float) -> str:
    return f"${micros / 1_000_000:.6f}"
