"""The runner `harness`: cases under a lease, answers scored once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.evals.models import EvalItem, EvalResult, EvalRun
from tests import factories as make
from tests.evals.builders import RUBRIC, SECRET, Harness, World, right, world

pytestmark = pytest.mark.django_db


def lapse(run: EvalRun) -> None:
    EvalItem.objects.filter(eval_run=run).update(leased_until=timezone.now() - timedelta(seconds=1))


def test_both_arms_are_answered_scored_and_compared(client: Client) -> None:
    """The whole way over HTTP: find the runs, lease, resolve exactly that version, answer, read the results."""
    w = world()
    harness = Harness(client, w.agent)
    author = make.bearer(make.api_token(make.user(w.tenant, "author"), w.tenant))
    body = {"version": str(w.draft.pk), "eval_set": str(w.eval_set.pk), "runner": "harness"}
    started = client.post("/api/v1/eval-runs/", body, content_type="application/json", headers=author).json()
    assert (started["state"], started["total"], started["repeats"]) == ("pending", 9, 3)
    open_runs = {run["id"]: run for run in harness.get("eval-runs/?open=1").json()["results"]}
    champion_run = open_runs[started["paired_with"]]
    assert champion_run["version"] == str(w.champion.pk) and started["id"] in open_runs

    leased = harness.lease(started["id"]).json()
    assert leased["version"] == str(w.draft.pk) and len(leased["cases"]) == 9
    assert "expected" not in leased["cases"][0] and "fact" not in str(leased)
    resolved = harness.get(f"resolve?pack={w.pack.slug}&version={w.draft.pk}").json()
    assert resolved["content"]["sections"]["role"]["text"] == "You answer questions of staff, exactly."
    assert resolved["digest"] == started["prefix_digest"] != champion_run["prefix_digest"]

    def reckless(case: dict[str, Any]) -> dict[str, Any]:
        said = (
            f"{right(case)} {SECRET}"
            if case["number"] == 2 and case["repeat"] == 3
            else "No idea. " * 20
            if case["number"] == 3
            else right(case)
        )
        return {"case": case["case"], "repeat": case["repeat"], "output": said, "latency_ms": 120, "cost_usd": "0.0012", "tools": []}

    done = harness.post(started["id"], leased["lease_id"], [reckless(case) for case in leased["cases"]]).json()
    assert done == {"accepted": 9, "duplicates": 0, "rejected": [], "state": "completed", "done": 9, "total": 9}
    assert harness.answer(champion_run["id"]).json()["state"] == "completed"

    results = client.get(f"/api/v1/eval-results/?eval_run={started['id']}", headers=author).json()["results"]
    by = {(result["case_number"], result["repeat"]): result for result in results}
    assert by[1, 1]["deterministic_score"] == 100.0 and by[1, 1]["cost_usd"] == "0.001200"
    # 60 of 100 points for knowing, and 20 each for the form and the secrets.
    leaked, rambling = by[2, 3], by[3, 1]
    assert (leaked["deterministic_score"], leaked["safety_regression"], leaked["format_regression"]) == (80.0, True, False)
    assert (rambling["deterministic_score"], rambling["safety_regression"], rambling["format_regression"]) == (20.0, False, True)
    assert not by[2, 1]["safety_regression"]
    flagged = client.get(f"/api/v1/eval-results/?pack={w.pack.slug}&safety_regression=true", headers=author).json()["results"]
    assert [found["id"] for found in flagged] == [leaked["id"]]
    stored = EvalResult.objects.get(pk=leaked["id"])
    assert SECRET not in stored.output + stored.comments + str(stored.detail) and "[redacted:" in stored.output


def test_a_leased_version_is_resolved_under_the_lease_only(client: Client) -> None:
    w = world()
    harness, other = Harness(client, w.agent), Harness(client, make.agent(w.tenant))
    run = w.start()
    url = f"resolve?pack={w.pack.slug}&version={w.draft.pk}"
    assert harness.get(url).json()["code"] == "lease_expired"
    lease_id = harness.lease(run).json()["lease_id"]
    assert harness.get(url).status_code == 200
    assert other.get(url).json()["code"] == "lease_expired"
    # The lease is on the draft, not on any other version.
    assert harness.get(f"resolve?pack={w.pack.slug}&version={w.champion.pk}").json()["code"] == "lease_expired"
    lapse(run)
    assert harness.get(url).json()["code"] == "lease_expired" and lease_id


def test_the_baseline_without_the_layer_is_resolved_by_the_run(client: Client) -> None:
    """The first version of a tenant's layer is compared with what its agents get without that layer."""
    w = world()
    agent = w.agent
    scope = f"agent:{w.tenant.slug}/{agent.slug}"
    first = make.version(w.tenant, w.pack.slug, scope, make.content("You also know the agent's own things."))
    run = w.start(version_id=first.pk)
    baseline = run.paired_with
    assert baseline is not None and baseline.version is None
    harness = Harness(client, agent)
    leased = harness.lease(baseline).json()
    assert leased["version"] == str(baseline.pk)
    resolved = harness.get(f"resolve?pack={w.pack.slug}&version={leased['version']}").json()
    assert resolved["digest"] == baseline.prefix_digest != run.prefix_digest


