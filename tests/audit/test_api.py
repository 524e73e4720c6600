from __future__ import annotations

import pytest
from django.test import Client

from apps.audit.models import Event, EventText
from apps.audit.services import record
from apps.identity.models import Tenant
from tests import factories as make


def reader(tenant: Tenant, role: str = "auditor") -> Client:
    return Client(headers=make.bearer(make.api_token(make.user(tenant, role), tenant)))


def happened(tenant: Tenant, *actions: str, reason: str = "") -> None:
    ctx = make.context(tenant.pk, "tenant_admin")
    with ctx.transaction():
        for action in actions:
            record(ctx, action, tenant, data={"n": 1}, reason=reason)


@pytest.mark.django_db
def test_auditors_read_their_tenants_chain_newest_first() -> None:
    tenant, other = make.tenant(), make.tenant()
    happened(tenant, "a.one", "b.two", reason="as agreed")
    happened(other, "c.three")
    found = reader(tenant).get("/api/v1/audit/").json()["results"]
    assert [(row["seq"], row["action"]) for row in found] == [(2, "b.two"), (1, "a.one")]
    assert found[0]["previous"] == found[1]["hash"] and found[0]["reason"] == "as agreed"
    assert found[0]["object"] == {"type": "identity.tenant", "id": str(tenant.pk)} and found[0]["data"] == {"n": 1}
    EventText.objects.filter(event__seq=1, tenant_id=tenant.pk).delete()
    erased = reader(tenant).get("/api/v1/audit/").json()["results"][1]
    assert erased["reason"] is None and erased["actor"]["label"] is None and erased["actor"]["kind"] == "user"


@pytest.mark.django_db
def test_who_may_not_audit_is_forbidden() -> None:
    tenant = make.tenant()
    for role in ("viewer", "author", "operator", "manager"):
        for path in ("audit/", "audit/verify/"):
            response = reader(tenant, role).get(f"/api/v1/{path}")
            assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
    harness = Client(headers=make.bearer(make.agent_token(make.agent(tenant))))
    assert harness.get("/api/v1/audit/").status_code == 403
    assert reader(tenant, "tenant_admin").get("/api/v1/audit/verify/").status_code == 200


@pytest.mark.django_db
def test_filters_and_pages() -> None:
    tenant = make.tenant()
    happened(tenant, "a.one", "a.two", reason="Needle in a reason")
    happened(tenant, "b.one")
    client, actor = reader(tenant), Event.objects.get(action="b.one").actor_id
    at = Event.objects.get(action="b.one").at.isoformat().replace("+00:00", "Z")
    for query, seqs in (
        ("action=a.one", [1]),
        ("action=a.", [2, 1]),
        (f"actor={actor}", [3]),
        ("actor=user", [3, 2, 1]),
        ("actor=agent", []),
        ("object=identity.tenant", [3, 2, 1]),
        (f"object=identity.tenant:{tenant.pk}", [3, 2, 1]),
        (f"object={tenant.pk}", [3, 2, 1]),
        ("object=identity.agent", []),
        (f"since={at}", [3]),
        (f"until={at}", [2, 1]),
        ("search=needle", [2, 1]),
        ("search=B.ON", [3]),
    ):
        assert [row["seq"] for row in client.get(f"/api/v1/audit/?{query}").json()["results"]] == seqs, query
    first = client.get("/api/v1/audit/?limit=2").json()
    assert [row["seq"] for row in client.get(first["next"]).json()["results"]] == [1]
    assert client.get("/api/v1/audit/?since=yesterday").status_code == 422
    assert client.get("/api/v1/audit/?cursor=cD1hYmM%3D").status_code == 404


@pytest.mark.django_db
def test_verification_by_api() -> None:
    tenant = make.tenant()
    client = reader(tenant)
    assert client.get("/api/v1/audit/verify/").json() == {"holds": True, "events": 0, "head": None, "broken": None}
    happened(tenant, "a.one", "a.two")
    found = client.get("/api/v1/audit/verify/").json()
    assert found == {"holds": True, "events": 2, "head": bytes(Event.objects.get(seq=2).hash).hex(), "broken": None}
