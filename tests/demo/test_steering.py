"""A simulated harness does as it is told, and says so."""

from __future__ import annotations

from typing import Any

import pytest

from apps.demo.fleet.steering import Steering


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
