"""The online score of a final run (`domain.md` 5), exact: integers only, in hundredths of a point.

    55 success + 20 format + 20 approval (missing = passed), −3 a retry (at most 15),
    latency: pct = 100 (latency − baseline) / baseline; −min(pct/4, 10) if slower, else +min(|pct|/10, 5); clamped 0..100.

The latency term is the only fraction; it is rounded to the nearest hundredth, halves away from zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

POINT = 100
SUCCESS, FORMAT, APPROVAL = 55 * POINT, 20 * POINT, 20 * POINT
RETRY, MAX_RETRY = 3 * POINT, 15 * POINT
MAX_SLOWER, MAX_FASTER = 10 * POINT, 5 * POINT
MAX_SCORE = 100 * POINT

BASELINE_RUNS = 50
MIN_BASELINE_RUNS = 10

ENGINEERING = "engineering"
ENGINEERING_CHECKS = ("pr_created", "ci_passed", "human_reviewed")


@dataclass(frozen=True, slots=True)
class Baseline:
    """Median latency in microseconds (so that the middle of two milliseconds is exact) of `runs` champion runs; stored with the score."""

    median_us: int
    runs: int


@dataclass(frozen=True, slots=True)
class OnlineScore:
    """Hundredths of a point. `score` is the clamped sum of the others, 0 to 10000; `retries` is at most 0."""

    score: int
    success: int
    format: int
    approval: int
    retries: int
    latency: int


def baseline_of(latencies_ms: Sequence[int]) -> Baseline:
    """The baseline from latencies of champion runs, newest first, of which at most 50 count.

    The caller chooses the runs: those of the same tenant, pack and tier committed before the batch.
    """
    ordered = sorted(latencies_ms[:BASELINE_RUNS])
    if not ordered:
        return Baseline(0, 0)
    middle = len(ordered) // 2
    doubled = 2 * ordered[middle] if len(ordered) % 2 else ordered[middle - 1] + ordered[middle]
    return Baseline(doubled * 500, len(ordered))


def online_score(
    *,
    success: bool | None,
    format_passed: bool | None,
    approval_passed: bool | None,
    retries: int | None,
    latency_ms: int | None,
    baseline: Baseline,
    domain: str = "",
    checks: Mapping[str, Any] | None = None,
) -> OnlineScore:
    """The score of one final run; `domain` is its pack's, `checks` are the run's own.

    None of success, format and approval counts as passed, None of retries as no retry, None of latency as 0 points.
    """
    approved = approval_passed is not False and (domain != ENGINEERING or engineering_approved(checks or {}))
    parts = (
        0 if success is False else SUCCESS,
        0 if format_passed is False else FORMAT,
        APPROVAL if approved else 0,
        -min(RETRY * (retries or 0), MAX_RETRY),
        latency_points(latency_ms, baseline),
    )
    return OnlineScore(max(0, min(sum(parts), MAX_SCORE)), *parts)


def engineering_approved(checks: Mapping[str, Any]) -> bool:
    """Packs of domain `engineering` need pr_created, ci_passed and human_reviewed, and ui_screenshot_present when ui_labeled."""
    needed = ENGINEERING_CHECKS + (("ui_screenshot_present",) if checks.get("ui_labeled") is True else ())
    return all(checks.get(name) is True for name in needed)


def latency_points(latency_ms: int | None, baseline: Baseline) -> int:
    """Hundredths of a point, −1000 to 500. 0 without a latency, under 10 baseline runs, or when the baseline itself is 0."""
    if latency_ms is None or baseline.runs < MIN_BASELINE_RUNS or baseline.median_us <= 0:
        return 0
    difference = latency_ms * 1000 - baseline.median_us
    if difference > 0:
        return -min(_rounded(25 * POINT * difference, baseline.median_us), MAX_SLOWER)
    return min(_rounded(10 * POINT * -difference, baseline.median_us), MAX_FASTER)


def _rounded(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
