"""Groups and grants over HTTP and in the admin; what a person without any role sees, and how soon it ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.audit.models import Event
from apps.core.access import Action as A  # noqa: N817 -- a table reads better with short names
from apps.identity import services
from apps.identity.groups import GroupMember
from apps.identity.models import Membership, Tenant
from apps.packs.models import PackGroupPermission
from apps.promotions.deciders import AS_MANAGER, every_manager_is_author, roles_here
from tests import factories as make
from tests.admin.office import PASSWORD, Office, list_url, office, url
from tests.admin.test_acts import words
from tests.identity import test_api
from tests.identity.test_access import refused


class Api(test_api.Api):
    """With the status that is expected."""

    def __call__(self, method: str, path: str, body: Any = None, expected: int | None = None, **headers: str) -> Any:
        response = super().__call__(method, path, body, **headers)
        assert expected in (None, response.status_code), response.content
        return response


def as_member(tenant: Tenant, obj: Any, *actions: str) -> tuple[Api, Any]:
    person = make.user(password=PASSWORD)
    group = make.group(tenant, person)
    services.grant(ctx=make.system(tenant.pk), group_id=group.pk, obj=obj, actions=[*actions])
    return Api(tenant, token=make.api_token(person, tenant)), person


@pytest.mark.django_db
def test_the_way_of_a_group_over_http() -> None:
    tenant = make.tenant("acme")
    make.own_pack(tenant, "desk")
    admin = Api(tenant, "tenant_admin")
    group = admin("POST", "groups/", {"name": "Desk people"}, 201).json()
    assert admin("POST", "groups/", {"name": "Desk people"}, 409).json()["code"] == "slug_taken"
    at = f"groups/{group['id']}/"
    member = admin("POST", f"{at}members/", {"email": "new@example.test"}, 201).json()
    made = admin("POST", f"{at}grants/", {"object": "pack:desk", "actions": ["author"]}, 201).json()["grants"]
    assert {row["action"] for row in made} == {"view", "author"} and made[0]["object"]["name"] == "desk"
    assert admin("POST", f"{at}grants/", {"object": "pack:none", "actions": ["view"]}, 404).json()["code"] == "not_found"
    assert admin("POST", f"{at}grants/", {"object": "pack:desk", "actions": ["manage_members"]}, 422)
    assert [row["email"] for row in admin("GET", f"{at}members/", None, 200).json()["results"]] == ["new@example.test"]
    for path in (f"{at}grants/", "grants/", "grants/?object=pack:desk", f"grants/?group={group['id']}"):
        assert {row["id"] for row in admin("GET", path, None, 200).json()["results"]} == {row["id"] for row in made}, path
    assert admin("GET", "grants/?action=force", None, 200).json()["results"] == []
    assert admin("GET", "groups/?search=people&user=new@example.test", None, 200).json()["results"][0]["name"] == "Desk people"
    author = next(row["id"] for row in made if row["action"] == "author")
    admin("DELETE", f"grants/{author}/", None, 204)
    assert [row["action"] for row in admin("GET", "grants/", None, 200).json()["results"]] == ["view"]
    admin("DELETE", f"group-members/{member['id']}/", None, 204)
    stranger = Api(make.tenant("other"), "tenant_admin")
    for method, path in (("GET", at), ("DELETE", at), ("GET", f"{at}grants/"), ("DELETE", f"grants/{made[0]['id']}/")):
        stranger(method, path, None, 404)
    admin("DELETE", at, None, 204)
    admin("GET", at, None, 404)


@pytest.mark.django_db
def test_a_person_without_a_role_sees_what_is_granted_over_http_and_nothing_else() -> None:
    tenant = make.tenant("acme")
    desk, till = make.own_pack(tenant, "desk"), make.own_pack(tenant, "till")
    version = make.version(tenant, "desk", "tenant:acme")
    make.version(tenant, "till", "tenant:acme")
    make.agent(tenant, "helpdesk-1")
    api, _ = as_member(tenant, desk, "view")
    assert [row["slug"] for row in api("GET", "packs/", None, 200).json()["results"]] == ["desk"]
    api("GET", f"packs/{till.slug}/", None, 404)
    assert api("GET", f"versions/{version.pk}/", None, 200).json()["digest"] == version.digest
    api("POST", "packs/desk/versions/", {"scope": "tenant:acme", "content": make.content()}, 403)
    api("POST", "packs/till/versions/", {"scope": "tenant:acme", "content": make.content()}, 404)
    for path in ("agents/", "members/", "teams/", "groups/", "grants/", "subscriptions/", "runs/", "eval-sets/"):
        assert api("GET", path, None, 200).json()["results"] == [], path
    for path in ("audit/", f"versions/{version.pk}/blast-radius/", "packs/desk/effective/"):
        api("GET", path, None, 403)
    me = api("GET", "me/", None, 200).json()
    assert me["tenant"]["slug"] == "acme" and me["roles"] == [] and len(api("GET", "tokens/", None, 200).json()["results"]) == 1


@pytest.mark.django_db
def test_what_is_taken_back_is_refused_by_the_next_request() -> None:
    tenant = make.tenant("acme")
    pack = make.own_pack(tenant, "desk")
    api, person = as_member(tenant, pack, "author")
    api("GET", "packs/desk/", None, 200)
    PackGroupPermission.objects.update(until=timezone.now() - timedelta(seconds=1))
    api("GET", "packs/desk/", None, 404)
    PackGroupPermission.objects.update(until=None)
    api("GET", "packs/desk/", None, 200)
    other = make.group(tenant, person)
    services.remove_group_member(ctx=make.system(tenant.pk), member_id=GroupMember.objects.exclude(group=other).get().pk)
    api("GET", "packs/desk/", None, 404)
    services.delete_group(ctx=make.system(tenant.pk), group_id=other.pk)
    api("GET", "packs/desk/", None, 401)


@pytest.mark.django_db
def test_effective_access_tells_each_right_and_its_source() -> None:
    tenant = make.tenant("acme")
    team = make.team(tenant)
    agent = make.agent(tenant, "helpdesk-1", team=team)
    until = timezone.now() + timedelta(days=3)
    person = make.user(tenant, "viewer", email="jo@example.test")
    Membership.objects.create(tenant=tenant, user=person, role="operator", team=team)
    group = make.group(tenant, person, name="Night shift")
    services.grant(ctx=make.system(tenant.pk), group_id=group.pk, obj=team, actions=["reveal"], until=until)
    admin, viewer = Api(tenant, "tenant_admin"), Api(tenant, "viewer")
    found = admin("GET", "access/?object=agent:helpdesk-1&user=jo@example.test", None, 200).json()
    sources = {row["action"]: {source["sentence"] for source in row["sources"]} for row in found["acts"]}
    shift = "granted to the group Night shift on team support"
    assert sources["view"] == {"viewer in the tenant", "operator in the team support", shift}
    assert sources["operate"] == {"operator in the team support"} and sources["reveal"] == {shift} and sources["force"] == set()
    assert [source["until"][:10] for row in found["acts"] if row["action"] == "reveal" for source in row["sources"]] == [
        f"{until:%Y-%m-%d}"
    ]
    people = admin("GET", "access/people/?object=agent:helpdesk-1&action=operate", None, 200).json()["results"]
    assert {row["user"]["email"] for row in people} == {"jo@example.test", admin.person.email}
    assert (
        admin("GET", f"access/people/?object=agent:{agent.pk}&search=jo@", None, 200).json()["results"][0]["user"]["email"]
        == "jo@example.test"
    )
    # Of oneself everybody may know; of others who governs or audits.
    viewer("GET", "access/?object=agent:helpdesk-1", None, 200)
    viewer("GET", "access/?object=agent:helpdesk-1&user=jo@example.test", None, 403)
    viewer("GET", "access/people/?object=agent:helpdesk-1", None, 403)
    Api(tenant, "auditor")("GET", "access/people/?object=agent:helpdesk-1", None, 200)
    Api(make.tenant("other"), "tenant_admin")("GET", f"access/?object=agent:{agent.pk}", None, 404)
    for query in ("", "?object=nonsense", "?object=agent:"):
        admin("GET", f"access/{query}", None, 422)


@pytest.mark.django_db
def test_a_granted_approval_is_a_managers_and_four_eyes_stay() -> None:
    acme = office()
    version = acme.draft()
    promotion = acme.request(version)
    pack, layer = version.layer.pack, version.layer
    _, person = as_member(acme.tenant, pack, "approve")
    ctx = make.member_context(person, acme.tenant)
    assert roles_here(ctx, layer) == {AS_MANAGER}
    viewer = make.context(acme.tenant.pk, "viewer")
    assert roles_here(viewer, layer) == viewer.roles
    # Whoever is granted the approval keeps the tenant admin from standing in.
    Membership.objects.filter(role="manager").delete()
    assert not every_manager_is_author(promotion, frozenset())
    assert every_manager_is_author(promotion, frozenset({person.pk}))
    PackGroupPermission.objects.all().delete()
    assert roles_here(ctx, layer) == frozenset() and every_manager_is_author(promotion, frozenset())


@pytest.fixture
def acme(db: None) -> Office:
    return office()


def signed_in(person: Any) -> Client:
    client = Client()
    assert client.login(username=person.email, password=PASSWORD)
    return client


def test_in_the_admin_a_person_without_a_role_finds_what_is_granted(acme: Office) -> None:
    make.own_pack(acme.tenant, "secret-pack")
    _, person = as_member(acme.tenant, acme.live.layer.pack, "author")
    client = signed_in(person)
    front = client.get("/admin/").content.decode()
    assert "What needs you now" in front and f'href="{list_url(PackGroupPermission.content_object.field.related_model)}"' in front
    assert list_url(Membership) not in front and list_url(Event) not in front
    listed = words(client.get(list_url(type(acme.live.layer.pack))))
    assert "desk" in listed and "secret-pack" not in listed
    assert client.get(url(acme.live)).status_code == 200
    assert "Write a version" in words(client.get(url(acme.live.layer)))
    for hidden in (acme.agent, acme.people["admin"]):
        page = client.get(url(hidden))
        assert page.status_code in (302, 403, 404), hidden
    assert "What you may do here, and why" in words(client.get(url(acme.live.layer.pack)))


def test_the_page_of_effective_access_in_the_admin(acme: Office) -> None:
    pack = acme.live.layer.pack
    _, person = as_member(acme.tenant, pack, "evaluate")
    admin = acme.client("admin")
    page = admin.get(url(pack))
    assert "Who has access, and why" in words(page) and "Grant access" in words(page)
    matrix = words(admin.get(f"/admin/access/?object=pack:{pack.pk}"))
    assert person.email in matrix and "granted to the group" in matrix and "manager in the tenant" in matrix
    only = words(admin.get("/admin/access/?object=pack:desk&act=force"))
    assert acme.people["admin"].email in only and person.email not in only
    one = words(admin.get(f"/admin/access/?object=pack:desk&user={person.pk}"))
    assert "Every act on this pack" in one and "nowhere" in one and "on pack desk" in one
    viewer = acme.client("viewer")
    assert viewer.get("/admin/access/?object=pack:desk").status_code == 422
    assert "viewer in the tenant" in words(viewer.get("/admin/access/?object=pack:desk&user=viewer@acme.test"))


def test_granting_and_taking_back_in_the_admin(acme: Office) -> None:
    pack = acme.live.layer.pack
    group = make.group(acme.tenant, name="Night shift")
    admin = acme.client("admin")
    assert "Night shift" in words(admin.get(url(pack, "grant")))
    sent = {"once": "1", "group": str(group.pk), "actions": ["author", "evaluate"], "until": ""}
    assert admin.post(url(pack, "grant"), sent).status_code == 302
    rows = {row.permission.codename: row for row in PackGroupPermission.objects.all()}
    assert set(rows) == {"view", "author", "evaluate"} and rows["view"].granted_by == acme.people["admin"]
    assert "desk" in words(admin.get(url(group)))
    assert admin.post(url(rows["view"], "revoke"), {"once": "2", "reason": "over"}).status_code == 302
    assert not PackGroupPermission.objects.exists()
    refused(
        "permission_denied", services.grant, ctx=make.role_context(acme.tenant, "manager"), group_id=group.pk, obj=pack, actions=[A.VIEW]
    )
    manager = acme.client("manager")
    assert "Grant access" not in words(manager.get(url(pack)))
    assert manager.post(url(pack, "grant"), {**sent, "once": "3"}).status_code in (302, 403)
    assert not PackGroupPermission.objects.exists()
