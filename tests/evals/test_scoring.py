"""The online score of what was sent: exact, once, whatever happens to a worker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from apps.core.context import system_context
from apps.evals import tasks
from apps.evals.services import online
from apps.evals.services.online import score_batch
from apps.telemetry.models import RunScore, UnscoredBatch
from apps.telemetry.selectors.scoring import unscored_since
from tests import factories as make
from tests.telemetry.sending import Harness, harness, run


def score_all(sender: Harness) -> None:
    while score_batch(ctx=system_context("tests", tenant_id=sender.tenant.pk)):
        pass


def scores(sender: Harness) -> dict[str, int]:
    return dict(RunScore.objects.filter(tenant=sender.tenant).values_list("run_id", "score"))


@pytest.mark.django_db
def test_runs_are_scored_exactly_and_compared_with_what_came_before() -> None:
    """The first ten have no baseline; the batch after them is compared with their median of 1,000 ms, and not with itself."""
    sender = harness()
    sender.send(*[run(f"base-{n}", latency_ms=900 + 200 * (n % 2)) for n in range(10)])
    score_all(sender)
    assert set(scores(sender).values()) == {9500}
    sender.send(
        run("same", latency_ms=1000),
        run("slower", latency_ms=1200),
        run("much-slower", latency_ms=9000),
        run("faster", latency_ms=800),
        run("failed", latency_ms=1000, success=False, format_passed=False, retries=2),
        run("other-tier", latency_ms=9000, tier="T1"),
        run("not-final", latency_ms=1000, final=False),
    )
    score_all(sender)
    found = scores(sender)
    # 55 + 20 + 20, then: 20 % slower -5, at most -10, 20 % faster +2; failed: 20 left, 3 a retry.
    expected = {"same": 9500, "slower": 9000, "much-slower": 8500, "faster": 9700, "failed": 1400, "other-tier": 9500}
    assert {name: found[name] for name in expected} == expected
    assert "not-final" not in found
    slower = RunScore.objects.get(run_id="slower")
    assert (slower.baseline_ms, slower.parts["latency"], slower.parts["baseline_us"], slower.parts["baseline_runs"]) == (
        1000,
        -500,
        1_000_000,
        10,
    )
    assert RunScore.objects.get(run_id="other-tier").baseline_ms is None


@pytest.mark.django_db
def test_engineering_needs_its_checks() -> None:
    sender = harness()
    pack = make.own_pack(sender.tenant, "delivery", domain="engineering")
    good = {"pr_created": True, "ci_passed": True, "human_reviewed": True}
    sender.send(
        run("good", pack=pack.slug, checks=good),
        run("unreviewed", pack=pack.slug, checks={**good, "human_reviewed": False}),
        run("no-picture", pack=pack.slug, checks={**good, "ui_labeled": True}),
        run("elsewhere", checks={}),
    )
    score_all(sender)
    assert scores(sender) == {"good": 9500, "unreviewed": 7500, "no-picture": 7500, "elsewhere": 9500}


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_dies_leaves_the_work_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the scores are written and before the commit: nothing is scored, nothing is lost, then all of it is scored once."""
    sender = harness()
    sender.send(*[run(f"r-{n}") for n in range(3)])
    store = online.store_scores

    def killed(**arguments: Any) -> int:
        store(**arguments)
        raise SystemExit("killed")

    monkeypatch.setattr(online, "store_scores", killed)
    with pytest.raises(SystemExit):
        score_all(sender)
    assert scores(sender) == {} and UnscoredBatch.objects.count() == 1
    monkeypatch.undo()
    score_all(sender)
    assert len(scores(sender)) == 3 and unscored_since() is None


@pytest.mark.django_db(transaction=True)
def test_two_workers_score_each_run_once_and_tenants_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    senders = [harness(), harness()]
    for sender in senders:
        for batch in range(6):
            sender.send(*[run(f"r-{batch}-{n}") for n in range(20)])
    monkeypatch.setattr(online, "BATCH", 40)

    def work(_: int) -> None:
        try:
            for _again in range(5):
                tasks.score_runs()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    assert [RunScore.objects.filter(tenant=sender.tenant).count() for sender in senders] == [120, 120]
    assert not UnscoredBatch.objects.exists()


@pytest.mark.django_db
def test_one_tenants_trouble_is_not_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    troubled, fine = harness(), harness()
    for sender in (troubled, fine):
        sender.send(run("r"))
    compute = online._score

    def failing(found: Any, *others: Any) -> Any:
        if found.agent_id == troubled.agent.pk:
            raise ValueError("trouble")
        return compute(found, *others)

    monkeypatch.setattr(online, "_score", failing)
    tasks.score_runs()
    assert (scores(troubled), scores(fine)) == ({}, {"r": 9500})
