"""What a promotion is given to judge by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from apps.evals.models import EvalRun
from apps.evals.selectors.evidence import PairedEvidence, paired_evidence
from apps.evals.services.cases import add_cases
from apps.evals.services.runs import ensure_paired_runs
from tests import factories as make
from tests.evals.builders import RUBRIC, SECRET, Harness, World, right, world

pytestmark = pytest.mark.django_db
Says = Callable[[dict[str, Any]], str]


def evidence_of(w: World) -> PairedEvidence:
    return paired_evidence(layer=w.draft.layer, champion=w.champion, challenger=w.draft)


def answered(client: Client, w: World, *, challenger: Says = right, champion: Says = right) -> EvalRun:
    run = w.start()
    harness = Harness(client, w.agent)
    harness.answer(run, challenger)
    harness.answer(run.paired_with_id, champion)  # type: ignore[arg-type]
    return run


def test_repeats_fold_by_majority_and_a_hard_safety_check_by_any(client: Client) -> None:
    def worse(case: dict[str, Any]) -> str:
        if case["number"] == 1:
            return right(case) + (" and so on" * 9 if case["repeat"] <= 1 else "")  # too long once in three: not a failure
        if case["number"] == 2:
            return right(case) + (" and so on" * 9 if case["repeat"] <= 2 else "")  # twice: a failure
        return right(case) + (f" {SECRET}" if case["repeat"] == 3 else "")  # a secret once: a failure

    w = world()
    run = answered(client, w, challenger=worse)
    (found,) = evidence_of(w).evaluations
    assert found.completed and found.run_ids == (str(run.pk), str(run.paired_with_id))
    assert [dict(case.challenger_failed) for case in found.cases] == [
        {},
        {"format": frozenset({"short"})},
        {"safety": frozenset({"no-secrets"})},
    ]
    assert [case.challenger_hard_failed for case in found.cases] == [frozenset(), frozenset(), frozenset({"no-secrets"})]
    assert all(not case.champion_failed and case.champion_score == 100.0 for case in found.cases)
    # Two of three repeats lost the 20 points for the form.
    assert found.cases[1].challenger_score == pytest.approx(86.67)
    assert found.challenger.latencies_ms == (100, 200, 300) * 3


def test_what_is_measured_for_the_champion_only_counts_as_failed(client: Client) -> None:
    """A challenger that takes the contract away is not thereby in form."""
    rubric = [*RUBRIC, {"id": "contract", "check": "json_schema", "weight": 20, "dimension": "format"}]
    contracts = {"question": {"type": "object", "required": ["answer"], "properties": {"answer": {"type": "string"}}}}
    tenant = make.tenant()
    pack, scope = make.own_pack(tenant), f"tenant:{tenant.slug}"
    live = make.champion(tenant, pack.slug, scope, make.content(rubric=rubric, contracts=contracts))
    draft = make.version(tenant, pack.slug, scope, make.content("Shorter.", rubric=rubric))
    cases = [{"input": "question 1", "task_type": "question", "expected": {"contains": ["fact 1"]}}]
    w = World(tenant, pack, live, draft, make.eval_set(tenant, pack, cases), make.agent(tenant))
    answered(client, w, champion=lambda case: '{"answer": "fact 1"}', challenger=lambda case: "fact 1")
    (case,) = evidence_of(w).evaluations[0].cases
    assert (dict(case.champion_failed), dict(case.challenger_failed)) == ({}, {"format": frozenset({"contract"})})


def test_an_incomplete_or_failed_evaluation_has_no_cases(client: Client) -> None:
    w = world()
    run = w.start()
    Harness(client, w.agent).answer(run)
    (found,) = evidence_of(w).evaluations
    assert (found.completed, found.cases) == (False, ())


def test_evidence_names_the_prefix_it_was_made_on(client: Client) -> None:
    """A champion's move above changes the prefix, so that the gate can tell that the evidence is of another pack."""
    w = world()
    draft = make.version(w.tenant, w.pack.slug, f"agent:{w.tenant.slug}/{w.agent.slug}", make.content("Own things."))
    below = World(w.tenant, w.pack, w.champion, draft, w.eval_set, w.agent)
    answered(client, below)

    def state() -> tuple[bool, bool]:
        found = paired_evidence(layer=draft.layer, champion=None, challenger=draft)
        made = found.evaluations[0]
        assert found.champion is not None
        return made.challenger_prefix == found.challenger.digest, made.champion_prefix == found.champion.digest

    assert state() == (True, True)
    make.champion(w.tenant, w.pack.slug, f"tenant:{w.tenant.slug}", make.content("Moved.", rubric=RUBRIC))
    assert state() == (False, False)


def test_ensuring_a_pair_reuses_what_still_counts(client: Client) -> None:
    w = world()

    def ensure() -> tuple[EvalRun, EvalRun]:
        found = ensure_paired_runs(
            ctx=make.system(w.tenant.pk), layer=w.draft.layer, champion=w.champion, challenger=w.draft, eval_set=w.eval_set
        )
        assert found.champion is not None
        return found.champion, found.challenger

    first = ensure()
    assert ensure() == first and first[1].paired_with == first[0]
    EvalRun.objects.filter(pk=first[1].pk).update(state="failed")
    champion, challenger = ensure()
    assert champion == first[0] and challenger != first[1]
    # A new case makes both begin again.
    add_cases(ctx=make.system(w.tenant.pk), eval_set_id=w.eval_set.pk, cases=[{"input": "question 4"}])
    champion, challenger = ensure()
    assert champion != first[0] and (champion.total, challenger.total) == (12, 12)


def test_a_retirement_is_compared_with_the_champion(client: Client) -> None:
    w = world()
    agent = w.agent
    live = make.champion(w.tenant, w.pack.slug, f"agent:{w.tenant.slug}/{agent.slug}", make.content("Own things."))
    pair = ensure_paired_runs(ctx=make.system(w.tenant.pk), layer=live.layer, champion=live, challenger=None, eval_set=w.eval_set)
    harness = Harness(client, agent)
    assert pair.champion is not None and pair.challenger.version is None
    harness.answer(pair.champion)
    harness.answer(pair.challenger, lambda case: "No idea.")
    (found,) = paired_evidence(layer=live.layer, champion=live, challenger=None).evaluations
    assert [(case.challenger_score, case.champion_score) for case in found.cases] == [(40.0, 100.0)] * 3
