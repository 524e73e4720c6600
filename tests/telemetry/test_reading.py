"""Lists of runs and events: whose they are, in what order, narrowed by what, and at what cost."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.core.context import system_context
from apps.telemetry.models import Run
from apps.telemetry.selectors.scoring import unscored_final_runs
from apps.telemetry.services import Score, store_scores
from tests import factories
from tests.telemetry.sending import Harness, event, harness, run

pytestmark = pytest.mark.django_db

SECOND = "2099-01-01T00:00:{:02d}Z"


def reader(sender: Harness, role: str = "viewer") -> Any:
    """Gets a path as a person of the harness's tenant."""
    person = factories.user(sender.tenant, role)
    headers = factories.bearer(factories.api_token(person, sender.tenant))
    return lambda path, **query: Client().get(f"/api/v1/{path}", query, headers=headers)


def ids(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [row.get("event_id") or row["run_id"] for row in response.json()["results"]]


def test_a_page_follows_the_other_though_times_are_equal() -> None:
    sender = harness()
    sender.send(*[run(f"r-{n}", created_at=SECOND.format(n // 4)) for n in range(10)])
    get = reader(sender)
    pages, answer = [], get("runs/", limit=3)
    while True:
        pages.append(ids(answer))
        following = answer.json()["next"]
        if following is None:
            break
        answer = get(following.split("/api/v1/")[1])
    assert [run_id for page in pages for run_id in page] == [f"r-{n}" for n in reversed(range(10))]
    assert [len(page) for page in pages] == [3, 3, 3, 1]
    back = get(answer.json()["previous"].split("/api/v1/")[1])
    assert ids(back) == pages[2]
    assert ids(get(get(back.json()["previous"].split("/api/v1/")[1]).json()["previous"].split("/api/v1/")[1])) == pages[0]


@pytest.mark.parametrize("cursor", ["nonsense", "cD1ub3RhdGltZXxub3RhbmlkZW50aXR5", "%00"])
def test_a_cursor_of_ones_own_making_is_refused(cursor: str) -> None:
    response = reader(harness())("runs/", cursor=cursor)
    assert (response.status_code, response.json()["code"], response.json()["errors"][0]["pointer"]) == (422, "invalid", "/cursor")


def test_runs_are_narrowed() -> None:
    sender = harness()
    other_agent = Harness(sender.tenant, (agent := factories.agent(sender.tenant, "second")), factories.agent_token(agent))
    sender.send(
        run("a", pack="legal-pack", pack_version=3, tier="T1", success=True, created_at=SECOND.format(1), root_task_id="root-1"),
        run("b", pack="legal-pack", pack_version=4, success=False, status="failed", created_at=SECOND.format(2), provider="openai"),
        run("c", arm="challenger", model_id="m-1", task_type="triage", created_at=SECOND.format(3), final=False),
    )
    other_agent.send(run("d", created_at=SECOND.format(4)))
    get = reader(sender)
    wanted: dict[tuple[tuple[str, str], ...], list[str]] = {
        (("pack", "legal-pack"),): ["b", "a"],
        (("pack", "legal-pack"), ("pack_version", "3")): ["a"],
        (("tier", "T1"),): ["a"],
        (("success", "false"),): ["b"],
        (("status", "failed"),): ["b"],
        (("provider", "openai"),): ["b"],
        (("model_id", "m-1"),): ["c"],
        (("task_type", "triage"),): ["c"],
        (("root_task_id", "root-1"),): ["a"],
        (("run_id", "c"),): ["c"],
        (("final", "false"),): ["c"],
        (("flag", "mismatch"),): ["c"],
        (("arm", "champion"),): ["d", "c", "b", "a"],
        (("agent", "second"),): ["d"],
        (("agent", f"{sender.tenant.slug}/second"),): ["d"],
        (("agent", "elsewhere/second"),): [],
        (("since", SECOND.format(2)), ("until", SECOND.format(4))): ["c", "b"],
    }
    assert {query: ids(get("runs/", **dict(query))) for query in wanted} == wanted
    assert get("runs/", tier="T9").status_code == 422
    assert get("runs/", since="yesterday").status_code == 422


def test_another_tenants_runs_do_not_exist() -> None:
    sender, other = harness(), harness()
    sender.send(run("mine"))
    sender.send_events(event("mine"))
    key = Run.objects.get().pk
    assert ids(reader(other)("runs/")) == []
    assert ids(reader(other)("events/")) == []
    assert ids(reader(other)("runs/", agent=f"{sender.tenant.slug}/{sender.agent.slug}")) == []
    assert reader(other)(f"runs/{key}/").status_code == 404
    assert reader(sender)(f"runs/{key}/").status_code == 200
    assert reader(sender)("runs/not-a-key/").status_code == 404


def test_an_agents_token_reads_nothing() -> None:
    sender = harness()
    sender.send(run())
    response = Client().get("/api/v1/runs/", headers=factories.bearer(sender.token))
    assert ids(response) == []


def test_a_run_is_shown_with_money_times_score_and_texts() -> None:
    sender = harness()
    sender.send(run("r-1", cost_usd="0.0125", started_at="2099-01-01T00:00:00+02:00", metadata={"k": [1]}))
    ctx = system_context("scoring", tenant_id=sender.tenant.pk)
    with ctx.transaction():
        claimed = unscored_final_runs(10, tenant_id=sender.tenant.pk)
        store_scores(ctx=ctx, claimed=claimed, scores=[Score(claimed.runs[0].row_id, 8750, 900, {"latency": -250})])
    get = reader(sender)
    listed = get("runs/").json()["results"][0]
    assert (listed["tenant"], listed["agent"], listed["team"]) == (sender.tenant.slug, sender.agent.slug, None)
    assert (listed["cost_usd"], listed["started_at"], listed["score"]) == ("0.012500", "2098-12-31T22:00:00Z", 87.5)
    assert not {"input", "output", "metadata"} & set(listed)
    shown = get(f"runs/{listed['id']}/").json()
    assert (shown["output"], shown["metadata"]) == ("Yes.", {"k": [1]})
    assert shown["score_parts"] == {"latency": -250, "baseline_ms": 900}


def test_events_are_narrowed() -> None:
    sender = harness()
    sender.send_events(
        event("a", run_id="r-1", action="output", created_at=SECOND.format(1)),
        event("b", run_id="r-1", mcp_tool="search", created_at=SECOND.format(2)),
    )
    get = reader(sender)
    assert ids(get("events/", run_id="r-1")) == ["b", "a"]
    assert ids(get("events/", action="output")) == ["a"]
    assert ids(get("events/", mcp_tool="search", until=SECOND.format(2))) == []


@pytest.mark.parametrize("path", ["runs/", "events/"])
def test_a_longer_list_takes_no_more_queries(path: str) -> None:
    sender = harness()
    get = reader(sender)
    send, item = (sender.send, run) if path == "runs/" else (sender.send_events, event)
    counts = []
    for size in (1, 60):
        send(*[item() for _ in range(size)])
        get(path)
        with CaptureQueriesContext(connection) as queries:
            assert len(ids(get(path, limit=100))) >= size
        counts.append(len(queries))
    assert counts[0] == counts[1]
