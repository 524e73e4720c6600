"""Several agents at once: no item twice, no answer lost, one completion."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.utils import DatabaseError
from django.test import Client

from apps.audit.models import Event
from apps.core import events
from apps.evals.models import EvalCase, EvalResult, EvalRun
from apps.evals.services.answers import lease_cases
from apps.identity.models import Agent
from tests import factories as make
from tests.evals.builders import Harness, World, right, world

pytestmark = pytest.mark.django_db(transaction=True)
AGENTS = 4


def at_once(agents: list[Agent], work: Any) -> list[Any]:
    """The results of `work(harness)` of each agent, all begun together."""
    harnesses = [Harness(Client(), agent) for agent in agents]
    barrier = Barrier(len(agents))

    def one(harness: Harness) -> Any:
        try:
            barrier.wait(10)
            return work(harness)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(agents)) as pool:
        return list(pool.map(one, harnesses))


def agents_of(w: World) -> list[Agent]:
    return [make.agent(w.tenant) for _ in range(AGENTS)]


def test_no_item_is_leased_twice() -> None:
    w = world(10)
    run = w.start()

    def lease_in_small_steps(harness: Harness) -> list[tuple[str, int]]:
        got: list[tuple[str, int]] = []
        while cases := harness.lease(run, 3).json()["cases"]:
            got += [(case["case"], case["repeat"]) for case in cases]
        return got

    leased = [item for got in at_once(agents_of(w), lease_in_small_steps) for item in got]
    assert len(leased) == len(set(leased)) == 30


def test_a_row_that_another_transaction_holds_is_passed_over() -> None:
    """Not by luck of timing: the first transaction is still open while the second leases."""
    w = world(2)
    run = w.start()
    first, second = make.agent(w.tenant), Harness(Client(), make.agent(w.tenant))
    ctx = make.system(w.tenant.pk)
    ctx.agent_id = first.pk

    def lease_elsewhere(_: int) -> Any:
        try:
            return second.lease(run, 10).json()["cases"]
        finally:
            connections.close_all()

    with transaction.atomic(), ThreadPoolExecutor(1) as pool:
        mine = lease_cases(ctx=ctx, eval_run_id=run.pk, limit=4).items
        (others,) = pool.map(lease_elsewhere, [0])
    assert len(mine) == 4 and len(others) == 2
    assert not {(str(item.case_id), item.repeat) for item in mine} & {(case["case"], case["repeat"]) for case in others}


def test_all_answer_at_once_and_the_run_completes_once() -> None:
    w = world(10)
    run = w.start()
    heard: list[Any] = []
    events.subscribe("evals.run_completed")(lambda ctx, **ids: heard.append(ids["eval_run_id"]))
    try:

        def answer_in_small_steps(harness: Harness) -> int:
            answered = 0
            while cases := (leased := harness.lease(run, 4).json())["cases"]:
                outputs = [{"case": case["case"], "repeat": case["repeat"], "output": right(case)} for case in cases]
                answered += harness.post(run, leased["lease_id"], outputs).json()["accepted"]
            return answered

        assert sum(at_once(agents_of(w), answer_in_small_steps)) == 30
    finally:
        events._subscribers["evals.run_completed"].pop()
    run.refresh_from_db()
    assert (run.state, run.done, EvalResult.objects.filter(eval_run=run).count()) == ("completed", 30, 30)
    assert heard == [run.pk] and Event.objects.filter(action="evals.run_completed", object_id=str(run.pk)).count() == 1


def test_the_same_answers_sent_twice_at_once_are_stored_once() -> None:
    w = world(5)
    run = w.start()
    agent = make.agent(w.tenant)
    leased = Harness(Client(), agent).lease(run).json()
    outputs = [{"case": case["case"], "repeat": case["repeat"], "output": right(case)} for case in leased["cases"]]
    answers = [answer.json() for answer in at_once([agent] * 3, lambda harness: harness.post(run, leased["lease_id"], outputs))]
    assert sorted(answer["accepted"] for answer in answers) == [0, 0, 15]
    assert sorted(answer["duplicates"] for answer in answers) == [0, 15, 15]
    assert EvalResult.objects.filter(eval_run=run).count() == 15


def test_two_requests_for_a_pair_share_the_champions_run() -> None:
    w = world()

    def start(_: int) -> EvalRun:
        try:
            return w.start()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(start, range(2))
    assert first.pk != second.pk and first.paired_with_id == second.paired_with_id


def test_evidence_is_immutable_even_for_the_shell() -> None:
    """Grants refuse the application, and triggers whoever has them."""
    w = world()
    run = w.start(runner="replay", version_id=w.draft.pk)
    run_id = str(run.pk)
    for statement in (
        f"UPDATE evals_evalrun SET rubric = '[]' WHERE id = '{run_id}'",
        f"UPDATE evals_evalitem SET repeat = 2 WHERE eval_run_id = '{run_id}'",
        f"DELETE FROM evals_evalitem WHERE eval_run_id = '{run_id}'",
        "UPDATE evals_evalcase SET expected = '{}'",
        "DELETE FROM evals_evalresult",
    ):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


def test_a_reference_to_another_tenants_row_is_refused(owner_sql: Any) -> None:
    """The owner too: composite facts are held by triggers."""
    w, other = world(), world()
    run, foreign = w.start(), EvalCase.objects.filter(eval_set=other.eval_set).first()
    assert foreign is not None
    with pytest.raises(Exception, match="another tenant"):
        owner_sql(
            "INSERT INTO evals_evalitem (id, tenant_id, eval_run_id, case_id, repeat) VALUES (gen_random_uuid(), %s, %s, %s, 9)",
            [w.tenant.pk, run.pk, foreign.pk],
        )
    with pytest.raises(Exception, match="another tenant"):
        owner_sql("UPDATE evals_evalitem SET leased_to_id = %s WHERE eval_run_id = %s", [other.agent.pk, run.pk])
