"""Idempotency-Key, one transaction a request, and problem+json, shown on `teams/`."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from apps.audit.models import Event
from apps.core.models import IdempotencyRecord
from apps.identity.models import Team, Tenant
from tests import factories as make

TEAMS = "/api/v1/teams/"


def admin(tenant: Tenant) -> Client:
    return Client(headers=make.bearer(make.api_token(make.user(tenant, "tenant_admin"), tenant)))


def post(client: Client, body: Any, key: str | None = "k", path: str = TEAMS) -> Any:
    return client.post(path, body, content_type="application/json", headers={"Idempotency-Key": key} if key is not None else {})


@pytest.mark.django_db
def test_a_replay_answers_the_first_response_and_does_nothing() -> None:
    client = admin(make.tenant())
    first = post(client, {"slug": "a", "name": "A"})
    again = post(client, {"name": "A", "slug": "a"})
    assert (first.status_code, again.status_code) == (201, 201) and again.json() == first.json()
    assert again["Idempotency-Replayed"] == "true" and "Idempotency-Replayed" not in first
    assert Team.objects.count() == 1 and Event.objects.count() == 1


@pytest.mark.django_db
def test_another_body_under_the_same_key_is_refused() -> None:
    client = admin(make.tenant())
    post(client, {"slug": "a", "name": "A"})
    found = post(client, {"slug": "b", "name": "B"})
    assert (found.status_code, found.json()["code"]) == (422, "idempotency_conflict")
    assert Team.objects.count() == 1


@pytest.mark.django_db
def test_a_failed_request_leaves_its_key_free() -> None:
    client = admin(make.tenant())
    assert post(client, {"slug": "No Slug", "name": "A"}).status_code == 422
    assert not IdempotencyRecord.objects.exists()
    assert post(client, {"slug": "a", "name": "A"}).status_code == 201
    # Without the key the same write is a clash, told with 409.
    found = post(client, {"slug": "a", "name": "A"}, key=None)
    assert (found.status_code, found.json()["code"]) == (409, "slug_taken")


@pytest.mark.django_db
def test_a_key_belongs_to_its_person_its_tenant_and_its_route() -> None:
    tenant, other = make.tenant(), make.tenant()
    for client in (admin(tenant), admin(other)):
        assert post(client, {"slug": "a", "name": "A"}).status_code == 201
    assert post(admin(tenant), {"slug": "b", "name": "B"}).status_code == 201
    client = admin(tenant)
    assert post(client, {"slug": "c", "name": "C"}).status_code == 201
    assert post(client, {"slug": "c"}, path="/api/v1/agents/").status_code == 201


@pytest.mark.django_db
def test_after_24_hours_a_key_is_new() -> None:
    client = admin(make.tenant())
    post(client, {"slug": "a", "name": "A"})
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    assert post(client, {"slug": "b", "name": "B"}).json()["slug"] == "b"
    assert post(client, {"slug": "b", "name": "B"})["Idempotency-Replayed"] == "true"


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
def test_a_key_that_cannot_be_kept_is_refused(key: str) -> None:
    found = post(admin(make.tenant()), {"slug": "a", "name": "A"}, key=key)
    assert (found.status_code, found.json()["code"]) == (422, "invalid")


@pytest.mark.django_db(transaction=True)
def test_two_at_once_under_one_key_are_one_write() -> None:
    tenant = make.tenant()
    header = make.bearer(make.api_token(make.user(tenant, "tenant_admin"), tenant))
    start, found = threading.Barrier(2), []

    def send() -> None:
        try:
            start.wait()
            response = post(Client(headers=header), {"slug": "a", "name": "A"})
            found.append((response.status_code, "Idempotency-Replayed" in response))
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(201, False), (201, True)]
    assert Team.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b'{"slug": "a", "slug": "b", "name": "A"}', 422, "invalid"),
        (b'{"slug": "a", "name": 1.5}', 422, "invalid"),
        (b'{"slug": "a", "name": "\\u0000"}', 422, "invalid"),
        (b'{"slug": ', 422, "invalid"),
        (b"\xff", 400, "bad_encoding"),
        (b"[]", 422, "invalid"),
        (b'"' + b"x" * (5 * 1024 * 1024) + b'"', 413, "too_large"),
    ],
)
def test_a_body_that_cannot_be_taken_is_a_problem(raw: bytes, status: int, code: str) -> None:
    found = admin(make.tenant()).post(TEAMS, raw, content_type="application/json")
    assert (found.status_code, found["Content-Type"], found.json()["code"]) == (status, "application/problem+json", code)
    assert found.json()["request_id"] == found["X-Request-ID"]
    assert not Team.objects.exists()


@pytest.mark.django_db
def test_other_media_types_and_methods_are_named_so() -> None:
    client = admin(make.tenant())
    found = client.post(TEAMS, "slug=a", content_type="application/x-www-form-urlencoded")
    assert (found.status_code, found.json()["code"]) == (415, "unsupported_media_type")
    found = client.delete(TEAMS)
    assert (found.status_code, found.json()["code"]) == (405, "method_not_allowed")


@pytest.mark.django_db
def test_an_entity_tag_names_a_state() -> None:
    client = admin(make.tenant())
    etag = post(client, {"slug": "a", "name": "A"})["ETag"]
    for sent, status in (('"other"', 412), (f'"other", {etag}', 200), ("*", 200), (etag, 412)):
        body = {"name": f"sent {sent[:3]}"}
        response = client.patch(f"{TEAMS}a/", body, content_type="application/json", headers={"If-Match": sent})
        assert response.status_code == status, sent
