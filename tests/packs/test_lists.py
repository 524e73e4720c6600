"""Lists of the registry and of decisions ask the same number of queries however long they are; and what a body may be."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.identity.models import Tenant
from apps.promotions.models import Aim
from apps.promotions.services.requests import request_promotion
from tests import factories as make


@pytest.fixture
def acme(db: None) -> Tenant:
    return make.tenant("acme")


@pytest.fixture
def admin(acme: Tenant) -> dict[str, str]:
    return make.bearer(make.api_token(make.user(acme, "tenant_admin"), acme))


def grow(acme: Tenant, count: int) -> None:
    """Packs, each with a layer, a champion, a draft on its way and a decision's worth of neighbours."""
    for _ in range(count):
        pack = make.own_pack(acme, kind="policy")
        make.champion(acme, pack.slug, "tenant:acme", {"limits": {"max_prompt_tokens": 9000}})
        draft = make.version(acme, pack.slug, "tenant:acme", {"limits": {"max_prompt_tokens": 8000}})
        request_promotion(ctx=make.context(acme.pk, "author"), version_id=draft.pk, aim=Aim.POLICY)
        shared = make.own_pack(make.platform())
        make.subscription(acme, shared)


@pytest.mark.parametrize(
    "path", ["packs/", "subscriptions/", "promotions/", "decisions/", "packs/{pack}/layers/", "packs/{pack}/versions/"]
)
def test_query_counts_do_not_grow(client: Client, acme: Tenant, admin: dict[str, str], path: str) -> None:
    one = make.own_pack(acme, "one")
    make.champion(acme, "one", "tenant:acme")

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            response = client.get(f"/api/v1/{path.format(pack=one.slug)}?limit=100", headers=admin)
        assert response.status_code == 200, response.content
        return len(captured)

    grow(acme, 1)
    queries()
    few = queries()
    for number in range(5):
        make.champion(acme, "one", "tenant:acme", make.content(f"Text {number}."))
        make.champion(acme, "one", f"agent:acme/{make.agent(acme).slug}", make.content(f"Agent {number}."))
    grow(acme, 5)
    # Making them takes its time: the process asks once whether what it remembers still holds.
    queries()
    assert queries() == few


def test_pages_follow_one_another_without_gap_or_repeat(client: Client, acme: Tenant, admin: dict[str, str]) -> None:
    made = {make.own_pack(acme).slug for _ in range(7)}
    seen: list[str] = []
    url: str | None = "/api/v1/packs/?limit=3&kind=domain"
    while url:
        body = client.get(url, headers=admin).json()
        seen += [entry["slug"] for entry in body["results"]]
        url = body["next"]
    assert len(seen) == len(set(seen)) and made <= set(seen)
    found = client.get(f"/api/v1/packs/?search={next(iter(made))}", headers=admin).json()["results"]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b'{"slug": "' + b"x" * (5 * 1024 * 1024) + b'"}', "application/json", 413, "too_large"),
        (b"slug=x", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"\xff\xfe", "application/json", 400, "bad_encoding"),
        (b"[]", "application/json", 422, "invalid"),
        (b'{"slug": "x", "title": 1e5}', "application/json", 422, "invalid"),
    ],
)
def test_bodies_that_are_not_taken(
    client: Client, acme: Tenant, admin: dict[str, str], body: bytes, content_type: str, status: int, code: str
) -> None:
    response: Any = client.post("/api/v1/packs/", body, content_type=content_type, headers=admin)
    assert (response.status_code, response.json()["code"]) == (status, code), response.content
    assert response["Content-Type"] == "application/problem+json" and response.json()["request_id"]
