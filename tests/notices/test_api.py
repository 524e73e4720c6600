"""Webhooks and notices over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from apps.audit.models import Event
from apps.core.ids import new_id
from apps.core.models import IdempotencyRecord
from apps.identity.models import Tenant
from apps.notices.models import Webhook
from apps.notices.tasks import deliver
from tests import factories as make
from tests.notices.receivers import Receiver, verified
from tests.notices.telling import KIND, told


@pytest.fixture
def acme(db: None) -> Tenant:
    return make.tenant("acme")


@pytest.fixture
def call(client: Client, acme: Tenant) -> Any:
    tokens = {role: make.api_token(make.user(acme, role), acme) for role in ("tenant_admin", "viewer", "auditor")}

    def send(who: str, method: str, path: str, body: Any = None, expected: int = 200, **headers: str) -> Any:
        sent = {**make.bearer(tokens[who]), **headers}
        response = getattr(client, method)(
            f"/api/v1/{path}", *([body] if body is not None else []), content_type="application/json", headers=sent
        )
        assert response.status_code == expected, response.content
        return response

    return send


def test_a_webhook_is_made_once_shown_its_secret_once_and_works(acme: Tenant, call: Any, receiver: Receiver) -> None:
    body = {"name": "chat", "url": receiver.url, "events": ["promotions.decided", KIND, KIND]}
    key = {"Idempotency-Key": "k-1"}
    made = call("tenant_admin", "post", "webhooks/", body, 201, **key)
    again = call("tenant_admin", "post", "webhooks/", body, 201, **key)
    secret = made.json()["secret"]
    assert made["Cache-Control"] == "no-store" and again["Idempotency-Replayed"] == "true" and again.json()["secret"] is None
    assert Webhook.objects.count() == 1 and made.json()["events"] == [KIND, "promotions.decided"]
    assert not [row for row in IdempotencyRecord.objects.values_list("body", flat=True) if secret in str(row)]
    path = f"webhooks/{made.json()['id']}/"
    assert "secret" not in call("tenant_admin", "get", path).json()
    tried = call("tenant_admin", "post", f"{path}test/", {}, 202).json()
    assert tried["state"] == "pending"
    deliver()
    assert receiver.ids == [tried["message_id"]] and verified(secret, receiver.got[0].headers, receiver.got[0].body)
    rotated = call("tenant_admin", "post", f"{path}rotate/", {}, 200).json()
    assert rotated["secret"] != secret and rotated["previous_until"]
    actions = Event.objects.filter(tenant_id=acme.pk, action__startswith="notices.").order_by("seq").values_list("action", flat=True)
    assert list(actions) == ["notices.webhook_created", "notices.webhook_tested", "notices.webhook_rotated"]
    assert not Event.objects.filter(data__icontains="s3cr3t-path").exists()


def test_who_does_not_manage_sees_the_host_and_changes_nothing(call: Any, receiver: Receiver) -> None:
    body = {"name": "chat", "url": receiver.url, "events": [KIND]}
    call("viewer", "post", "webhooks/", body, 403)
    made = call("tenant_admin", "post", "webhooks/", body, 201).json()
    for who in ("viewer", "auditor"):
        seen = call(who, "get", f"webhooks/{made['id']}/").json()
        assert seen["url"] is None and seen["host"] == receiver.url.removesuffix("/in/s3cr3t-path")
        assert "s3cr3t-path" not in call(who, "get", "webhooks/").content.decode()
        for path in (f"webhooks/{made['id']}/rotate/", f"webhooks/{made['id']}/test/"):
            call(who, "post", path, {}, 403)
        call(who, "patch", f"webhooks/{made['id']}/", {"enabled": False}, 403)
    assert call("tenant_admin", "get", f"webhooks/{made['id']}/").json()["url"] == receiver.url


def test_it_is_changed_and_switched_under_its_entity_tag(call: Any, receiver: Receiver) -> None:
    made = call("tenant_admin", "post", "webhooks/", {"name": "chat", "url": receiver.url, "events": [KIND]}, 201).json()
    path = f"webhooks/{made['id']}/"
    tag = call("tenant_admin", "get", path)["ETag"]
    changed = call("tenant_admin", "patch", path, {"name": "chat room", "enabled": False}, 200, **{"If-Match": tag})
    assert changed.json()["name"] == "chat room" and not changed.json()["enabled"] and changed.json()["disabled_reason"]
    assert call("tenant_admin", "patch", path, {"enabled": True}, 412, **{"If-Match": tag}).json()["code"] == "stale_etag"
    assert call("tenant_admin", "post", f"{path}test/", {}, 409).json()["code"] == "wrong_state"
    call("tenant_admin", "patch", path, {"enabled": True}, 200)
    call("tenant_admin", "post", "webhooks/", {"name": "chat room", "url": receiver.url, "events": [KIND]}, 409)


@pytest.mark.parametrize(
    ("change", "pointer", "says"),
    [
        ({"url": "https://evil.test/"}, "/url", "EGRESS_ALLOWED_HOSTS"),
        ({"url": "https://127.0.0.1@evil.test/"}, "/url", "login"),
        ({"url": "http://2130706433/"}, "/url", "number"),
        ({"url": "ftp://127.0.0.1/"}, "/url", "https://"),
        ({"url": "/relative"}, "/url", "https://"),
        ({"events": ["promotions.secret"]}, "/events/0", "choice"),
        ({"events": []}, "/events", "empty"),
        ({"name": "a\nb"}, "/name", "control"),
        ({"name": "  "}, "/name", "blank"),
    ],
)
def test_what_cannot_be_is_refused_with_its_pointer(call: Any, change: dict[str, Any], pointer: str, says: str) -> None:
    body = {"name": "chat", "url": "http://127.0.0.1:9/", "events": [KIND], **change}
    answer = call("tenant_admin", "post", "webhooks/", body, 422).json()
    assert answer["errors"][0]["pointer"] == pointer and says in answer["errors"][0]["detail"]
    assert not Webhook.objects.exists()


def test_notices_are_listed_without_whom_they_went_to(acme: Tenant, call: Any, receiver: Receiver, client: Client) -> None:
    call("tenant_admin", "post", "webhooks/", {"name": "chat", "url": receiver.url, "events": [KIND]}, 201)
    me = make.user(acme, "viewer")
    mine, other = told(acme, me), told(acme, kind="promotions.decided")
    deliver()
    listed = call("viewer", "get", "notices/").json()["results"]
    assert [row["id"] for row in listed] == [str(other.pk), str(mine.pk)] and "recipients" not in listed[0]
    shown = call("viewer", "get", f"notices/{mine.pk}/").json()
    assert shown["deliveries"] == {"pending": 0, "sent": 1, "failed": 0, "dead": 0} and shown["subject"] == str(mine.subject_id)
    headers = make.bearer(make.api_token(me, acme))
    for query, expected in (
        ("mine=true", [mine]),
        ("mine=false", [other]),
        (f"kind={KIND}", [mine]),
        (f"subject={other.subject_id}", [other]),
    ):
        found = client.get(f"/api/v1/notices/?{query}", headers=headers).json()["results"]
        assert [row["id"] for row in found] == [str(each.pk) for each in expected], query
    call("viewer", "get", f"notices/{new_id()}/", expected=404)
