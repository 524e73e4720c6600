"""A simulated harness does as it is told, and says so."""

from __future__ import annotations

from typing import Any

import pytest

from apps.demo import catalogue
from apps.demo.fleet.agent import SimulatedAgent
from apps.demo.fleet.portal import Portal
from apps.demo.fleet.steering import Steering
from apps.fleet.models import Delivery, Harness
from apps.fleet.services import order
from tests import factories as make


def told(*actions: str) -> list[dict[str, Any]]:
    return [{"id": f"c-{place}", "action": action} for place, action in enumerate(actions)]


@pytest.mark.parametrize(
    ("actions", "mode"),
    [
        (["pause"], "paused"),
        (["pause", "resume"], "working"),
        (["stop", "resume"], "stopped"),
        (["stop", "restart"], "working"),
        (["resume"], "working"),
    ],
)
def test_it_obeys_in_order(actions: list[str], mode: str) -> None:
    steering = Steering()
    restarted = steering.obey(told(*actions))
    assert steering.mode == mode and steering.works == (mode == "working") and restarted == ("restart" in actions)


def test_what_it_has_done_it_acknowledges_once() -> None:
    steering = Steering()
    steering.obey(told("pause"))
    body = steering.heartbeat("desk", {"digest": "sha256:1", "arm": "champion"})
    assert (body["acks"], body["status"], body["serving"][0]["pack"]) == (["c-0"], "paused", "desk")
    steering.obey([])
    assert steering.heartbeat("desk", None)["acks"] == []


@pytest.mark.django_db(transaction=True)
def test_a_simulated_agent_obeys_the_portal_over_http(live_server: Any) -> None:
    acme = make.tenant("acme")
    make.own_pack(acme, "desk")
    make.champion(acme, "desk", "tenant:acme")
    token = make.agent_token(make.agent(acme, "bot"))
    agent = SimulatedAgent(catalogue.Agent("acme", None, "bot", "Bot", "hr-ops", "A1", "desk", ("u-1",)), token, Portal(live_server.url))
    assert agent.beat() is False
    command = order(ctx=make.system(acme.pk), target="agent:acme/bot", action="pause")
    assert agent.beat() is True and agent.steering.mode == "paused" and agent.work() is None
    assert agent.beat() is False
    assert Delivery.objects.get(command=command).state == "acknowledged"
    row = Harness.objects.get()
    assert (row.instance, row.status, row.stale, row.serving.get().pack) == ("demo", "paused", [], "desk")
    agent.portal.close()
