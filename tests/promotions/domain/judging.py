"""Evidence to judge, and what a verdict says of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from apps.promotions.domain.gate import Arm, Batch, Evidence, Measured, PairedCase, Verdict, gate
from apps.promotions.domain.thresholds import Thresholds

NEW, OLD = Arm("sha256:new", 1000), Arm("sha256:old", 900)
ONLINE = Measured(runs=120, units=24)
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
