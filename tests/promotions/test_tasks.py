"""Promotions move by themselves when their evidence is there, also when the message that says so was lost."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from apps.promotions import tasks
from apps.promotions.models import Approval, Promotion
from tests import factories as make
from tests.promotions.test_loop import World, better, world

__all__ = ["world"]


def test_an_evaluation_that_ended_is_judged_by_the_next_sweep(world: World) -> None:
    asked = world.request(world.draft()["id"])
    world.answer(better(world.live))
    assert Promotion.objects.get(pk=asked["id"]).state == "collecting"
    assert tasks.reassess_due() == 1
    assert Promotion.objects.get(pk=asked["id"]).state == "awaiting_approval"
    assert tasks.reassess_due() == 0


def test_a_moved_ancestor_voids_approvals_without_anybody_asking(world: World) -> None:
    asked = world.request(world.draft()["id"])
    world.answer(better(world.live))
    tasks.reassess_due()
    world.call("manager", "post", f"promotions/{asked['id']}/approve/", {}, 200)
    make.own_pack(make.platform(), "house-policy", kind="policy")
    moved = make.champion(make.platform(), "house-policy", "global", {"promotion": {"max_prompt_growth_tokens": 400}})
    tasks.reassess_below(str(moved.layer_id), str(moved.tenant_id))
    promotion = Promotion.objects.get(pk=asked["id"])
    assert Approval.objects.get(promotion=promotion).voided_at is not None and promotion.state != "ready"


def test_with_the_broker_away_the_change_still_happens(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    def away(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no broker")

    monkeypatch.setattr("celery.app.base.Celery.send_task", away)
    with django_capture_on_commit_callbacks(execute=True):
        asked = world.request(world.draft()["id"])
        world.answer(better(world.live))
    assert Promotion.objects.get(pk=asked["id"]).state == "collecting" and tasks.reassess_due() == 1
