from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.audit.models import Event
from apps.core.models import IdempotencyRecord
from apps.identity.models import Agent, AgentToken, Membership, Team, Tenant
from apps.identity.selectors import platform_id
from tests import factories as make

PLATFORM = Tenant(pk=platform_id())


class Api:
    """The API as one person sees it."""

    def __init__(self, tenant: Tenant, *roles: str, token: str = "") -> None:
        self.client = Client()
        stored = Tenant.objects.get(pk=tenant.pk)
        self.person = make.user(stored, *roles)
        self.headers = make.bearer(token or make.api_token(self.person, stored))

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        raw = "" if body is None else json.dumps(body)
        return self.client.generic(method, f"/api/v1/{path}", raw, content_type="application/json", headers={**self.headers, **headers})

    def code(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        response = self(method, path, body, **headers)
        if response.status_code < 400:
            return response.status_code, ""
        assert response["Content-Type"] == "application/problem+json", response.content
        return response.status_code, response.json()["code"]


@pytest.mark.django_db
def test_me_says_who_where_and_what() -> None:
    tenant = make.tenant()
    team = make.team(tenant)
    api = Api(tenant, "viewer")
    Membership.objects.create(tenant=tenant, user=api.person, team=team, role="operator")
    found = api("GET", "me/").json()
    assert found["actor"] == {"kind": "user", "id": str(api.person.pk), "label": api.person.email}
    assert found["tenant"]["slug"] == tenant.slug and found["scopes"] is None and found["actions"] == ["view", "prompt_read"]
    assert found["roles"] == [
        {"role": "operator", "team": "support", "delegated_by": None, "actions": ["view", "roll_back", "operate", "prompt_read"]},
        {"role": "viewer", "team": None, "delegated_by": None, "actions": ["view", "prompt_read"]},
    ]
    harness = Api(tenant, token=make.agent_token(make.agent(tenant), scopes=["resolve"]))("GET", "me/").json()
    assert (harness["actor"]["kind"], harness["actions"], harness["scopes"]) == ("agent", ["resolve"], ["resolve"])


@pytest.mark.django_db
def test_without_a_token_nobody_is_anybody() -> None:
    for path in ("me/", "tenants/", "tokens/", "audit/"):
        response = Client().get(f"/api/v1/{path}")
        assert (response.status_code, response.json()["code"], response["WWW-Authenticate"]) == (401, "not_authenticated", "Bearer")


@pytest.mark.django_db
def test_a_tenant_from_nothing_to_a_working_agent() -> None:
    platform = Api(PLATFORM, "tenant_admin")
    assert platform.code("POST", "organisations/", {"slug": "acme-org", "name": "Acme"})[0] == 201
    made = platform(
        "POST", "tenants/", {"organisation": "acme-org", "slug": "acme", "name": "Acme", "tier": "team", "admin_email": "a@acme.test"}
    )
    assert (made.status_code, made.json()["organisation"], made.json()["status"]) == (201, "acme-org", "active")
    assert {row["slug"] for row in platform("GET", "tenants/").json()["results"]} == {"acme", "platform"}

    acme = Tenant.objects.get(slug="acme")
    admin = Api(acme, "tenant_admin")
    assert admin.code("POST", "teams/", {"slug": "support", "name": "Support"})[0] == 201
    agent = admin("POST", "agents/", {"slug": "helpdesk-1", "team": "support", "domain": "hr-ops"})
    assert (agent.status_code, agent.json()["team"], agent.json()["autonomy"]) == (201, "support", "A1")
    issued = admin("POST", "tokens/", {"agent": "helpdesk-1"})
    assert issued.status_code == 201 and issued["Cache-Control"] == "no-store"
    harness = Api(acme, token=issued.json()["token"])
    assert harness("GET", "me/").json()["actor"]["label"] == "acme/helpdesk-1"
    shown = admin("GET", f"tokens/{issued.json()['id']}/").json()
    assert "token" not in shown and shown["agent"] == "helpdesk-1" and shown["kind"] == "agent"
    assert admin.code("DELETE", f"tokens/{issued.json()['id']}/") == (204, "")
    assert harness.code("GET", "me/") == (401, "not_authenticated")

    for act, status in (("suspend", "suspended"), ("activate", "active")):
        assert platform("POST", f"tenants/acme/{act}/", {"reason": "test"}).json()["status"] == status
    assert platform.code("DELETE", "tenants/acme/") == (204, "")
    assert admin.code("GET", "me/") == (401, "not_authenticated")
    assert platform.code("GET", "tenants/acme/") == (404, "not_found")


@pytest.mark.django_db
def test_another_tenants_objects_do_not_exist() -> None:
    other = make.tenant()
    theirs = {"team": make.team(other, "theirs"), "agent": make.agent(other, "theirs")}
    member = make.user(other, "viewer").memberships.get()
    make.agent_token(theirs["agent"])
    token = AgentToken.objects.get()
    api = Api(make.tenant(), "tenant_admin")
    for path in (
        f"tenants/{other.slug}/",
        f"organisations/{other.organisation.slug}/",
        "teams/theirs/",
        "agents/theirs/",
        f"members/{member.pk}/",
    ):
        assert api.code("GET", path) == (404, "not_found")
        assert api.code("PATCH", path, {"name": "x"} if "members" not in path else {"role": "viewer"}) == (404, "not_found")
    for path in (f"tenants/{other.slug}/", "agents/theirs/", f"members/{member.pk}/", f"tokens/{token.pk}/"):
        assert api.code("DELETE", path) == (404, "not_found")
    assert api.code("POST", f"tenants/{other.slug}/suspend/") == (404, "not_found")
    assert api.code("POST", "agents/theirs/suspend/") == (404, "not_found")
    for path in ("tenants/", "organisations/", "teams/", "agents/", "members/", "tokens/"):
        assert not [row for row in api("GET", path).json()["results"] if row.get("slug") == "theirs" or row.get("tenant") == other.slug]
    assert not Event.objects.exists()


@pytest.mark.django_db
def test_visible_but_not_allowed_is_forbidden_and_changes_nothing() -> None:
    tenant = make.tenant()
    make.team(tenant)
    make.agent(tenant, "a")
    member = make.user(tenant, "viewer").memberships.get()
    make.agent_token(Agent.objects.get())
    token = AgentToken.objects.get()
    for role in ("viewer", "author", "manager", "auditor"):
        api = Api(tenant, role)
        for method, path, body in (
            ("POST", "organisations/", {"slug": "x", "name": "X"}),
            ("POST", "tenants/", {"organisation": tenant.organisation.slug, "slug": "x", "name": "X", "tier": "team"}),
            ("PATCH", f"organisations/{tenant.organisation.slug}/", {"name": "x"}),
            ("PATCH", f"tenants/{tenant.slug}/", {"name": "x"}),
            ("DELETE", f"tenants/{tenant.slug}/", None),
            ("POST", f"tenants/{tenant.slug}/suspend/", {}),
            ("POST", "teams/", {"slug": "x", "name": "X"}),
            ("PATCH", "teams/support/", {"name": "x"}),
            ("POST", "agents/", {"slug": "x"}),
            ("PATCH", "agents/a/", {"name": "x"}),
            ("POST", "agents/a/suspend/", {}),
            ("DELETE", "agents/a/", None),
            ("POST", "members/", {"email": "x@example.test", "role": "viewer"}),
            ("PATCH", f"members/{member.pk}/", {"role": "author"}),
            ("DELETE", f"members/{member.pk}/", None),
            ("POST", "tokens/", {"agent": "a"}),
            ("DELETE", f"tokens/{token.pk}/", None),
        ):
            assert api.code(method, path, body) == (403, "permission_denied"), (role, method, path)
    assert not Event.objects.exists()
    harness = Api(tenant, token=make.agent_token(Agent.objects.get()))
    assert harness.code("GET", "agents/a/") == (404, "not_found") and harness("GET", "members/").json()["results"] == []


@pytest.mark.django_db
def test_bad_requests_are_problems_with_pointers() -> None:
    api = Api(make.tenant(), "tenant_admin")
    for method, path, body, status, pointer in (
        ("POST", "agents/", {}, 422, "/slug"),
        ("POST", "agents/", {"slug": "a", "autonomy": "A7"}, 422, "/autonomy"),
        ("POST", "members/", {"email": "a@example.test", "role": "agent"}, 422, "/role"),
        ("POST", "tokens/", {"agent": "a", "user": "a@example.test"}, 422, "/user"),
        ("POST", "tokens/", {"scopes": ["fly"]}, 422, "/scopes/0"),
        ("GET", "agents/?status=asleep", None, 422, "/status"),
    ):
        response = api(method, path, body)
        assert (response.status_code, response.json()["errors"][0]["pointer"]) == (status, pointer), response.content
    for path in ("members/no-uuid/", "agents/%00/", "agents/?cursor=cD1hYmM%3D", "tokens/no-uuid/"):
        assert api.code("GET", path) == (404, "not_found"), path
    assert api.code("GET", "agents/?search=%00")[0] == 422
    assert api.code("PUT", "agents/a/") == (405, "method_not_allowed")


@pytest.mark.django_db
def test_a_replayed_issue_does_not_show_the_secret_again_nor_keep_it() -> None:
    tenant = make.tenant()
    make.agent(tenant, "a")
    api = Api(tenant, "tenant_admin")
    first = api("POST", "tokens/", {"agent": "a"}, **{"Idempotency-Key": "k"}).json()
    again = api("POST", "tokens/", {"agent": "a"}, **{"Idempotency-Key": "k"})
    assert again.status_code == 201 and again.json() == {**first, "token": None}
    assert first["token"].split("_", 2)[2] not in str(IdempotencyRecord.objects.get().body)
    assert AgentToken.objects.count() == 1


@pytest.mark.django_db
def test_if_match_guards_a_change() -> None:
    tenant = make.tenant()
    make.team(tenant)
    api = Api(tenant, "tenant_admin")
    etag = api("GET", "teams/support/")["ETag"]
    changed = api("PATCH", "teams/support/", {"name": "First"}, **{"If-Match": etag})
    assert changed.status_code == 200 and changed["ETag"] != etag
    assert api.code("PATCH", "teams/support/", {"name": "Second"}, **{"If-Match": etag}) == (412, "stale_etag")
    assert Team.objects.get().name == "First"
    assert api.code("PATCH", "teams/support/", {"name": "Third"}, **{"If-Match": changed["ETag"]}) == (200, "")


@pytest.mark.django_db
def test_tokens_of_both_kinds_are_one_list_in_pages() -> None:
    tenant = make.tenant()
    agent, person = make.agent(tenant, "a"), make.user(tenant, "viewer")
    api = Api(tenant, "tenant_admin")
    for _ in range(4):
        make.agent_token(agent)
        make.api_token(person, tenant)
    whole = [row["id"] for row in api("GET", "tokens/").json()["results"]]
    assert whole == sorted(whole, reverse=True) and len(whole) == 9
    paged, page, back = [], api("GET", "tokens/?limit=2").json(), []
    while True:
        paged += [row["id"] for row in page["results"]]
        if page["next"] is None:
            break
        page = api("GET", "tokens/?" + page["next"].split("?")[1]).json()
    assert paged == whole
    while page["previous"] is not None:
        page = api("GET", "tokens/?" + page["previous"].split("?")[1]).json()
        back = [row["id"] for row in page["results"]] + back
    assert back == whole[: len(back)] and len(back) >= 7
    for query, number in (
        ("kind=agent", 4),
        ("agent=a", 4),
        (f"user={person.email}", 4),
        ("kind=user", 5),
        ("revoked=true", 0),
        ("revoked=false", 9),
    ):
        assert len(api("GET", f"tokens/?{query}").json()["results"]) == number, query


@pytest.mark.django_db
def test_lists_take_as_many_queries_for_many_rows_as_for_few() -> None:
    tenant = make.tenant()
    team = make.team(tenant)
    api = Api(tenant, "tenant_admin")

    def fill(number: int) -> None:
        for _ in range(number):
            agent = make.agent(tenant, team=team)
            make.agent_token(agent)
            make.api_token(make.user(tenant, "viewer", team=team), tenant)

    def queries() -> dict[str, int]:
        found = {}
        for path in ("organisations/", "tenants/", "teams/", "agents/", "members/", "tokens/", "audit/"):
            with CaptureQueriesContext(connection) as captured:
                assert api("GET", path).status_code == 200
            found[path] = len(captured)
        return found

    fill(2)
    queries()
    few = queries()
    fill(20)
    assert queries() == few


@pytest.mark.django_db
def test_filters_find_what_they_name() -> None:
    tenant = make.tenant()
    team = make.team(tenant)
    make.agent(tenant, "helpdesk-1", team=team)
    make.agent(tenant, "sre-1", domain="infra-sre", status="suspended")
    api = Api(tenant, "viewer")
    for query, slugs in (
        ("team=support", ["helpdesk-1"]),
        ("domain=infra-sre", ["sre-1"]),
        ("status=suspended", ["sre-1"]),
        ("search=HELP", ["helpdesk-1"]),
    ):
        assert [row["slug"] for row in api("GET", f"agents/?{query}").json()["results"]] == slugs
    assert [row["email"] for row in api("GET", "members/?role=viewer").json()["results"]] == [api.person.email]