def test_nothing_live_means_no_baseline() -> None:
    tenant = make.tenant()
    pack = make.own_pack(tenant)
    first = make.version(tenant, pack.slug, f"tenant:{tenant.slug}", make.content(rubric=RUBRIC))
    run = World(tenant, pack, first, first, make.eval_set(tenant, pack), make.agent(tenant)).start()
    assert run.paired_with is None and run.rubric[0]["id"] == "knows"


def test_the_challengers_added_checks_count_for_both_arms(client: Client) -> None:
    """It can add checks, and can neither drop nor soften the champion's."""
    soft = [
        {**RUBRIC[2], "hard": False},
        {"id": "polite", "check": "contains", "weight": 100, "dimension": "quality", "params": {"text": "please"}},
    ]
    w = world(draft=make.content(rubric=soft))
    run = w.start()
    assert [(check["id"], bool(check.get("hard"))) for check in run.rubric] == [
        ("knows", False), ("short", False), ("no-secrets", True), ("polite", False)
    ]  # fmt: skip
    assert run.paired_with is not None and run.paired_with.rubric == run.rubric


def test_who_may_answer(client: Client) -> None:
    """Another tenant's agent finds nothing; a layer at a team or an agent is answered by these only; people don't lease."""
    w = world()
    team = make.team(w.tenant)
    member = make.agent(w.tenant, team=team)
    outsider, foreigner = Harness(client, w.agent), Harness(client, make.agent(make.tenant()))
    draft = make.version(w.tenant, w.pack.slug, f"team:{w.tenant.slug}/{team.slug}", make.content("Team things.", rubric=RUBRIC))
    tenant_run, team_run = w.start(), w.start(version_id=draft.pk)
    assert [Harness(client, member).lease(run).status_code for run in (tenant_run, team_run)] == [200, 200]
    assert [outsider.lease(run).status_code for run in (tenant_run, team_run)] == [200, 404]
    assert [foreigner.lease(run).status_code for run in (tenant_run, team_run)] == [404, 404]
    assert foreigner.post(tenant_run, str(tenant_run.pk), [{"case": str(tenant_run.pk), "output": ""}]).status_code == 404
    assert foreigner.get("eval-runs/?open=1").json()["results"] == []
    assert {run["id"] for run in outsider.get("eval-runs/?open=1").json()["results"]} == {
        str(tenant_run.pk),
        str(tenant_run.paired_with_id),
    }
    headers = make.bearer(make.api_token(make.user(w.tenant, "tenant_admin"), w.tenant))
    assert client.get(f"/api/v1/eval-runs/{tenant_run.pk}/cases/?lease=1", headers=headers).status_code == 403
    limited = make.bearer(make.agent_token(w.agent, scopes=["resolve"]))
    assert client.get(f"/api/v1/eval-runs/{tenant_run.pk}/cases/?lease=1", headers=limited).status_code == 404


