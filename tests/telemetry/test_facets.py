"""Counts of values and figures over time: what is shown is what is stored, and to whom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.core.context import ActionContext, Actor, RoleGrant
from apps.core.errors import Problem
from apps.identity.services import grant
from apps.telemetry.selectors.facets import NAMED, facets
from apps.telemetry.selectors.metrics import MAX_SERIES, metrics
from apps.telemetry.tasks import roll_up_task
from tests import factories as make
from tests.isolation import in_production
from tests.telemetry.sending import event, harness, run
from tests.telemetry.test_reading import reader

pytestmark = pytest.mark.django_db

# Hours that are over.
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=5)
WINDOW: dict[str, Any] = {"since": START, "until": START + timedelta(hours=4)}


def at(minutes: int) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()


def person(sender: Any, *, team: bool = False, groups: frozenset[int] = frozenset()) -> ActionContext:
    """Of the whole tenant, of one team, or with nothing but what is granted."""
    roles = frozenset({RoleGrant("viewer", make.team(sender.tenant).pk if team else None)}) if not groups else frozenset[RoleGrant]()
    return ActionContext(Actor("user", make.user().pk, "p"), sender.tenant.pk, "api", roles, groups=groups)


def test_values_are_counted_and_the_rare_ones_summed() -> None:
    sender = harness()
    sender.send(*[run(skill=f"s-{n // 2}", mcp_servers=["hr", "web"], success=n % 3 > 0, created_at=at(n)) for n in range(60)])
    sender.send(run(skill="s-1", created_at=at(-90)), run(skill="s-0", final=False, created_at=at(1)))
    sender.send_events(event(mcp_server="hr", status="failed", created_at=at(5)), event(run_id="r", action="output", created_at=at(5)))
    roll_up_task()
    get = reader(sender)
    found = get("runs/facets/", since=at(0), until=at(100)).json()["facets"]
    assert found["success"] == [{"value": "true", "count": 40}, {"value": "false", "count": 20}]
    assert found["mcp_server"] == [{"value": "hr", "count": 60}, {"value": "web", "count": 60}]
    assert [each["count"] for each in found["skill"]] == [2] * NAMED + [20]
    assert (found["skill"][-1]["value"], found["persona"]) == ("", [])
    assert found["agent"] == [{"value": sender.agent.slug, "count": 60}]
    assert set(found) >= {"tier", "status", "provider", "model_id", "pack", "arm", "task_type", "flag"}
    assert not {"user", "team", "user_ref"} & set(found)
    events = get("events/facets/", since=at(0), until=at(10)).json()["facets"]
    assert (events["status"], events["mcp_server"]) == ([{"value": "failed", "count": 1}], [{"value": "hr", "count": 1}])
    assert reader(harness())("runs/facets/").json()["facets"]["skill"] == []
    assert get("runs/facets/", since=at(9), until=at(0)).status_code == 422


def test_who_may_not_read_every_users_runs_gets_counts_of_those_that_name_none() -> None:
    sender = harness()
    sender.send(run(skill="a", user_ref="u-1", created_at=at(0)), run(skill="b", created_at=at(0)))
    roll_up_task()
    group = make.group(sender.tenant, make.user())
    grant(ctx=make.system(sender.tenant.pk), group_id=group.pk, obj=sender.agent, actions=["view"])
    granted = person(sender, groups=frozenset({group.group_id}))
    nothing = person(sender, groups=frozenset({make.group(sender.tenant, make.user()).group_id}))
    people = {"whole": person(sender), "team": person(sender, team=True), "granted": granted, "nothing": nothing}
    with in_production():
        counted = {}
        for name, ctx in people.items():
            with ctx.transaction():
                found = facets(ctx, kind="run", **WINDOW)
                counted[name] = (found.get("skill"), found.get("pack"))
    assert counted == {
        "whole": ([("a", 1), ("b", 1)], [("hr-ops-pack", 2)]),
        "team": ([("b", 1)], [("hr-ops-pack", 1)]),
        "granted": (None, [("hr-ops-pack", 1)]),
        "nothing": (None, []),
    }


def test_metrics_tell_groups_and_steps_apart() -> None:
    sender = harness()
    for n in range(6):
        sender.send(run(model_id=f"m-{n % 2}", provider="p", latency_ms=100 * (n + 1), success=n > 1, tokens_in=n, created_at=at(50 * n)))
    roll_up_task()
    get = reader(sender)
    answer = get("metrics/", since=at(0), until=at(240), group_by="model").json()
    assert [(each["group"], each["total"]["runs"]) for each in answer["series"]] == [
        ({"provider": "p", "model_id": "m-0"}, 3),
        ({"provider": "p", "model_id": "m-1"}, 2),
    ]
    total = answer["series"][0]["total"]
    assert (total["success_rate"], total["tokens_in"], total["cost_usd"], total["score"]) == (2 / 3, 6, "0.037500", None)
    assert [abs(total[name] - exact) <= 0.02 * exact for name, exact in (("p50_ms", 300), ("p95_ms", 300))] == [True, True]
    assert [point["runs"] for point in answer["series"][0]["points"]] == [1, 1, 1]
    assert answer["five_users"] is False and answer["rolled_up_since"] is None
    whole = get("metrics/", since=at(-600), until=at(900), step=86400).json()["series"][0]
    assert (whole["group"], whole["total"]["runs"]) == ({}, 6)
    assert get("metrics/", since=at(0), until=at(60), step=60, agent=sender.agent.slug).json()["series"][0]["total"]["runs"] == 2
    for query in ({"model_id": "m-9"}, {"agent": "nobody"}):
        assert get("metrics/", since=at(0), until=at(60), **query).json()["series"] == []
    refused: list[dict[str, Any]] = [
        {"step": 61},
        {"group_by": "user"},
        {"since": at(0), "until": at(0)},
        {"since": at(-99999), "step": 60},
    ]
    for query in refused:
        assert get("metrics/", **query).status_code == 422, query
    assert reader(harness())("metrics/").json()["series"] == []


def test_groups_beyond_the_largest_are_one() -> None:
    sender = harness()
    sender.send(*[run(pack=f"p-{n}", created_at=at(0)) for n in range(MAX_SERIES + 3)])
    roll_up_task()
    with person(sender).transaction():
        found = metrics(person(sender), **WINDOW, group_by="pack").series
    assert (len(found), found[-1].key, found[-1].total.runs) == (MAX_SERIES + 1, None, 3)


def test_team_figures_need_five_users() -> None:
    sender = harness()
    users = [f"u-{n}" for n in range(5)]
    sender.send(*[run(pack="five", user_ref=user, created_at=at(1)) for user in users])
    sender.send(
        *[run(pack="four", user_ref=user, created_at=at(1)) for user in [*users[:4], "u-0", "u-1"]], run(pack="none", created_at=at(1))
    )
    # Five in an hour, but four and one of different packs; five that are not over yet; five in a day, but not in an hour.
    now = datetime.now(UTC)
    sender.send(*[run(pack="later", user_ref=user, created_at=now.isoformat()) for user in users])
    sender.send(*[run(pack="day", user_ref=user, created_at=at(60 * (n % 2))) for n, user in enumerate(users)])
    roll_up_task()
    window: dict[str, Any] = {"since": START, "until": now + timedelta(hours=1)}
    of_team, whole = person(sender, team=True), person(sender)
    with in_production():
        with of_team.transaction():
            seen = {each.key: each.total.runs for each in metrics(of_team, **window, group_by="pack").series}
            assert seen == {("five",): 5, ("none",): 1}
            # However it is summed up, what is hidden is in no sum.
            for step, group_by in ((3600, "none"), (86_400, "none"), (3600, "agent"), (86_400, "arm")):
                assert sum(each.total.runs for each in metrics(of_team, **window, step=step, group_by=group_by).series) == 6
            with pytest.raises(Problem):
                metrics(of_team, **window, step=60)
        with whole.transaction():
            assert metrics(whole, **window).series[0].total.runs == 22
