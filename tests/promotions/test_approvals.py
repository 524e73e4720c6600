"""Approvals as they are given: by delegation, in time, by those who may; and who hears of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.core import events
from apps.core.context import ActionContext, Actor
from apps.core.errors import Problem
from apps.identity import services
from apps.identity.models import Delegation, Membership, User
from apps.identity.selectors import roles_of
from apps.packs.models import Layer, PackVersion
from apps.promotions import tasks
from apps.promotions.deciders import deciders, waiting_for
from apps.promotions.models import Approval, ApprovalReminder, Promotion
from apps.promotions.services.answering import Answer, answer_many
from apps.promotions.services.approving import approve_promotion
from apps.promotions.services.going_live import start_promotion
from apps.promotions.services.requests import evaluate_promotion
from tests.promotions.test_loop import World, better, ready, world

__all__ = ["world"]
TOLD = ("promotions.approval_requested", "promotions.approval_reminder", "promotions.decided")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What is published for the room that sends notices, as its subscriber gets it."""
    heard: list[tuple[str, dict[str, Any]]] = []
    for name in TOLD:

        def listen(
            ctx: ActionContext, *, tenant_id: UUID, subject_id: UUID, recipients: tuple[UUID, ...], title: str, path: str,
            facts: dict[str, str], name: str = name,
        ) -> None:  # fmt: skip
            heard.append((name, {"subject": subject_id, "to": set(recipients), "title": title, "path": path, "facts": facts}))

        monkeypatch.setitem(events._subscribers, name, [listen])
    yield heard


def ctx_of(world: World, who: str) -> ActionContext:
    user = world.people[who]
    return ActionContext(Actor("user", user.pk, user.email), world.tenant.pk, "api", roles_of(user, world.tenant.pk))


def lend(world: World, lender: str, to: str, role: str) -> Delegation:
    until = timezone.now() + timedelta(days=3)
    return services.delegate(ctx=ctx_of(world, lender), to_user=world.people[to].email, role=role, until=until)


def approve(world: World, who: str, asked: Any, **more: Any) -> Promotion:
    return approve_promotion(ctx=ctx_of(world, who), promotion_id=asked["id"], **more)


