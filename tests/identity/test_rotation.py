"""Tokens that are replaced: both work for a while, the secret is shown once, nobody gets more than they had."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from apps.audit.models import Event
from apps.core.errors import Problem
from apps.identity import services
from apps.identity.models import Agent, AgentToken, ApiToken, Tenant
from apps.identity.tokens import authenticate
from tests import factories as make
from tests.admin.office import PASSWORD, list_url, url
from tests.admin.test_acts import press, words
from tests.identity.test_tokens import refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Tenant:
    return make.tenant("acme")


@pytest.fixture
def agent(acme: Tenant) -> Agent:
    return make.agent(acme, "helpdesk-1")


def works(secret: str) -> bool:
    try:
        return bool(authenticate(f"Bearer {secret}"))
    except Problem as error:
        assert error.code == "not_authenticated"
        return False


def later(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    """The clock of look-ups goes forward, and of what is remembered of them."""
    now = timezone.now() + by

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return now

    monkeypatch.setattr("apps.identity.tokens.datetime", Later)
    monkeypatch.setattr(timezone, "now", lambda: now)


def test_both_work_until_the_overlap_ends(acme: Tenant, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    admin = make.context(acme.pk, "tenant_admin")
    month = timezone.now() + timedelta(days=30)
    old = services.issue_agent_token(ctx=admin, agent="helpdesk-1", name="gateway", scopes=["resolve"], expires_at=month)
    new = services.rotate_token(ctx=admin, token_id=old.token.pk, overlap=timedelta(hours=2))
    token = AgentToken.objects.get(pk=new.token.pk)
    assert (token.agent, token.name, token.scopes) == (agent, "gateway", ["resolve"])
    assert token.expires_at is not None and abs(token.expires_at - month) < timedelta(minutes=1)
    before = AgentToken.objects.get(pk=old.token.pk)
    assert before.successor_id == token.pk and before.expires_at is not None
    assert abs(before.expires_at - timezone.now() - timedelta(hours=2)) < timedelta(minutes=1)
    assert works(old.secret) and works(new.secret)
    later(monkeypatch, timedelta(hours=2, minutes=1))
    # What is remembered has ended, so the database is asked, by its own clock.
    AgentToken.objects.filter(pk=old.token.pk).update(expires_at=Now())
    assert not works(old.secret) and works(new.secret)
    events = Event.objects.filter(tenant_id=acme.pk, action__in=["identity.token_rotated", "identity.token_issued"]).order_by("seq")
    assert [event.action.partition(".")[2] for event in events] == ["token_issued", "token_rotated", "token_issued"]
    assert events[1].data["successor"] == str(token.pk) and new.secret not in str(list(Event.objects.values()))


def test_without_overlap_the_old_one_ends_at_once(acme: Tenant, agent: Agent) -> None:
    admin = make.context(acme.pk, "tenant_admin")
    old = services.issue_agent_token(ctx=admin, agent="helpdesk-1")
    assert works(old.secret)
    new = services.rotate_token(ctx=admin, token_id=old.token.pk, overlap=timedelta(0))
    assert not works(old.secret) and works(new.secret)


def test_what_ended_or_was_replaced_is_not_rotated(acme: Tenant, agent: Agent) -> None:
    admin = make.context(acme.pk, "tenant_admin")
    old = services.issue_agent_token(ctx=admin, agent="helpdesk-1").token
    for overlap in (timedelta(seconds=-1), timedelta(days=7, seconds=1)):
        assert refused("invalid", services.rotate_token, ctx=admin, token_id=old.pk, overlap=overlap).errors[0].pointer == "/overlap_s"
    # An overlap never makes a token live longer than it would have.
    soon = timezone.now() + timedelta(minutes=5)
    AgentToken.objects.filter(pk=old.pk).update(expires_at=soon)
    services.rotate_token(ctx=admin, token_id=old.pk)
    assert AgentToken.objects.get(pk=old.pk).expires_at == soon
    refused("wrong_state", services.rotate_token, ctx=admin, token_id=old.pk)
    for dead in ({"revoked_at": timezone.now()}, {"expires_at": timezone.now()}):
        make.agent_token(agent, name="dead", **dead)
        token = AgentToken.objects.filter(name="dead").latest("created_at")
        refused("wrong_state", services.rotate_token, ctx=admin, token_id=token.pk)
    make.agent_token(make.agent(acme, "old", status="retired"), name="retired")
    refused("wrong_state", services.rotate_token, ctx=admin, token_id=AgentToken.objects.get(name="retired").pk)


def test_an_agent_rotates_the_token_that_it_holds_and_no_wider_one(acme: Tenant, agent: Agent, client: Client) -> None:
    wide, narrow = make.agent_token(agent, name="wide"), make.agent_token(agent, scopes=["telemetry"], name="narrow")
    other = make.agent_token(make.agent(acme, "other"))
    ids = {str(token.name or "other"): token.pk for token in AgentToken.objects.all()}
    assert client.get("/api/v1/me/", headers=make.bearer(narrow)).json()["token_id"] == str(ids["narrow"])

    def rotate(name: str, by: str) -> Any:
        address = f"/api/v1/tokens/{ids[name]}/rotate/"
        return client.post(address, {"overlap_s": 60}, content_type="application/json", headers=make.bearer(by))

    assert rotate("wide", by=narrow).status_code == 403
    assert rotate("other", by=wide).status_code == 404 and rotate("wide", by=other).status_code == 404
    done = rotate("narrow", by=narrow)
    assert done.status_code == 201 and done.json()["scopes"] == ["telemetry"] and works(done.json()["token"]) and works(narrow)
    assert rotate("narrow", by=narrow).json()["code"] == "wrong_state"
    assert rotate("wide", by=wide).json()["scopes"] == []


def test_a_person_rotates_their_own_and_nobody_gets_anothers_approval(acme: Tenant) -> None:
    manager, admin = make.user(acme, "manager"), make.user(acme, "tenant_admin")
    own = services.issue_api_token(ctx=make.context(acme.pk, "manager", user=manager))
    by_admin = make.context(acme.pk, "tenant_admin", user=admin)
    # All that a manager may: approving is among it.
    refused("permission_denied", services.rotate_token, ctx=by_admin, token_id=own.token.pk)
    refused("permission_denied", services.rotate_token, ctx=make.context(acme.pk, "author"), token_id=own.token.pk)
    narrow = services.issue_api_token(ctx=make.context(acme.pk, "manager", user=manager), scopes=["view"])
    with_narrow = authenticate(f"Bearer {narrow.secret}").context("r")
    refused("permission_denied", services.rotate_token, ctx=with_narrow, token_id=own.token.pk)
    assert services.rotate_token(ctx=with_narrow, token_id=narrow.token.pk).token.scopes == ["view"]
    assert services.rotate_token(ctx=make.context(acme.pk, "manager", user=manager), token_id=own.token.pk).token.scopes == []
    issued = services.issue_api_token(ctx=by_admin, email=manager.email)
    assert services.rotate_token(ctx=by_admin, token_id=issued.token.pk).token.scopes == issued.token.scopes
    refused("not_found", services.rotate_token, ctx=make.context(make.tenant().pk, "tenant_admin"), token_id=issued.token.pk)


def test_the_api_shows_the_secret_once_also_to_a_replay(acme: Tenant, agent: Agent, client: Client) -> None:
    admin = make.bearer(make.api_token(make.user(acme, "tenant_admin"), acme))
    make.agent_token(agent)
    address = f"/api/v1/tokens/{AgentToken.objects.get().pk}/"
    headers = {**admin, "Idempotency-Key": "once"}
    first = client.post(f"{address}rotate/", {}, content_type="application/json", headers=headers)
    again = client.post(f"{address}rotate/", {}, content_type="application/json", headers=headers)
    assert first.status_code == again.status_code == 201 and first["Cache-Control"] == "no-store"
    assert works(first.json()["token"]) and again.json() == {**first.json(), "token": None} and AgentToken.objects.count() == 2
    old = client.get(address, headers=admin).json()
    assert old["replaced_by"] == first.json()["id"] and old["revoked_at"] is None
    for body in ({"overlap_s": -1}, {"overlap_s": 604801}, {"overlap_s": "x"}):
        assert client.post(f"{address}rotate/", body, content_type="application/json", headers=admin).status_code == 422


def test_lists_find_what_needs_attention(acme: Tenant, agent: Agent, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()
    admin = make.user(acme, "tenant_admin", password=PASSWORD)
    bearer = make.bearer(make.api_token(admin, acme, name="fresh", expires_at=now + timedelta(days=300)))
    make.agent_token(agent, name="ends soon", expires_at=now + timedelta(days=29), last_used_at=now)
    make.agent_token(agent, name="new")
    with monkeypatch.context() as long_ago:
        long_ago.setattr(timezone, "now", lambda: now - timedelta(days=200))
        make.agent_token(agent, name="ended", expires_at=now - timedelta(days=1))
        make.agent_token(agent, name="idle", expires_at=now + timedelta(days=300), last_used_at=now - timedelta(days=91))
        make.agent_token(agent, name="never used")
        make.agent_token(agent, name="revoked", revoked_at=now)

    def found(query: str) -> set[str]:
        return {row["name"] for row in client.get(f"/api/v1/tokens/?{query}", headers=bearer).json()["results"]}

    assert found("expiring_days=30") == {"ends soon"} and found("unused_days=90") == {"idle", "never used"}
    assert found("unused_days=95") == {"never used"} and found("kind=user") == {"fresh"} and found("kind=service") == set()
    assert client.login(username=admin.email, password=PASSWORD)
    for attention, names in {"expiring": {"ends soon"}, "unused": {"idle", "never used"}, "replaced": set()}.items():
        rows = client.get(f"{list_url(AgentToken)}?attention={attention}").context["cl"].result_list
        assert {token.name for token in rows} == names


def test_rotating_in_the_admin_says_what_happens_and_shows_who_replaces_whom(acme: Tenant, agent: Agent, client: Client) -> None:
    secret = make.agent_token(agent, name="gateway")
    token = AgentToken.objects.get()
    viewer, admin = make.user(acme, "viewer", password=PASSWORD), make.user(acme, "tenant_admin", password=PASSWORD)
    assert client.login(username=viewer.email, password=PASSWORD)
    assert client.get(url(token, "rotate"))["Location"] == "/admin/" and url(token, "rotate") not in client.get(url(token)).content.decode()
    assert client.login(username=admin.email, password=PASSWORD)
    assert url(token, "rotate") in client.get(url(token)).content.decode()
    assert "The old one goes on for the overlap" in words(client.get(url(token, "rotate")))
    done = press(client, url(token, "rotate"), hours=3)
    page, successor = words(done).replace(" ,", ","), AgentToken.objects.exclude(pk=token.pk).get()
    assert done.status_code == 200 and done["Cache-Control"].startswith("no-store") and f"It replaces {token}, which goes on until" in page
    shown = next(word for word in page.split() if word.startswith(f"mc_{successor.prefix}_") and len(word) > 40)
    assert works(shown) and works(secret)
    assert f"Replaced by {successor} ends" in words(client.get(url(token))) and f"Replaces {token}" in words(client.get(url(successor)))
    assert f"{successor} ends" in words(client.get(list_url(AgentToken)))
    # Not twice: neither by the button nor by its address.
    assert url(token, "rotate") not in client.get(url(token)).content.decode() and client.get(url(token, "rotate"))["Location"] == url(
        token
    )
    by_other = press(client, url(successor, "rotate"), hours=0)
    assert "which has ended" in words(by_other) and not works(shown)


def test_the_command_prints_the_new_one_and_nothing_else(acme: Tenant, agent: Agent) -> None:
    old = make.agent_token(agent)
    out = StringIO()
    call_command("rotate_token", f"acme/{old.split('_')[1]}", "--overlap-hours", "0", stdout=out)
    assert works(out.getvalue().strip()) and not works(old)
    for wrong in ("acme", "acme/nothing", "nobody/nothing"):
        with pytest.raises(CommandError):
            call_command("rotate_token", wrong)


@pytest.mark.django_db(transaction=True)
def test_of_two_rotations_at_once_one_wins() -> None:
    acme = make.tenant("acme")
    person = make.user(acme, "author")
    issued = services.issue_api_token(ctx=make.context(acme.pk, "author", user=person))
    start, results = threading.Barrier(2), []

    def rotate() -> None:
        ctx = make.context(acme.pk, "author", user=person)
        try:
            start.wait()
            services.rotate_token(ctx=ctx, token_id=issued.token.pk)
            results.append("won")
        except Problem as error:
            results.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=rotate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["won", "wrong_state"] and ApiToken.objects.count() == 2
