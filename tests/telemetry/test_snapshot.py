"""`snapshot/`: one orchestration as a tree, and the latest ones with their totals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.telemetry.selectors import snapshot as reads
from tests import factories
from tests.telemetry.sending import Harness, event, harness, run
from tests.telemetry.test_reading import reader

pytestmark = pytest.mark.django_db


def ago(**since: float) -> str:
    return (datetime.now(UTC) - timedelta(**since)).isoformat()


def tree(sender: Harness, root: str, **fields: Any) -> None:
    """A planner that still works, a search that is done and a write that has been silent."""
    base: dict[str, Any] = {"root_task_id": root, "created_at": ago(minutes=20), **fields}
    sender.send(
        run(f"{root}-1", **base, task_id=root, tier="T1", final=False, tokens_in=100, cost_usd="0.01"),
        run(f"{root}-2", **base, task_id=f"{root}/search", tier="T3", metadata={"parent_task_id": root}, tokens_in=50, tokens_out=7),
        run(f"{root}-3", **base, task_id=f"{root}/write", tier="T2", success=None, final=False),
    )
    sender.send_events(
        event(f"{root}-e1", root_task_id=root, task_id=root, created_at=ago(minutes=1), action="plan"),
        event(f"{root}-e2", run_id=f"{root}-2", action="output", created_at=ago(minutes=19)),
        event(f"{root}-e3", root_task_id=root, task_id=f"{root}/cite", payload={"parent_task_id": f"{root}-3"}, created_at=ago(minutes=18)),
    )


def test_an_orchestration_is_a_tree_with_its_totals() -> None:
    sender = harness()
    tree(sender, "root-1")
    sender.send(run("elsewhere", root_task_id="root-2"))
    body = reader(sender)("snapshot/", root="root-1").json()
    assert (body["root"], body["truncated"]) == ("root-1", False)
    assert [(node["id"], node["parent"], node["state"], node["laggard"], node["depth"]) for node in body["nodes"]] == [
        ("root-1", None, "open", False, 0),
        ("root-1/search", "root-1", "done", False, 1),
        ("root-1/write", "root-1", "open", True, 1),
        ("root-1/cite", "root-1/write", "unknown", False, 2),
    ]
    first = body["nodes"][0]
    assert first["children"] == ["root-1/search", "root-1/write"]
    totals = first["totals"]
    assert (totals["tokens_in"], totals["tokens_out"], totals["cost_usd"]) == (150, 7, "0.035000")
    assert (totals["runs"], totals["events"], totals["open"], totals["laggards"]) == (3, 3, 2, 1)
    assert (first["agent"], body["nodes"][1]["runs"]) == (sender.agent.slug, ["root-1-2"])


def test_what_is_invisible_is_no_orchestration() -> None:
    sender, other = harness(), harness()
    tree(sender, "root-1")
    assert reader(other)("snapshot/", root="root-1").status_code == 404
    assert reader(other)("snapshot/").json()["results"] == []
    assert Client().get("/api/v1/snapshot/?root=root-1", headers=factories.bearer(sender.token)).status_code == 404
    assert reader(sender)("snapshot/", root="nothing").status_code == 404


def test_another_users_part_of_a_tree_is_left_out_for_who_reaches_their_own() -> None:
    """A person limited to a team reaches no user's content but their own."""
    tenant = factories.tenant()
    team = factories.team(tenant)
    sender = harness(tenant, team=team)
    sender.send(run("open", root_task_id="r", task_id="r"), run("private", root_task_id="r", task_id="t", user_ref="u-1"))
    person = factories.user(tenant, "viewer", team=team)
    seen = Client().get("/api/v1/snapshot/?root=r", headers=factories.bearer(factories.api_token(person, tenant))).json()
    assert [node["id"] for node in seen["nodes"]] == ["r"]
    assert len(reader(sender)("snapshot/", root="r").json()["nodes"]) == 2


def test_a_tree_is_bounded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = harness()
    tree(sender, "root-1")
    monkeypatch.setattr(reads, "MAX_STEPS", 2)
    body = reader(sender)("snapshot/", root="root-1").json()
    # The oldest runs hold the tree together, the latest events say how far it is.
    assert body["truncated"] and len(body["nodes"]) == 3
    assert {node["id"] for node in body["nodes"]} == {"root-1", "root-1/search", "root-1/cite"}