def refusal(call: Any, *args: Any, **more: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        call(*args, **more)
    return caught.value


def aged(asked: Any, **age: float) -> Promotion:
    """The promotion as if it had begun to wait, and approvals had been given, so long ago."""
    promotion = Promotion.objects.get(pk=asked["id"])
    assert promotion.awaiting_since is not None
    promotion.awaiting_since -= timedelta(**age)
    promotion.save(update_fields=["awaiting_since"])
    return promotion


# Delegation


def test_a_delegate_approves_on_behalf_and_it_says_so(world: World, told: Any) -> None:
    asked = ready(world)
    assert refusal(approve, world, "viewer", asked).code == "permission_denied"
    lend(world, "manager", "viewer", "manager")
    assert set(waiting_for(ctx_of(world, "viewer"))) == {UUID(asked["id"])}
    assert approve(world, "viewer", asked).state == "ready"
    shown = world.call("author", "get", f"promotions/{asked['id']}/", expected=200)["approvals"]["given"]
    assert [(row["user"], row["on_behalf_of"], row["roles"]) for row in shown] == [("viewer@acme.test", "manager@acme.test", ["manager"])]
    assert told[-1][1]["facts"]["outcome"] == "approved" and world.people["author"].pk in told[-1][1]["to"]


def test_a_delegated_right_serves_nothing_that_either_has_made(world: World) -> None:
    asked = ready(world, who="manager")
    lend(world, "manager", "viewer", "manager")
    lend(world, "second", "author", "manager")
    assert refusal(approve, world, "viewer", asked).code == "own_promotion"
    assert not waiting_for(ctx_of(world, "viewer")) and world.people["viewer"].pk not in deciders(Promotion.objects.get(pk=asked["id"]))
    # Another's right is another thing: the author of nothing here, by the second manager's.
    assert approve(world, "author", asked).state == "ready"
    row = {"tenant": world.tenant, "promotion_id": asked["id"], "roles": ["manager"], "approved": True, "binding": asked["binding"]}
    for user, behalf in (("viewer", "manager"), ("operator", "second")):
        with pytest.raises(IntegrityError), transaction.atomic():
            Approval.objects.create(**row, user=world.people[user], on_behalf_of=world.people[behalf])
    with pytest.raises(IntegrityError), transaction.atomic():
        Approval.objects.create(**row, user=world.people["author"])


def high(world: World) -> Any:
    """One that needs two people, one a tenant admin, neither the author."""
    asked = world.request(world.draft()["id"], aim="non_inferior")
    world.answer(better(world.live))
    judged = world.call("author", "post", f"promotions/{asked['id']}/evaluate/", {}, 200)
    assert (judged["state"], judged["risk"]["level"]) == ("awaiting_approval", "high"), judged["risk"]
    return judged


def test_a_delegate_and_their_lender_are_one_person(world: World) -> None:
    asked = high(world)
    lend(world, "admin", "viewer", "tenant_admin")
    lend(world, "admin", "manager", "tenant_admin")
    assert approve(world, "admin", asked).state == "awaiting_approval"
    assert refusal(approve, world, "viewer", asked).code == "already_decided"
    # A manager in their own right is a second person; by the admin's right they would not be.
    assert refusal(approve, world, "manager", asked, on_behalf_of="admin@acme.test").code == "already_decided"
    assert approve(world, "manager", asked).state == "ready"
    assert set(Approval.objects.values_list("on_behalf_of", flat=True)) == {None}


def test_the_capacity_that_brings_it_on_is_taken(world: World) -> None:
    """The second manager's own word would leave it open; with the admin's right lent to them it is complete."""
    asked = high(world)
    lend(world, "admin", "second", "tenant_admin")
    approve(world, "manager", asked)
    assert approve(world, "second", asked).state == "ready"
    assert Approval.objects.latest("created_at").on_behalf_of == world.people["admin"]


def test_who_lost_the_right_before_the_start_has_not_approved(world: World, told: Any) -> None:
    asked = ready(world)
    approve(world, "manager", asked)
    Membership.objects.filter(user=world.people["manager"]).update(role="viewer")
    late = refusal(start_promotion, ctx=ctx_of(world, "second"), promotion_id=asked["id"])
    assert late.code == "approval_stale" and "not manager here any more" in late.detail
    assert Layer.objects.get(pk=asked["layer"]).champion_id == world.live.pk
    # The refusal changed nothing; the sweep makes it visible.
    assert tasks.tend() == 1
    row = Approval.objects.get()
    assert row.voided_at and "not manager here any more" in row.voided_reason
    assert Promotion.objects.get(pk=asked["id"]).state == "awaiting_approval"
    names = [(name, said["facts"].get("outcome")) for name, said in told[-2:]]
    assert names == [("promotions.decided", "voided"), ("promotions.approval_requested", None)]
    assert world.people["manager"].pk in told[-2][1]["to"]
    assert approve(world, "second", asked).state == "ready"


@pytest.mark.parametrize("how", ["ended", "deactivated", "lender lost it"])
def test_a_delegates_approval_ends_with_what_it_rests_on(world: World, how: str) -> None:
    asked = ready(world)
    made = lend(world, "manager", "viewer", "manager")
    approve(world, "viewer", asked)
    assert tasks.tend() == 0
    if how == "ended":
        services.end_delegation(ctx=ctx_of(world, "manager"), delegation_id=made.pk)
    elif how == "deactivated":
        User.objects.filter(pk=world.people["viewer"].pk).update(is_active=False)
    else:
        Membership.objects.filter(user=world.people["manager"]).update(role="author")
    assert tasks.tend() == 1 and tasks.tend() == 0
    assert "lent and is so no longer" in Approval.objects.get().voided_reason


# Time


def test_a_demand_expires_with_a_sentence_and_its_version_leaves(world: World, told: Any) -> None:
    asked = ready(world)
    assert asked["expires_at"] is not None
    aged(asked, days=7)
    assert refusal(approve, world, "manager", asked).code == "wrong_state"
    assert tasks.tend() == 1 and tasks.tend() == 0
    found = world.call("author", "get", f"promotions/{asked['id']}/", expected=200)
    assert found["state"] == "expired" and "waited 7 days" in found["expired_because"] and found["expires_at"] is None
    assert PackVersion.objects.get(pk=asked["version"]).archived_reason == "expired"
    assert told[-1][0] == "promotions.decided" and told[-1][1]["facts"]["outcome"] == "expired"
    assert world.people["author"].pk in told[-1][1]["to"]


def test_the_installation_sets_how_long(world: World, settings: Any) -> None:
    asked = ready(world)
    settings.APPROVAL_DEMAND_DAYS = 30
    aged(asked, days=8)
    tasks.tend()
    assert Promotion.objects.get(pk=asked["id"]).state == "awaiting_approval"
    aged(asked, days=22)
    tasks.tend()
    assert Promotion.objects.get(pk=asked["id"]).state == "expired"


def test_what_was_approved_and_not_started_is_void_after_a_time(world: World, settings: Any) -> None:
    asked = ready(world)
    approve(world, "manager", asked)
    settings.APPROVAL_KEPT_DAYS = 0
    assert refusal(start_promotion, ctx=ctx_of(world, "second"), promotion_id=asked["id"]).code == "approval_stale"
    assert tasks.tend() == 1
    promotion = Promotion.objects.get(pk=asked["id"])
    assert promotion.state == "awaiting_approval" and "not started within" in Approval.objects.get().voided_reason
    # Its time begins anew, and the same person may say it again.
    assert promotion.awaiting_since is not None and promotion.awaiting_since > timezone.now() - timedelta(minutes=5)
    settings.APPROVAL_KEPT_DAYS = 7
    assert approve(world, "manager", asked).state == "ready"


def test_reminders_once_each_to_those_who_can_still_decide(world: World, told: Any) -> None:
    asked = high(world)
    approve(world, "manager", asked)
    told.clear()
    assert tasks.tend() == 0
    aged(asked, days=1)
    assert tasks.tend() == 1 and tasks.tend() == 0
    aged(asked, days=5)
    assert tasks.tend() == 1 and tasks.tend() == 0
    assert [name for name, _ in told] == ["promotions.approval_reminder"] * 2
    assert [said["facts"]["reminder"] for _, said in told] == ["first", "last"]
    # Neither the author, nor who has answered.
    assert all(said["to"] == {world.people["second"].pk, world.people["admin"].pk} for _, said in told)
    assert ApprovalReminder.objects.count() == 2
    with pytest.raises(IntegrityError), transaction.atomic():
        first = ApprovalReminder.objects.earliest("created_at")
        ApprovalReminder.objects.create(tenant=world.tenant, promotion_id=asked["id"], kind=first.kind, since=first.since)


def test_a_reminder_that_could_not_be_told_is_not_taken_as_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ready(world)
    aged(asked, days=2)

    def broken(ctx: ActionContext, **facts: Any) -> None:
        raise Problem("unavailable", "The notice could not be written.")

    monkeypatch.setitem(events._subscribers, "promotions.approval_reminder", [broken])
    assert tasks.tend() == 0 and not ApprovalReminder.objects.exists()
    monkeypatch.setitem(events._subscribers, "promotions.approval_reminder", [])
    assert tasks.tend() == 1 and ApprovalReminder.objects.get().kind == "first"


# Who hears what


def test_a_new_demand_is_told_to_its_deciders_without_content(world: World, told: Any) -> None:
    asked = ready(world)
    (name, said), *more = told
    assert name == "promotions.approval_requested" and not more
    assert said["to"] == {world.people["manager"].pk, world.people["second"].pk}
    assert said["path"] == f"/admin/promotions/promotion/{asked['id']}/change/"
    assert "hello" not in str(said) and said["title"].startswith("Version 2 of desk at tenant:acme")
    evaluate_promotion(ctx=ctx_of(world, "author"), promotion_id=asked["id"])
    assert len(told) == 1
    world.call("manager", "post", f"promotions/{asked['id']}/reject/", {"comment": "hello is too much"}, 200)
    assert [said["facts"]["outcome"] for _, said in told[1:]] == ["rejected"] and "too much" not in str(told)
    assert told[-1][1]["to"] == {world.people["author"].pk}


# Several at once


def three(world: World) -> list[Any]:
    drafts = [world.draft(f"You say hello, {n}.") for n in range(3)]
    asked = [world.request(draft["id"]) for draft in drafts]
    world.answer(better(world.live))
    return [world.call("author", "post", f"promotions/{each['id']}/evaluate/", {}, 200) for each in asked]


def test_the_api_tells_what_waits_and_takes_several_answers(world: World) -> None:
    first, second, third = three(world)
    waiting = world.call("manager", "get", "promotions/?awaiting=me", expected=200)["results"]
    assert {each["id"] for each in waiting} == {first["id"], second["id"], third["id"]}
    for who in ("author", "viewer", "admin"):
        assert world.call(who, "get", "promotions/?awaiting=me", expected=200)["results"] == []
    assert world.call("manager", "get", "promotions/?awaiting=you", expected=422)["code"] == "invalid"
    stranger = "0192d5a4-0000-7000-8000-000000000000"
    body = {
        "promotions": [
            {"id": first["id"], "binding": first["binding"]},
            {"id": second["id"], "binding": "sha256:old"},
            {"id": stranger},
        ],
        "comment": "Read.",
    }
    results = world.call("manager", "post", "promotions/approve/", body, 200)["results"]
    assert [(each["state"], each["code"]) for each in results] == [("ready", ""), ("", "approval_stale"), ("", "not_found")]
    again = world.call("manager", "post", "promotions/approve/", body, 200)["results"]
    assert again[0]["code"] == "already_decided" and Approval.objects.count() == 1
    gone = world.call("manager", "post", "promotions/reject/", {"promotions": [{"id": third["id"]}], "comment": "No."}, 200)
    assert gone["results"][0]["state"] == "rejected"
    assert [each["id"] for each in world.call("manager", "get", "promotions/?awaiting=me", expected=200)["results"]] == [second["id"]]
    assert world.call("viewer", "post", "promotions/approve/", body, 403)["code"] == "permission_denied"


def test_of_high_risk_only_what_was_read_is_approved(world: World) -> None:
    asked = high(world)
    answers, ctx = [Answer(UUID(asked["id"]))], ctx_of(world, "admin")
    (unread,) = answer_many(ctx=ctx, answers=answers, approve=True)
    assert unread.code == "approval_required" and not Approval.objects.exists()
    (done,) = answer_many(ctx=ctx, answers=answers, approve=True, read=[UUID(asked["id"])])
    assert done.state == "awaiting_approval" and Approval.objects.count() == 1


def test_what_waits_costs_the_same_for_one_and_many(world: World, django_assert_max_num_queries: Any) -> None:
    first, *_ = three(world)
    approve(world, "second", first)
    ctx = ctx_of(world, "manager")
    with django_assert_max_num_queries(8):
        assert len(waiting_for(ctx)) == 2