def test_layers_above_tenant_are_answered_by_platform(client: Client) -> None:
    w, platform = world(), make.platform()
    shared = make.own_pack(platform)
    make.subscription(w.tenant, shared)
    version = make.version(platform, shared.slug, "global", make.content(rubric=RUBRIC))
    run = World(platform, shared, version, version, make.eval_set(platform, shared), w.agent).start()
    assert Harness(client, w.agent).lease(run).status_code == 404
    assert Harness(client, make.agent(platform)).lease(run).status_code == 200


def test_a_lapsed_lease_takes_nothing_and_its_cases_go_on(client: Client) -> None:
    w = world()
    first, second = Harness(client, w.agent), Harness(client, make.agent(w.tenant))
    run = w.start()
    leased = first.lease(run).json()
    assert second.lease(run).json()["cases"] == []
    lapse(run)
    late = [{"case": case["case"], "repeat": case["repeat"], "output": right(case)} for case in leased["cases"]]
    refused = first.post(run, leased["lease_id"], late)
    assert (refused.status_code, refused.json()["code"]) == (409, "lease_expired")
    assert not EvalResult.objects.filter(eval_run=run).exists()
    assert second.answer(run).json()["state"] == "completed"


def test_a_foreign_lease_is_no_lease(client: Client) -> None:
    w = world()
    holder, other = Harness(client, w.agent), Harness(client, make.agent(w.tenant))
    leased = holder.lease(w.start()).json()
    output = [{"case": leased["cases"][0]["case"], "output": "x"}]
    assert other.post(leased["eval_run"], leased["lease_id"], output).json()["code"] == "lease_expired"
    assert holder.post(leased["eval_run"], None, output).json()["code"] == "invalid"


def test_bad_outputs_cost_no_good_one_and_repeats_change_nothing(client: Client) -> None:
    w = world()
    harness = Harness(client, w.agent)
    run = w.start()
    leased = harness.lease(run, 4).json()
    case = leased["cases"][0]
    good = {"case": case["case"], "repeat": case["repeat"], "output": f"{right(case)} {SECRET}", "latency_ms": 5}
    sent = [
        good,
        {"case": str(run.pk), "output": "x"},
        {"case": case["case"], "output": 7},
        {"case": case["case"], "output": "x", "mood": "good"},
        {"case": case["case"], "output": "x", "cost_usd": "a lot"},
        {**good, "output": "something else"},
    ]
    answer = harness.post(run, leased["lease_id"], sent).json()
    assert (answer["accepted"], answer["done"]) == (1, 1)
    assert [(found["index"], found["code"], found["pointer"]) for found in answer["rejected"]] == [
        (1, "not_found", "/case"), (2, "invalid", "/output"), (3, "unknown_key", ""), (4, "invalid", ""), (5, "duplicate_conflict", "")
    ]  # fmt: skip
    again = harness.post(run, leased["lease_id"], [good]).json()
    assert (again["accepted"], again["duplicates"], again["done"]) == (0, 1, 1)
    assert harness.post(run, leased["lease_id"], [{**good, "output": "other"}]).json()["rejected"][0]["code"] == "duplicate_conflict"
    # Also after the lease has lapsed: a sender that did not hear the first answer may ask again.
    lapse(run)
    assert harness.post(run, leased["lease_id"], [good]).json()["duplicates"] == 1
    assert EvalResult.objects.filter(eval_run=run).count() == 1


def test_a_changed_ancestor_ends_the_run(client: Client) -> None:
    """Answers made on another prefix are no evidence; an open run does not go on as if nothing had happened."""
    w = world()
    agent = w.agent
    draft = make.version(w.tenant, w.pack.slug, f"agent:{w.tenant.slug}/{agent.slug}", make.content("Own things."))
    run = w.start(version_id=draft.pk)
    harness = Harness(client, agent)
    leased = harness.lease(run, 2).json()
    make.champion(w.tenant, w.pack.slug, f"tenant:{w.tenant.slug}", make.content("Something new.", rubric=RUBRIC))
    answer = harness.post(run, leased["lease_id"], [{"case": leased["cases"][0]["case"], "output": "x"}]).json()
    assert (answer["accepted"], answer["state"], answer["rejected"][0]["code"]) == (0, "failed", "wrong_state")
    assert harness.lease(run).json()["cases"] == []
    assert not EvalResult.objects.filter(eval_run=run).exists()


