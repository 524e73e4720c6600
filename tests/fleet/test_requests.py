"""Requests to use a tool once, and suggestions: what a harness may ask people for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction
from django.test import Client
from django.utils import timezone

from apps.audit.models import Event
from apps.fleet.models import ActionRequest, Suggestion
from apps.fleet.tasks import sweep
from apps.identity.models import Membership
from apps.notices.models import Notice
from apps.packs.models import PackVersion
from apps.telemetry.services import add_pattern, set_policy
from tests import factories as make
from tests.fleet.harness import Harness, call, harness, person

SECRET = "AKIA" + "IOSFODNN7EXAMPLQ"


def permitting(**tools: Any) -> dict[str, Any]:
    return make.content(tools=tools, autonomy={"ceiling": "A3"})


@pytest.fixture
def acme(db: None) -> Any:
    return furnished()


def furnished() -> Any:
    tenant = make.tenant("acme")
    make.own_pack(tenant, "desk")
    make.champion(tenant, "desk", "tenant:acme", permitting(allow=["mail.send", "ledger.pay"], risk={"ledger.pay": "high"}))
    return tenant


def bot_of(tenant: Any, autonomy: str = "A2") -> Harness:
    return harness(tenant, "bot", autonomy=autonomy, default_pack="desk")


def asked(bot: Harness, expected: int = 201, **more: Any) -> Any:
    return bot.call("POST", "actions/", {"tool": "mail.send", "arguments": {"to": "a@b.example"}, "reason": "They wait.", **more}, expected)


def test_a_managers_yes_is_used_once(acme: Any) -> None:
    bot, manager = bot_of(acme), person(acme, "manager")
    person(acme, "viewer")
    made = asked(bot, arguments={"to": "a@b.example", "note": SECRET})
    assert (made["state"], made["risk"], made["level"]) == ("pending", "medium", "A2")
    assert SECRET not in str(made) and made["redactions"]
    notice = Notice.objects.get(subject_id=made["id"])
    assert notice.facts["tool"] == "mail.send" and "They wait" not in str(notice.facts)
    assert notice.recipients == list(Membership.objects.filter(role="manager").values_list("user_id", flat=True))
    assert bot.call("POST", f"actions/{made['id']}/use/", {}, 409)["code"] == "wrong_state"
    call(person(acme, "operator"), "POST", f"actions/{made['id']}/approve/", {}, 403)
    approved = call(manager, "POST", f"actions/{made['id']}/approve/", {"comment": "Fine."}, 200)
    assert approved["state"] == "approved" and approved["decided_by"]
    assert bot.call("GET", f"actions/{made['id']}/", expected=200)["state"] == "approved"
    neighbour = harness(acme, "neighbour", autonomy="A3", default_pack="desk")
    neighbour.call("GET", f"actions/{made['id']}/", expected=404)
    neighbour.call("POST", f"actions/{made['id']}/use/", {}, 404)
    call(manager, "POST", f"actions/{made['id']}/use/", {}, 403)
    assert bot.call("POST", f"actions/{made['id']}/use/", {}, 200)["state"] == "used"
    assert bot.call("POST", f"actions/{made['id']}/use/", {}, 409)["code"] == "already_decided"
    assert call(manager, "POST", f"actions/{made['id']}/deny/", {}, 409)["code"] == "already_decided"
    events = Event.objects.filter(object_id=made["id"]).order_by("seq").values_list("action", flat=True)
    assert list(events) == ["action.requested", "action.approved", "action.used"]


def test_the_menu_says_how_many_wait_for_whom(acme: Any) -> None:
    made = asked(bot_of(acme))

    def counted(role: str) -> list[str]:
        client = Client()
        client.force_login(make.user(acme, role), backend="apps.identity.backends.RoleBackend")
        groups = client.get("/admin/").context["sidebar_navigation"]
        return [item["badge"] for group in groups for item in group["items"] if "badge" in item]

    assert (counted("manager"), counted("viewer")) == (["1"], [])
    call(person(acme, "manager"), "POST", f"actions/{made['id']}/deny/", {}, 200)
    assert counted("manager") == []


def test_what_the_pack_or_the_autonomy_does_not_let_it_ask_for_is_refused(acme: Any) -> None:
    bot = bot_of(acme)
    assert asked(bot, 403, tool="shell.run")["code"] == "permission_denied"
    assert "A3" in asked(bot, 403, tool="ledger.pay")["detail"]
    assert asked(bot, 422, tool="mail.*")["errors"][0]["pointer"] == "/tool"
    assert asked(bot, 413, arguments={"text": "x" * 20_000})["code"] == "too_large"
    assert asked(bot, 404, pack="nothing")["code"] == "not_found"
    assert not ActionRequest.objects.exists()
    boss = harness(acme, "boss", autonomy="A3", default_pack="desk")
    assert asked(boss, 201, tool="ledger.pay")["risk"] == "high"
    call(person(acme, "tenant_admin"), "POST", "actions/", {"tool": "mail.send"}, 403)


def test_a_yes_does_not_outlive_the_pack_that_permits_it_nor_its_time(acme: Any) -> None:
    bot, manager = bot_of(acme), person(acme, "manager")
    first, second = asked(bot), asked(bot)
    call(manager, "POST", f"actions/{first['id']}/approve/", {}, 200)
    make.champion(acme, "desk", "tenant:acme", permitting(allow=["ledger.pay"]))
    assert bot.call("POST", f"actions/{first['id']}/use/", {}, 422)["code"] == "constraint_violation"
    assert call(manager, "POST", f"actions/{second['id']}/approve/", {}, 422)["code"] == "constraint_violation"
    late = timezone.now() - timedelta(minutes=20)
    old = ActionRequest.objects.create(
        tenant=acme, agent=bot.agent, pack="desk", tool="ledger.pay", risk="medium", level="A2", created_at=late,
        expires_at=late + timedelta(minutes=5),
    )  # fmt: skip
    assert call(manager, "POST", f"actions/{old.pk}/approve/", {}, 409)["state"] == "expired"
    sweep()
    old.refresh_from_db()
    assert old.state == "expired"


def test_the_database_holds_what_was_asked_and_what_ended(acme: Any) -> None:
    bot = bot_of(acme)
    made = asked(bot)
    call(person(acme, "manager"), "POST", f"actions/{made['id']}/deny/", {}, 200)
    for change in ({"tool": "shell.run"}, {"state": "approved"}):
        with pytest.raises(DatabaseError), transaction.atomic():
            ActionRequest.objects.filter(pk=made["id"]).update(**change)


@pytest.mark.django_db(transaction=True)
def test_of_two_uses_at_once_one_wins() -> None:
    acme = furnished()
    bot, manager = bot_of(acme), person(acme, "manager")
    made = asked(bot)
    call(manager, "POST", f"actions/{made['id']}/approve/", {}, 200)

    def use(_: int) -> str:
        try:
            answer = bot.call("POST", f"actions/{made['id']}/use/", {})
            return str(answer.get("code") or answer["state"])
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(use, range(2))) == ["already_decided", "used"]


def test_what_the_tenant_redacts_is_not_stored(acme: Any) -> None:
    add_pattern(ctx=make.system(acme.pk), name="staff_number", pattern=r"(EMP-\d{6})")
    set_policy(ctx=make.system(acme.pk), changes={"redact_email": True})
    bot, own = bot_of(acme), "EMP-123456"
    made = asked(bot, reason=f"{own} waits.", arguments={"to": "ann@acme.example", "of": own}, run_id=f"run-{own}")
    assert made["arguments"] == {"to": "[redacted:email]", "of": "[redacted:staff_number]"}
    assert made["redactions"] == ["email", "staff_number"] and own not in str(made)
    answered = call(person(acme, "manager"), "POST", f"actions/{made['id']}/deny/", {"comment": f"Not for {own}."}, 200)
    assert answered["comment"] == "Not for [redacted:staff_number]."
    assert suggestion(bot, 422, notes=f"As {own} said.")["errors"][0]["pointer"] == "/notes"
    order = {"target": "agent:acme/bot", "action": "pause", "reason": f"{own} complained."}
    assert call(person(acme, "operator"), "POST", "control/", order, 201)["reason"] == "[redacted:staff_number] complained."
    assert own not in str(list(Event.objects.values_list("data", "text__text")))


def suggestion(bot: Harness, expected: int = 201, **more: Any) -> Any:
    return bot.call("POST", "suggestions/", {"pack": "desk", "content": make.content("You answer kindly."), **more}, expected)


def test_a_suggestion_is_a_draft_by_a_harness_and_never_more(acme: Any) -> None:
    bot = bot_of(acme)
    made = suggestion(bot, notes="They thanked me for it.")
    version = PackVersion.objects.select_related("layer").get(pk=made["version"])
    assert (version.status, version.author_kind, version.layer.scope, version.created_by_id) == ("draft", "harness", "agent:acme/bot", None)
    assert (
        suggestion(bot, scope="user:acme/u-42")["scope"] == "user:acme/u-42" and suggestion(bot, scope="tenant:acme")["status"] == "draft"
    )
    for scope in ("agent:acme/other", "tenant:globex", "user:globex/u-1", "global"):
        assert suggestion(bot, 422, scope=scope)["errors"][0]["pointer"] == "/scope"
    refused = suggestion(bot, 422, content=make.content(f"Use {SECRET}."))
    assert refused["errors"][0]["pointer"] == "/content" and SECRET not in str(refused)
    assert suggestion(bot, 413, content=make.content("x" * 70_000))["code"] == "too_large"
    call(person(acme, "tenant_admin"), "POST", "suggestions/", {"pack": "desk", "content": make.content()}, 403)
    bot.call("POST", "packs/desk/versions/", {"scope": "agent:acme/bot", "content": make.content()}, 404)
    assert Suggestion.objects.count() == 3


def test_suggestions_are_capped(acme: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bot = bot_of(acme)
    monkeypatch.setattr("apps.fleet.services.suggestions.MAX_OPEN", 2)
    monkeypatch.setattr("apps.fleet.services.suggestions.MAX_A_DAY", 3)
    made = [suggestion(bot) for _ in range(2)]
    assert suggestion(bot, 409)["code"] == "wrong_state"
    for each in made:
        PackVersion.objects.filter(pk=each["version"]).update(status="archived", archived_reason="rejected")
    suggestion(bot)
    limited = suggestion(bot, 429)
    assert limited["code"] == "rate_limited" and limited["retry_after"] > 80_000