def test_the_number_of_queries_does_not_depend_on_the_tree() -> None:
    sender = harness()
    get = reader(sender)
    counts = []
    for size in (1, 40):
        sender.send(*[run(root_task_id="big", task_id=f"t-{size}-{n}") for n in range(size)])
        for query in ({"root": "big"}, {}):
            get("snapshot/", **query)
            with CaptureQueriesContext(connection) as queries:
                assert get("snapshot/", **query).status_code == 200
            counts.append(len(queries))
    assert counts[:2] == counts[2:]


def pages(get: Any, **query: Any) -> list[list[str]]:
    found, answer = [], get("snapshot/", **query).json()
    while True:
        found.append([root["id"] for root in answer["results"]])
        if answer["next"] is None:
            return found
        answer = get(answer["next"].split("/api/v1/")[1]).json()


@pytest.mark.parametrize("scanned", [5_000, 3])
def test_the_latest_orchestrations_follow_each_other(scanned: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, however few rows a page looks at; what was reported last decides, runs and events alike."""
    sender = harness()
    for n in range(6):
        sender.send(*[run(f"{n}-{step}", root_task_id=f"root-{n}", created_at=ago(hours=1, minutes=n + 6 * step)) for step in range(3)])
    sender.send_events(
        event(root_task_id="root-5", created_at=ago(minutes=2)), event(root_task_id="only-events", created_at=ago(minutes=3))
    )
    sender.send(run("loose", created_at=ago(minutes=1)), run("old", root_task_id="old", created_at=ago(hours=30)))
    monkeypatch.setattr(reads, "SCANNED", scanned)
    get = reader(sender)
    wanted = ["root-5", "only-events", "root-0", "root-1", "root-2", "root-3", "root-4"]
    found = pages(get, limit=2)
    assert [root for page in found for root in page] == wanted
    assert all(len(page) <= 2 for page in found)
    assert [root for page in pages(get, since=ago(hours=48), limit=100) for root in page] == [*wanted, "old"]
    assert [root for page in pages(get, until=ago(minutes=30)) for root in page] == wanted[2:]
    first = get("snapshot/", limit=1).json()["results"][0]
    assert (first["runs"], first["events"], first["agents"], first["cost_usd"]) == (3, 1, 1, "0.037500")


def test_a_page_that_never_ends_is_not_possible_where_all_times_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = harness()
    moment = ago(minutes=5)
    sender.send(*[run(root_task_id=f"r-{n}", created_at=moment) for n in range(5)], run(root_task_id="older", created_at=ago(hours=1)))
    monkeypatch.setattr(reads, "SCANNED", 2)
    assert [root for page in pages(reader(sender)) for root in page][-1] == "older"


@pytest.mark.parametrize("query", [{"cursor": "nonsense"}, {"cursor": "MjAyNg=="}, {"limit": "0"}, {"since": "yesterday"}])
def test_what_cannot_be_asked_is_refused(query: dict[str, str]) -> None:
    response = reader(harness())("snapshot/", **query)
    assert (response.status_code, response.json()["code"]) == (422, "invalid")


def test_a_run_leads_to_its_events_and_tree_and_an_event_is_shown_alone() -> None:
    sender = harness()
    sender.send(run("r-1", root_task_id="root-1"), run("r-2"))
    sender.send_events(event("e-1", run_id="r-1"))
    get = reader(sender)
    links = {row["run_id"]: get(f"runs/{row['id']}/").json()["links"] for row in get("runs/").json()["results"]}
    assert links == {
        "r-1": {"events": "/api/v1/events/?run_id=r-1", "snapshot": "/api/v1/snapshot/?root=root-1"},
        "r-2": {"events": "/api/v1/events/?run_id=r-2", "snapshot": None},
    }
    (listed,) = get(links["r-1"]["events"].removeprefix("/api/v1/")).json()["results"]
    assert get(f"events/{listed['id']}/").json() == listed
    assert get("events/x/").status_code == 404 and reader(harness())(f"events/{listed['id']}/").status_code == 404
