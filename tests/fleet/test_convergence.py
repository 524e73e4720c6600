"""How a decision reaches the harnesses: what is pushed to whom, and when it is finished."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.fleet import subscriptions
from apps.fleet.models import Harness as Row
from apps.fleet.selectors.convergence import convergence
from apps.packs.models import Layer
from tests import factories as make
from tests.fleet.harness import Harness, call, harness
from tests.promotions.test_loop import World, better, world

__all__ = ["world"]


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(subscriptions, "push", lambda **said: found.append(said))
    return found


def promoted(world: World, text: str) -> Any:
    """The decision of a promotion that is live now."""
    asked = world.request(world.draft(text)["id"], reason="Greets.")
    world.answer(better(world.live))
    world.call("author", "post", f"promotions/{asked['id']}/evaluate/", {}, 200)
    world.call("manager", "post", f"promotions/{asked['id']}/approve/", {"comment": "Fine."}, 200)
    world.call("manager", "post", f"promotions/{asked['id']}/start/", {"reason": "Go."}, 200)
    return world.call("viewer", "get", "decisions/", expected=200)["results"][0]


def test_a_decision_is_finished_once_every_live_harness_follows(world: World) -> None:
    follows, lags, silent, elsewhere = (harness(world.tenant, slug) for slug in ("follows", "lags", "silent", "elsewhere"))
    old = follows.digest("desk")
    for bot in (follows, lags, silent):
        bot.beat(("desk", old))
    elsewhere.beat()
    decision = promoted(world, "You say hello first.")
    Row.objects.filter(agent=silent.agent).update(last_seen_at="2026-01-01T00:00:00Z")
    path = f"decisions/{decision['id']}/convergence/"
    found = world.call("viewer", "get", path, expected=200)
    assert (found["state"], found["counts"]) == (
        "converging",
        {"concerned": 3, "converged": 0, "behind": 2, "laggards": 0, "silent": 1},
    )
    assert [each["agent"] for each in found["silent"]] == ["acme/silent"]
    new = follows.digest("desk")
    follows.beat(("desk", new))
    found = world.call("viewer", "get", path, expected=200)
    assert [(each["agent"], each["serving"], each["expected"]) for each in found["behind"]] == [("acme/lags", old, new)]
    lags.beat(("desk", new))
    found = world.call("viewer", "get", path, expected=200)
    assert found["finished"] and found["state"] == "finished" and found["counts"]["converged"] == 2
    client = Client()
    client.force_login(world.people["viewer"], backend="apps.identity.backends.RoleBackend")
    page = client.get(f"/admin/promotions/promotion/{decision['promotion']}/change/").content.decode()
    assert f'/admin/promotions/decision/{decision["id"]}/change/">How far it has come' in page


def test_it_costs_the_same_for_any_number_of_harnesses_and_names_who_lags(world: World) -> None:
    team = make.team(world.tenant)
    layer = Layer.objects.select_related("pack").get(pk=world.live.layer_id)

    def asked() -> int:
        ctx = make.system(world.tenant.pk)
        with ctx.transaction(), CaptureQueriesContext(connection) as seen:
            convergence(ctx, layer, since=world.live.created_at)
        return len(seen)

    bots = [harness(world.tenant, f"bot-{n}", team=team if n % 2 else None) for n in range(2)]
    for bot in bots:
        bot.beat(("desk", bot.digest("desk")))
    asked()
    few = asked()
    for n in range(2, 9):
        bot = harness(world.tenant, f"bot-{n}", team=team if n % 2 else None)
        bot.beat(("desk", bot.digest("desk")), instance="one")
        Harness(bot.tenant, bot.agent, bot.token).beat(("desk", "sha256:" + "1" * 64), instance="two")
    assert asked() == few
    ctx = make.system(world.tenant.pk)
    with ctx.transaction():
        found = convergence(ctx, layer, since=world.live.created_at.replace(year=2020))
    assert found.state == "lagging" and (found.converged, found.laggards) == (9, 7)
    assert {each.instance for each in found.named_laggards} == {"two"}


def test_a_shared_packs_decision_is_followed_over_all_tenants_by_platform_alone(db: None) -> None:
    house, acme, globex = make.platform(), make.tenant("acme"), make.tenant("globex")
    pack = make.own_pack(house, "shared-desk")
    live = make.champion(house, "shared-desk", "domain:hr-ops")
    make.subscription(acme, pack)
    make.subscription(globex, pack)
    make.champion(globex, "shared-desk", "tenant:globex", make.content("Ours."))
    one, two = harness(acme, "one"), harness(globex, "two")
    for bot in (one, two):
        bot.beat(("shared-desk", bot.digest("shared-desk")))
    ctx = make.system(house.pk)
    layer = Layer.objects.select_related("pack").get(pk=live.layer_id)
    with ctx.transaction():
        found = convergence(ctx, layer, since=live.created_at)
    assert (found.concerned, found.converged) == (2, 2)
    make.champion(house, "shared-desk", "domain:hr-ops", make.content("You answer better."))
    layer.refresh_from_db()
    with ctx.transaction():
        found = convergence(ctx, layer, since=live.created_at.replace(year=2020))
    assert {each.agent for each in found.named_laggards} <= {"acme/one", "globex/two"} and found.laggards >= 1


def test_whoever_may_be_given_it_is_told_and_nobody_else(
    pushed: list[dict[str, Any]], django_capture_on_commit_callbacks: Any, db: None
) -> None:
    house, acme, stranger = make.platform(), make.tenant("acme"), make.tenant("stranger")
    team = make.team(acme)
    mate = make.agent(acme, "mate", team=team)
    make.own_pack(acme, "desk")

    def told(scope: str, tenant: Any = acme, pack: str = "desk") -> list[tuple[Any, Any, str, dict[str, Any]]]:
        pushed.clear()
        with django_capture_on_commit_callbacks(execute=True):
            make.champion(tenant, pack, scope)
        return [(each["tenant_id"], each["agent_ids"], each["event"], each["data"]) for each in pushed]

    said = {"pack": "desk", "kind": "domain"}
    assert told("tenant:acme") == [(acme.pk, None, "pack.changed", {**said, "scope": "tenant:acme"})]
    assert told("team:acme/support") == [(acme.pk, [mate.pk], "pack.changed", {**said, "scope": "team:acme/support"})]
    assert told("agent:acme/mate") == [(acme.pk, [mate.pk], "pack.changed", {**said, "scope": "agent:acme/mate"})]
    assert told("user:acme/u-42") == [(acme.pk, None, "pack.changed", {**said, "scope": "user"})]
    shared = make.own_pack(house, "shared-desk")
    make.subscription(acme, shared)
    reached = told("domain:hr-ops", house, "shared-desk")
    assert {each[0] for each in reached} == {house.pk, acme.pk} and stranger.pk not in {each[0] for each in reached}
    make.own_pack(house, "shared-rules", kind="policy")
    pushed.clear()
    with django_capture_on_commit_callbacks(execute=True):
        make.champion(house, "shared-rules", "global", {"tools": {"deny": ["shell.*"]}})
    assert [(each["tenant_id"], each["data"]["kind"]) for each in pushed] == [(None, "policy")]


def test_a_rollback_is_told_as_one(world: World, pushed: list[dict[str, Any]], django_capture_on_commit_callbacks: Any) -> None:
    promoted(world, "You say hello first.")
    pushed.clear()
    with django_capture_on_commit_callbacks(execute=True):
        decision = world.call("operator", "post", f"layers/{world.live.layer_id}/rollback/", {"reason": "No."}, 201)
    assert [(each["event"], each["data"]["scope"]) for each in pushed] == [("pack.rolled_back", "tenant:acme")]
    assert [each["data"]["decision"] for each in pushed] == [decision["id"]]


def test_commands_are_pushed_to_the_agents_that_they_concern(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any, db: None
) -> None:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr("apps.fleet.services.control.push", lambda **said: found.append(said))
    acme = make.tenant("acme")
    bot = harness(acme, "bot")
    operator = make.api_token(make.user(acme, "operator"), acme)
    with django_capture_on_commit_callbacks(execute=True):
        call(operator, "POST", "control/", {"target": "agent:acme/bot", "action": "pause", "reason": "secret plan"}, 201)
    assert [(each["tenant_id"], each["agent_ids"], each["event"]) for each in found] == [(acme.pk, [bot.agent.pk], "control")]
    assert "secret plan" not in str(found)
