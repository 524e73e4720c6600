"""Resolve over HTTP: what it answers, what it asks the database, and how soon it knows of a change."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from apps.core.generations import watcher
from apps.identity.models import Agent, Tenant
from apps.packs import pointers
from apps.packs import resolve as resolving
from apps.packs.models import Layer, Pack
from tests import factories as make


@pytest.fixture
def acme(db: None) -> Tenant:
    return make.tenant("acme")


@pytest.fixture
def helpdesk(acme: Tenant) -> Agent:
    return make.agent(acme, "helpdesk-1", team=make.team(acme))


def ask(client: Client, token: str, expected: int = 200, **query: str) -> Any:
    response = client.get("/api/v1/resolve", query, headers=make.bearer(token))
    assert response.status_code == expected, response.content
    return response.json()


def shared_pack(acme: Tenant) -> None:
    pack = make.own_pack(make.platform(), "hr-ops-pack")
    make.champion(make.platform(), "hr-ops-pack", "domain:hr-ops", make.content("Base."))
    make.subscription(acme, pack)


def test_folds_the_chain_with_origins(client: Client, acme: Tenant, helpdesk: Agent) -> None:
    shared_pack(acme)
    make.own_pack(make.platform(), "house-policy", kind="policy")
    make.champion(make.platform(), "house-policy", "global", {"tools": {"deny": ["shell.exec"]}})
    make.champion(
        acme, "hr-ops-pack", "tenant:acme", {"sections": {"role": {"text": "Acme.", "order": 10, "file": "AGENTS", "mode": "append"}}}
    )
    make.champion(acme, "hr-ops-pack", "agent:acme/helpdesk-1", {"tools": {"deny": ["mail.send"]}})
    body = ask(client, make.agent_token(helpdesk), pack="hr-ops-pack")
    assert body["content"]["sections"]["role"]["text"] == "Base.\n\nAcme."
    assert sorted(body["content"]["tools"]["deny"]) == ["mail.send", "shell.exec"]
    assert [(entry["scope"], entry["pack"]) for entry in body["lineage"]] == [
        ("global", "house-policy"),
        ("domain:hr-ops", "hr-ops-pack"),
        ("tenant:acme", "hr-ops-pack"),
        ("agent:acme/helpdesk-1", "hr-ops-pack"),
    ]
    assert [span["scope"] for span in body["origins"]["/sections/role/text"]] == ["domain:hr-ops", "tenant:acme"]
    assert "Acme." in body["rendered"]["AGENTS.md"] and body["arm"] == "champion" and body["ttl_s"] == 60


def test_warm_asks_nothing_and_304_for_the_same_etag(
    client: Client, acme: Tenant, helpdesk: Agent, settings: Any, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    shared_pack(acme)
    token = make.agent_token(helpdesk)
    etag = ask(client, token, pack="hr-ops-pack")["etag"]
    settings.CACHE_STALENESS_S = 60.0
    watcher.fresh()
    with django_assert_num_queries(0):
        again = client.get("/api/v1/resolve?pack=hr-ops-pack", headers={**make.bearer(token), "If-None-Match": f'"{etag}"'})
        other = client.get("/api/v1/resolve?pack=hr-ops-pack&user=u-42", headers=make.bearer(token))
    assert again.status_code == 304 and not again.content
    assert other.status_code == 200 and other.json()["etag"] == etag


def test_a_promotion_a_revocation_and_a_subscription_are_seen(client: Client, acme: Tenant, helpdesk: Agent) -> None:
    shared_pack(acme)
    token = make.agent_token(helpdesk)
    before = ask(client, token, pack="hr-ops-pack")["digest"]
    make.champion(make.platform(), "hr-ops-pack", "domain:hr-ops", make.content("Better."))
    after = ask(client, token, pack="hr-ops-pack")
    assert after["digest"] != before and after["content"]["sections"]["role"]["text"] == "Better."
    helpdesk.tokens.update(revoked_at=helpdesk.created_at)
    ctx = make.system(acme.pk)
    with ctx.transaction():
        from apps.core.context import Topic
        from apps.core.generations import bump

        bump(ctx, Topic.TOKENS, acme.pk)
    assert ask(client, token, 401, pack="hr-ops-pack")["code"] == "not_authenticated"


def test_parts_can_be_left_out_and_have_their_own_etag(client: Client, acme: Tenant, helpdesk: Agent) -> None:
    shared_pack(acme)
    token = make.agent_token(helpdesk)
    whole, small = ask(client, token, pack="hr-ops-pack"), ask(client, token, pack="hr-ops-pack", origins="0", rendered="0")
    assert {"origins", "rendered"} <= whole.keys() and not {"origins", "rendered"} & small.keys()
    assert whole["digest"] == small["digest"] and whole["etag"] != small["etag"]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"pack": "unknown"}, 404, "not_found"),
        ({"pack": "unsubscribed"}, 404, "not_found"),
        ({"pack": "empty"}, 409, "no_champion"),
        ({}, 422, "invalid"),
        ({"pack": "empty", "verion": "x"}, 422, "unknown_key"),
        ({"pack": "empty", "user": "x" * 201}, 422, "invalid"),
        ({"pack": "empty", "version": "0192d5a4-0000-7000-8000-000000000000"}, 409, "lease_expired"),
    ],
)
def test_refusals(client: Client, acme: Tenant, helpdesk: Agent, query: dict[str, str], status: int, code: str) -> None:
    make.own_pack(make.platform(), "unsubscribed")
    make.own_pack(acme, "empty")
    assert ask(client, make.agent_token(helpdesk), status, **query)["code"] == code


def test_tokens_of_people_and_of_other_tenants(client: Client, acme: Tenant) -> None:
    shared_pack(acme)
    person = make.user(acme, "tenant_admin")
    assert ask(client, make.api_token(person, acme), 403, pack="hr-ops-pack")["code"] == "permission_denied"
    stranger = make.agent(make.tenant("other"))
    assert ask(client, make.agent_token(stranger), 404, pack="hr-ops-pack")["code"] == "not_found"
    assert client.get("/api/v1/resolve?pack=hr-ops-pack").status_code == 401
    assert client.post("/api/v1/resolve").status_code == 405


def test_a_violating_layer_is_skipped_flagged_and_said(client: Client, acme: Tenant, helpdesk: Agent) -> None:
    shared_pack(acme)
    broken = make.champion(
        acme, "hr-ops-pack", "tenant:acme", {"sections": {"slogan": {"text": "FORBIDDEN", "order": 20, "file": "AGENTS"}}}
    )
    make.own_pack(make.platform(), "house-policy", kind="policy")
    make.champion(make.platform(), "house-policy", "global", {"constraints": [{"rule": "forbid_text", "value": "FORBIDDEN"}]})
    body = ask(client, make.agent_token(helpdesk), pack="hr-ops-pack")
    assert "slogan" not in body["content"]["sections"]
    assert [(found["scope"], found["layer"]["scope"]) for found in body["violations"]] == [("global", "tenant:acme")]
    assert Layer.objects.get(pk=broken.layer_id).flagged_at is not None


def test_a_pin_holds_against_a_new_shared_champion(client: Client, acme: Tenant, helpdesk: Agent) -> None:
    pack = make.own_pack(make.platform(), "hr-ops-pack")
    first = make.champion(make.platform(), "hr-ops-pack", "domain:hr-ops", make.content("First."))
    make.subscription(acme, pack, pinned=first)
    make.champion(make.platform(), "hr-ops-pack", "domain:hr-ops", make.content("Second."))
    assert ask(client, make.agent_token(helpdesk), pack="hr-ops-pack")["content"]["sections"]["role"]["text"] == "First."


@pytest.mark.parametrize("user", ["a b", "x\ny", "\u202e", "u/../v", "é" * 200])
def test_a_user_without_a_layer_gets_what_everyone_gets_cold_and_warm(client: Client, acme: Tenant, helpdesk: Agent, user: str) -> None:
    make.own_pack(acme, "desk")
    make.champion(acme, "desk", "tenant:acme")
    headers = make.bearer(make.agent_token(helpdesk))
    answers = [client.get("/api/v1/resolve", query, headers=headers) for query in ({"pack": "desk", "user": user}, {"pack": "desk"}) * 2]
    assert [answer.status_code for answer in answers] == [200] * 4 and len({answer.content for answer in answers}) == 1


def test_what_is_forgotten_is_folded_again_and_nothing_else_keeps_it(
    client: Client, acme: Tenant, helpdesk: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many packs are asked for, memory holds no more than its bound (here: the last one)."""
    monkeypatch.setattr(resolving, "MAX_FOLDED_BYTES", 1)
    monkeypatch.setattr(pointers, "MAX_VERSION_BYTES", 1)
    headers = make.bearer(make.agent_token(helpdesk))
    for slug in ("one", "two", "three") * 2:
        if not Pack.objects.filter(slug=slug).exists():
            make.own_pack(acme, slug)
            make.champion(acme, slug, "tenant:acme", make.content(f"Text of {slug}."))
        answer = client.get(f"/api/v1/resolve?pack={slug}", headers=headers)
        assert answer.json()["content"]["sections"]["role"]["text"] == f"Text of {slug}."
        gc.collect()
        assert len(resolving._folded) == 1 and len(pointers._versions) == 0
        assert len(pointers.pointers_of(acme.pk).answers) == 1
