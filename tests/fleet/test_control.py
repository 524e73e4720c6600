"""Commands: ordered by people, handed to harnesses until they acknowledge, overtaken by later ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.audit.models import Event
from apps.fleet.models import Command, Delivery
from apps.fleet.services import order
from apps.fleet.tasks import sweep
from apps.telemetry.commands import commands_for
from apps.telemetry.services import add_pattern
from tests import factories as make
from tests.fleet.harness import Harness, call, harness, person
from tests.telemetry import sending


@pytest.fixture
def acme(db: None) -> Any:
    return make.tenant("acme")


def ordered(bot: Harness, action: str = "pause", **more: Any) -> Command:
    return order(ctx=make.system(bot.tenant.pk), target=f"agent:acme/{bot.agent.slug}", action=action, **more)


def states(command: Command) -> list[str]:
    return sorted(Delivery.objects.filter(command=command).values_list("state", flat=True))


def test_a_command_is_handed_out_until_it_is_acknowledged(acme: Any) -> None:
    bot, operator = harness(acme, "bot"), person(acme, "operator")
    bot.beat()
    made = call(operator, "POST", "control/", {"target": "agent:acme/bot", "action": "pause", "reason": "It repeats itself."}, 201)
    assert (made["state"], made["counts"]["pending"], made["laggards"]) == ("open", 1, [])
    told = bot.beat()["commands"]
    assert [(each["id"], each["action"], each["target"]) for each in told] == [(made["id"], "pause", "agent:acme/bot")]
    assert "reason" not in told[0]
    assert bot.beat()["commands"] == told, "again, until it is acknowledged"
    answer = bot.beat(acks=[made["id"]])
    assert answer["commands"] == [] and answer["unknown_acks"] == []
    assert bot.beat(acks=[made["id"]])["unknown_acks"] == [], "said twice counts once"
    shown = call(operator, "GET", f"control/{made['id']}/", expected=200)
    assert shown["state"] == "acknowledged" and shown["deliveries"][0]["handed_out"] == 2
    assert [each["id"] for each in call(operator, "GET", "control/?action=pause", expected=200)["results"]] == [made["id"]]
    assert Event.objects.filter(action="fleet.pause", object_id=made["id"]).count() == 1


def test_each_process_answers_for_itself_and_who_lags_is_named(acme: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one = harness(acme, "bot", instance="host-1")
    two = Harness(one.tenant, one.agent, one.token, "host-2")
    one.beat()
    two.beat()
    command = ordered(one)
    one.beat(acks=[str(command.pk)])
    assert states(command) == ["acknowledged", "pending"]
    assert [each["id"] for each in two.beat()["commands"]] == [str(command.pk)] and one.beat()["commands"] == []
    viewer = person(acme, "viewer")
    assert call(viewer, "GET", f"control/{command.pk}/", expected=200)["laggards"] == []
    monkeypatch.setattr("apps.fleet.selectors.commands.LAGGARD_AFTER", timedelta(0))
    assert call(viewer, "GET", f"control/{command.pk}/", expected=200)["laggards"] == [{"agent": "bot", "instance": "host-2"}]
    # A process that begins while the pause holds is paused too.
    three = Harness(one.tenant, one.agent, one.token, "host-3")
    assert [each["action"] for each in three.beat()["commands"]] == ["pause"]


def test_telemetry_brings_commands_and_asks_nothing_while_none_wait(acme: Any) -> None:
    bot = sending.harness(acme, slug="bot")
    assert bot.send(sending.run())["commands"] == []
    command = order(ctx=make.system(acme.pk), target="agent:acme/bot", action="stop")
    assert [each["action"] for each in bot.send(sending.run())["commands"]] == ["stop"]
    beating = Harness(acme, bot.agent, bot.token)
    beating.beat(acks=[str(command.pk)])
    assert bot.send(sending.run())["commands"] == []
    ctx = make.context(acme.pk)
    ctx.agent_id = bot.agent.pk
    with CaptureQueriesContext(connection) as seen:
        assert commands_for(ctx) == []
    assert len(seen) == 0


def test_telemetry_does_not_bring_what_a_process_has_done_already(acme: Any) -> None:
    bot = sending.harness(acme, slug="bot")
    one, two = (Harness(acme, bot.agent, bot.token, instance) for instance in ("host-1", "host-2"))
    one.beat()
    two.beat()
    command = order(ctx=make.system(acme.pk), target="agent:acme/bot", action="restart")
    assert [each["action"] for each in bot.send(sending.run())["commands"]] == ["restart"]
    assert states(command) == ["pending", "pending"], "which of them heard of it is not known"
    one.beat(acks=[str(command.pk)])
    assert bot.send(sending.run())["commands"] == [], "it would restart again and again"
    assert [each["action"] for each in two.beat()["commands"]] == ["restart"]
    assert states(command) == ["acknowledged", "delivered"]


def test_another_tenants_or_agents_acknowledgement_counts_for_nothing(acme: Any) -> None:
    bot, neighbour, stranger = harness(acme, "bot"), harness(acme, "other"), harness(make.tenant("globex"), "bot")
    command = ordered(bot)
    nobodys = str(uuid4())
    for who in (neighbour, stranger):
        answer = who.beat(acks=[str(command.pk), nobodys])
        assert sorted(answer["unknown_acks"]) == sorted([str(command.pk), nobodys]) and answer["commands"] == []
    assert states(command) == ["pending"]
    call(person(stranger.tenant, "operator"), "GET", f"control/{command.pk}/", expected=404)
    refused = call(person(stranger.tenant, "operator"), "POST", "control/", {"target": "agent:acme/bot", "action": "stop"}, 422)
    assert refused["errors"][0]["pointer"] == "/target"


def test_a_resume_takes_back_a_pause_and_a_stop_gives_way_to_a_restart_only(acme: Any) -> None:
    bot, operator = harness(acme, "bot"), person(acme, "operator")
    pause = ordered(bot)
    resume = ordered(bot, "resume")
    assert states(pause) == ["superseded"] and [each["action"] for each in bot.beat()["commands"]] == ["resume"]
    stop = ordered(bot, "stop")
    assert states(resume) == ["superseded"]
    refused = call(operator, "POST", "control/", {"target": "agent:acme/bot", "action": "resume"}, 409)
    assert refused["code"] == "wrong_state" and states(stop) == ["pending"]
    restart = ordered(bot, "restart")
    assert states(stop) == ["superseded"] and states(restart) == ["pending"]
    assert call(operator, "GET", f"control/{stop.pk}/", expected=200)["state"] == "superseded"


def test_a_tree_and_a_tier_reach_those_that_had_a_part_in_them(acme: Any) -> None:
    lead, helper, idle = (sending.harness(acme, slug=slug) for slug in ("lead", "helper", "idle"))
    lead.send(sending.run(root_task_id="root-1", tier="T1", user_ref="u-1"))
    helper.send_events(sending.event(root_task_id="root-1"))
    helper.send(sending.run(root_task_id="root-2", tier="T2"))
    idle.send(sending.run(root_task_id="root-3", tier="T3"))
    operator = person(acme, "operator")

    def reached(target: str) -> list[str]:
        made = call(operator, "POST", "control/", {"target": target, "action": "pause"}, 201)
        return sorted(each["agent"] for each in made["deliveries"])

    assert reached("tree:root-1") == ["helper", "lead"] and reached("tier:T2") == ["helper"]
    add_pattern(ctx=make.system(acme.pk), name="staff_number", pattern=r"EMP-(\d{6})")
    idle.send(sending.run(root_task_id="EMP-123456"))
    assert reached("tree:EMP-123456") == ["idle"], "by what rows hold of it"
    nobody = call(operator, "POST", "control/", {"target": "tree:root-9", "action": "stop"}, 422)
    assert nobody["errors"][0]["pointer"] == "/target"
    call(person(acme, "manager"), "POST", "control/", {"target": "tier:T2", "action": "stop"}, 403)


def test_what_nobody_acknowledges_expires_and_is_no_longer_handed_out(acme: Any) -> None:
    bot = harness(acme, "bot")
    command = Command.objects.create(
        tenant=acme,
        kind="agent",
        name="acme/bot",
        agent=bot.agent,
        action="pause",
        actor_label="tests",
        created_at=timezone.now() - timedelta(hours=2),
        expires_at=timezone.now() - timedelta(hours=1),
    )
    Delivery.objects.create(tenant=acme, command=command, agent=bot.agent, created_at=command.created_at)
    assert bot.beat()["commands"] == []
    assert call(person(acme, "viewer"), "GET", f"control/{command.pk}/", expected=200)["state"] == "expired"
    sweep()
    assert states(command) == ["expired"]
    assert bot.beat(acks=[str(command.pk)])["unknown_acks"] == [] and states(command) == ["acknowledged"], "late, and true"


@pytest.mark.django_db(transaction=True)
def test_of_two_acknowledgements_and_two_orders_at_once_one_counts() -> None:
    acme = make.tenant("acme")
    bot = harness(acme, "bot")
    command = ordered(bot)

    def acked(_: int) -> list[str]:
        try:
            found: list[str] = bot.beat(acks=[str(command.pk)])["unknown_acks"]
            return found
        finally:
            connections.close_all()

    def race(action: str) -> str:
        try:
            order(ctx=make.system(acme.pk), target="agent:acme/bot", action=action)
            return action
        except Exception as error:  # noqa: BLE001 -- which refusal is asserted below
            return getattr(error, "code", repr(error))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(acked, range(2))) == [[], []]
        done = set(pool.map(race, ["stop", "resume"]))
    assert Delivery.objects.get(command=command).state == "acknowledged"
    # Either the stop was first and the resume refused, or it came second and superseded the resume.
    assert done in ({"stop", "wrong_state"}, {"stop", "resume"})
    waiting = Delivery.objects.filter(state="pending").select_related("command")
    assert [each.command.action for each in waiting] == ["stop"]
