"""The inbox in the admin: what waits for a person, and what becomes of their answers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.core.context import ActionContext, Actor
from apps.identity import services
from apps.identity.models import Team
from apps.identity.selectors import roles_of
from apps.promotions.models import Approval, Awaited, Promotion
from apps.promotions.services.approving import approve_promotion
from apps.promotions.services.requests import evaluate_promotion
from tests import factories as make
from tests.admin.office import PASSWORD, Office, list_url, office, url
from tests.admin.test_pages import opened

INBOX = "/admin/promotions/awaited/"


@pytest.fixture
def acme(db: None) -> Office:
    return office("acme")


def waiting(acme: Office, *texts: str, **more: Any) -> list[Promotion]:
    asked = [acme.request(acme.draft(text), reason="It greets.", **more) for text in texts]
    acme.answer()
    return [evaluate_promotion(ctx=make.system(acme.tenant.pk), promotion_id=each.pk) for each in asked]


def page(client: Client, path: str = INBOX) -> str:
    response = client.get(path)
    assert response.status_code == 200, response
    return response.content.decode()


def answer(client: Client, act: str, *rows: Promotion, comment: str = "", read: tuple[Promotion, ...] = (), **more: Any) -> Any:
    keys = [str(row.pk) for row in rows]
    bindings = {f"binding-{row.pk}": row.binding for row in rows}
    body = {"act": act, "ids": keys, "shown": keys, "read": [str(row.pk) for row in read], "comment": comment, **bindings, **more}
    return client.post(f"{INBOX}answer/", body)


def test_it_holds_what_one_may_decide_and_says_what_there_is_to_judge_by(acme: Office) -> None:
    assert list_url(Awaited) == INBOX
    assert "Nothing waits for your approval." in page(acme.client("manager"))
    first, second = waiting(acme, "You say hello first.", "You say hello, twice.")
    shown = page(acme.client("manager"))
    assert shown.index(str(first.pk)) < shown.index(str(second.pk))
    for text in ("Approve selected", "rules pass", "40 cases", "1 agent", "6 days left", "by author@acme.test"):
        assert text in shown, text
    assert str(first.pk) not in page(acme.client("admin"))
    assert acme.client("author").get(INBOX).status_code == 403
    assert "Waiting for me" not in page(acme.client("author"), "/admin/")
    home = page(acme.client("manager"), "/admin/")
    assert "approvals waiting for you" in home and "Waiting for me" in home
    counts = {"risk_level=high": 0, "risk_level=medium": 2, "scope=tenant:acme": 2, "as=delegation": 0, "as=own": 2, "q=desk": 2, "q=no": 0}
    for query, found in counts.items():
        assert page(acme.client("manager"), f"{INBOX}?{query}").count('mc-select"') == found, query
    assert acme.client("manager").get(url(Awaited(pk=first.pk)))["Location"] == url(first)


def test_several_are_answered_and_each_result_is_told(acme: Office) -> None:
    first, second, third = waiting(acme, "You say hello first.", "You say hello, twice.", "You say hello, often.")
    client = acme.client("manager")
    asked = page(client, f"{INBOX}answer/?act=approve&ids={first.pk}&ids={second.pk}&ids={third.pk}")
    assert asked.count("With it, it is ready to start.") == 3 and not Approval.objects.exists()
    # Meanwhile somebody else has approved one, and another's binding is not what the page showed.
    approve_promotion(ctx=ctx_of(acme, "second"), promotion_id=third.pk)
    done = answer(client, "approve", first, second, third, comment="Read.", **{f"binding-{second.pk}": "sha256:old"})
    told = done.content.decode()
    assert done.status_code == 200 and "1 of 3 approved" in told
    assert "approval_stale" in told and "wrong_state" in told
    assert [row.comment for row in Approval.objects.filter(user=acme.people["manager"])] == ["Read."]
    again = answer(client, "approve", first, comment="Read.").content.decode()
    assert "0 of 1 approved" in again and "once is enough" in again
    rejected = answer(client, "reject", second)
    assert rejected.status_code == 422 and "Say why" in rejected.content.decode()
    assert "1 of 1 rejected" in answer(client, "reject", second, comment="Too much.").content.decode()
    assert Promotion.objects.get(pk=second.pk).state == "rejected"
    assert "Nothing waits for your approval." in page(client)


def test_high_risk_is_confirmed_one_by_one(acme: Office) -> None:
    (high,) = waiting(acme, "You say hello.", aim="non_inferior")
    assert high.risk_level == "high" and high.state == "awaiting_approval"
    client = acme.client("admin")
    assert "It is of high risk" in page(client, f"{INBOX}answer/?act=approve&ids={high.pk}")
    refused = answer(client, "approve", high)
    assert refused.status_code == 422 and "Confirm that you have read" in refused.content.decode() and not Approval.objects.exists()
    assert "Your approval counts; more is demanded." in answer(client, "approve", high, read=(high,)).content.decode()


def test_what_was_lent_says_in_whose_name(acme: Office) -> None:
    (asked,) = waiting(acme, "You say hello first.")
    services.delegate(
        ctx=ctx_of(acme, "manager"), to_user="viewer@acme.test", role="manager", until=timezone.now() + timedelta(days=2), reason="Holiday."
    )
    client = acme.client("viewer")
    assert "on behalf of manager@acme.test" in page(client) and str(asked.pk) in page(client, INBOX + "?as=delegation")
    assert "1 of 1 approved" in answer(client, "approve", asked).content.decode()
    assert "on behalf of" in page(client, url(asked))
    assert "Stands in for others" in page(client, url(acme.people["viewer"]))


def test_a_teams_manager_sees_what_is_the_teams(acme: Office) -> None:
    team = make.team(acme.tenant)
    make.agent(acme.tenant, "of-team", team=team)
    acme.people["lead"] = make.user(acme.tenant, "manager", email="lead@acme.test", password=PASSWORD, team=team)
    (asked,) = waiting(acme, "You say hello first.")
    shown = page(acme.client("lead"))
    assert str(asked.pk) not in shown and Team.objects.count() == 1


def test_it_costs_the_same_for_few_and_many(acme: Office) -> None:
    waiting(acme, "You say hello first.", "You say hello, twice.")
    client = acme.client("manager")
    before, _ = opened(client, INBOX)
    waiting(acme, *[f"You say hello, {n} times." for n in range(6)])
    after, response = opened(client, INBOX)
    assert response.content.decode().count('mc-select"') == 8 and after == before


def ctx_of(acme: Office, who: str) -> ActionContext:
    user = acme.people[who]
    return ActionContext(Actor("user", user.pk, user.email), acme.tenant.pk, "admin", roles_of(user, acme.tenant.pk))