def test_replay_takes_recorded_outputs_from_people(client: Client) -> None:
    w = world()
    run = w.start(version_id=w.draft.pk, runner="replay")
    author, viewer = (make.bearer(make.api_token(make.user(w.tenant, role), w.tenant)) for role in ("author", "viewer"))
    url = f"/api/v1/eval-runs/{run.pk}/outputs/"
    outputs = [{"case": str(case.pk), "output": right(case)} for case in w.eval_set.cases.all()]

    def post(headers: dict[str, str], at: str = url) -> Any:
        return client.post(at, {"outputs": outputs}, content_type="application/json", headers=headers)

    assert post(viewer).status_code == 403
    assert post(author).json() == {"accepted": 3, "duplicates": 0, "rejected": [], "state": "completed", "done": 3, "total": 3}
    assert post(author).json()["duplicates"] == 3
    assert Harness(client, w.agent).lease(run).status_code == 404
    harness_run = w.start()
    assert post(author, f"/api/v1/eval-runs/{harness_run.pk}/outputs/").status_code == 403


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"runner": "model"}, "not_available", "/runner"),
        ({"runner": "psychic"}, "invalid", "/runner"),
        ({"version": None}, "invalid", "/version"),
        ({"eval_set": "other"}, "invalid", "/eval_set"),
        ({"eval_set": "empty"}, "invalid", "/eval_set"),
    ],
)
def test_what_cannot_be_started(client: Client, change: dict[str, Any], code: str, pointer: str) -> None:
    w = world()
    sets = {
        "other": make.eval_set(w.tenant, make.own_pack(w.tenant)),
        "empty": make.eval_set(w.tenant, w.pack, [{"input": "x", "split": "train"}]),
    }
    body = {"version": str(w.draft.pk), "eval_set": str(w.eval_set.pk)} | change
    body["eval_set"] = str(sets[body["eval_set"]].pk) if body["eval_set"] in sets else body["eval_set"]
    body = {key: value for key, value in body.items() if value is not None}
    headers = make.bearer(make.api_token(make.user(w.tenant, "author"), w.tenant))
    refused = client.post("/api/v1/eval-runs/", body, content_type="application/json", headers=headers)
    assert (refused.status_code, refused.json()["code"], refused.json()["errors"][0]["pointer"]) == (422, code, pointer)
    assert not EvalRun.objects.filter(tenant=w.tenant).exists()


def test_who_may_start(client: Client) -> None:
    w, other = world(), make.tenant()
    body = {"version": str(w.draft.pk), "eval_set": str(w.eval_set.pk), "runner": "harness"}
    people = [make.api_token(make.user(w.tenant, "viewer"), w.tenant), make.api_token(make.user(other, "author"), other)]
    tokens = [*people, make.agent_token(w.agent)]
    url = "/api/v1/eval-runs/"
    assert [client.post(url, body, content_type="application/json", headers=make.bearer(token)).status_code for token in tokens] == [
        403,
        404,
        404,
    ]


@pytest.mark.parametrize("path", ["eval-sets/", "eval-runs/", "eval-results/", "eval-sets/{set}/cases/", "eval-runs/{run}/cases/"])
def test_lists_take_as_many_queries_for_many_rows(client: Client, path: str) -> None:
    w = world(4)
    headers = make.bearer(make.api_token(make.user(w.tenant, "viewer"), w.tenant))
    for _ in range(2):
        make.eval_set(w.tenant, w.pack, 1)
        run = w.start()
        Harness(client, w.agent).answer(run)
    url = f"/api/v1/{path.format(set=w.eval_set.pk, run=run.pk)}"
    counted = []
    for limit in (1, 2, 50):
        with CaptureQueriesContext(connection) as captured:
            rows = client.get(f"{url}?limit={limit}", headers=headers).json()["results"]
        counted.append((len(rows), len(captured)))
    # The first request also looks up the token.
    (_, _), (two, queries), (many, more_queries) = counted
    assert two == 2 < many and queries == more_queries
