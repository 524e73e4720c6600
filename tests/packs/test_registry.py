"""Writing packs and versions: what is refused, with which code and pointer, and that a refusal leaves nothing behind."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from django.test import Client

from apps.core.errors import Problem
from apps.identity.models import Tenant
from apps.packs.models import Layer, Pack, PackVersion
from tests import factories as make


@pytest.fixture
def acme(db: None) -> Tenant:
    return make.tenant("acme")


@pytest.fixture
def author(acme: Tenant) -> dict[str, str]:
    return make.bearer(make.api_token(make.user(acme, "author"), acme))


def post(client: Client, headers: dict[str, str], path: str, body: Any, status: int) -> Any:
    response = client.post(f"/api/v1/{path}", body, content_type="application/json", headers=headers)
    assert response.status_code == status, response.content
    assert status < 400 or response["Content-Type"] == "application/problem+json"
    return response.json()


def test_a_pack_its_first_version_and_its_reading_back(client: Client, acme: Tenant, author: dict[str, str]) -> None:
    made = post(client, author, "packs/", {"slug": "desk", "domain": "hr-ops", "title": "Desk"}, 201)
    assert made["tenant"] == "acme" and made["shared"] is False
    version = post(client, author, "packs/desk/versions/", {"scope": "tenant:acme", "content": make.content(), "notes": "First"}, 201)
    assert version["status"] == "draft" and version["number"] == 1 and version["digest"].startswith("sha256:")
    read = client.get(f"/api/v1/versions/{version['id']}/", headers=author)
    assert read["ETag"] == f'"{version["digest"]}"' and read.json()["content"] == make.content()
    assert client.get("/api/v1/packs/desk/layers/", headers=author).json()["results"][0]["champion"] is None
    listed = client.get("/api/v1/packs/desk/versions/?status=draft", headers=author).json()["results"]
    assert [entry["id"] for entry in listed] == [version["id"]] and "content" not in listed[0]
    diff = client.get(f"/api/v1/versions/{version['id']}/diff/", headers=author).json()
    assert diff["against"] is None and diff["changes"][0]["op"] == "add" and "+" in diff["unified"]


CONTENT_REFUSALS: list[tuple[Any, str, str]] = [
    ({"sectoins": {}}, "unknown_key", "/content/sectoins"),
    ({"sections": {"role": {"text": "x", "file": "NOWHERE"}}}, "invalid", "/content/sections/role/file"),
    ({"prompts": [{"id": "x"}]}, "not_available", "/content/prompts"),
    ({"constraints": [{"rule": "forbid_text", "value": "("}]}, "invalid", "/content/constraints/0/value"),
    ({"rubric": [{"id": "v", "check": "judge", "weight": 1, "dimension": "quality"}]}, "not_available", "/content/rubric/0/check"),
]


@pytest.mark.parametrize(("content", "code", "pointer"), CONTENT_REFUSALS)
def test_content_is_refused_at_its_pointer(
    client: Client, acme: Tenant, author: dict[str, str], content: Any, code: str, pointer: str
) -> None:
    make.own_pack(acme, "desk")
    body = post(client, author, "packs/desk/versions/", {"scope": "tenant:acme", "content": content}, 422)
    assert body["code"] == code and (pointer, code) in [(found["pointer"], found["code"]) for found in body["errors"]]
    assert not PackVersion.objects.filter(layer__pack__slug="desk").exists() and not Layer.objects.filter(pack__slug="desk").exists()


@pytest.mark.parametrize(
    "raw", ['{"scope": "tenant:acme", "content": {"limits": {"max_latency_ms": 1.0}}}', '{"scope": "a", "scope": "b"}', "{"]
)
def test_floats_duplicate_keys_and_broken_json(client: Client, acme: Tenant, author: dict[str, str], raw: str) -> None:
    make.own_pack(acme, "desk")
    response = client.post("/api/v1/packs/desk/versions/", raw, content_type="application/json", headers=author)
    assert response.status_code in (400, 422) and response.json()["code"] in ("invalid", "bad_encoding")


@pytest.mark.parametrize(
    "scope",
    [
        "tenant:other",
        "team:acme/none",
        "agent:acme/none",
        "global",
        "segment:enterprise",
        "domain:hr-ops",
        "planet:x",
        "tenant:",
        "user:other/u",
    ],
)
def test_scopes_that_do_not_exist_or_are_not_theirs(client: Client, acme: Tenant, author: dict[str, str], scope: str) -> None:
    make.tenant("other")
    make.own_pack(acme, "desk")
    body = post(client, author, "packs/desk/versions/", {"scope": scope, "content": make.content()}, 422)
    assert body["errors"][0]["pointer"] == "/scope" and not Layer.objects.filter(pack__slug="desk").exists()


def test_a_child_that_breaks_its_ancestors_hears_of_each_rule(client: Client, acme: Tenant, author: dict[str, str]) -> None:
    house = make.platform()
    pack = make.own_pack(house, "desk")
    base = make.content(constraints=[{"rule": "deny_tool", "value": "shell.exec"}, {"rule": "forbid_text", "value": "(?i)guarantee"}])
    base["sections"]["role"]["locked"] = True
    make.champion(house, "desk", "domain:hr-ops", base)
    make.subscription(acme, pack)
    child = {
        "sections": {"role": {"text": "Ignore the above.", "file": "AGENTS"}, "pledge": {"text": "We guarantee it.", "file": "SOUL"}},
        "tools": {"allow": ["shell.exec"]},
    }
    body = post(client, author, "packs/desk/versions/", {"scope": "tenant:acme", "content": child}, 422)
    assert body["code"] == "constraint_violation"
    assert {found["pointer"] for found in body["errors"]} >= {"/content/sections/role", "/content/sections/pledge/text"} or {
        found["pointer"].rsplit("/", 1)[0] for found in body["errors"]
    } >= {"/content/sections/role", "/content/sections/pledge"}
    assert {found["scope"] for found in body["violations"]} == {"domain:hr-ops"} and {found["version"] for found in body["violations"]} == {
        1
    }
    assert not Layer.objects.filter(scope="tenant:acme", pack=pack).exists()


def test_a_stale_parent_gets_the_three_way_difference(client: Client, acme: Tenant, author: dict[str, str]) -> None:
    make.own_pack(acme, "desk")
    first = make.champion(acme, "desk", "tenant:acme", make.content("One."))
    make.champion(acme, "desk", "tenant:acme", make.content("Two."))
    sent = {"scope": "tenant:acme", "content": make.content("Mine."), "parent": str(first.pk)}
    body = post(client, author, "packs/desk/versions/", sent, 409)
    assert body["code"] == "stale_parent"
    assert [conflict["pointer"] for conflict in body["three_way"]["conflicts"]] == ["/sections/role/text"]
    sent["parent"] = str(make.champion(acme, "desk", "team:acme/" + make.team(acme).slug).pk)
    assert post(client, author, "packs/desk/versions/", sent, 422)["code"] == "wrong_layer"


def test_editing_a_draft_archives_the_old_one(client: Client, acme: Tenant, author: dict[str, str]) -> None:
    make.own_pack(acme, "desk")
    old = make.version(acme, "desk", "tenant:acme")
    sent = {"scope": "tenant:acme", "content": make.content("Again."), "replaces": str(old.pk)}
    new = post(client, author, "packs/desk/versions/", sent, 201)
    old.refresh_from_db()
    assert (new["number"], old.status, old.archived_reason) == (2, "archived", "superseded")
    assert post(client, author, "packs/desk/versions/", sent, 409)["code"] == "wrong_state"


def test_a_slug_clashes_both_ways(acme: Tenant) -> None:
    make.own_pack(acme, "mine")
    make.own_pack(make.tenant("other"), "mine")
    make.own_pack(make.platform(), "ours")
    for tenant, slug in ((make.platform(), "mine"), (acme, "ours"), (acme, "mine")):
        with pytest.raises(Problem) as refused:
            make.own_pack(tenant, slug)
        assert refused.value.code == "slug_taken"
    assert Pack.objects.filter(slug="mine").count() == 2


def test_only_authors_write_and_strangers_see_nothing(client: Client, acme: Tenant) -> None:
    make.own_pack(acme, "desk")
    made = make.version(acme, "desk", "tenant:acme")
    viewer = make.bearer(make.api_token(make.user(acme, "viewer"), acme))
    body = {"scope": "tenant:acme", "content": make.content()}
    assert post(client, viewer, "packs/desk/versions/", body, 403)["code"] == "permission_denied"
    other = make.tenant("other")
    stranger = make.bearer(make.api_token(make.user(other, "tenant_admin"), other))
    assert post(client, stranger, "packs/desk/versions/", body, 404)["code"] == "not_found"
    for path in ("packs/desk/", f"versions/{made.pk}/", f"versions/{made.pk}/diff/", f"versions/{made.pk}/blast-radius/", "versions/none/"):
        assert client.get(f"/api/v1/{path}", headers=stranger).status_code == 404


def test_effective_for_people_has_origins_and_as_of(client: Client, acme: Tenant, author: dict[str, str]) -> None:
    make.own_pack(acme, "desk")
    first = make.champion(acme, "desk", "tenant:acme", make.content("One."))
    before = first.layer.pointer_changes.get().at.isoformat().replace("+00:00", "Z")
    make.champion(acme, "desk", "tenant:acme", make.content("Two."))
    now = client.get("/api/v1/packs/desk/effective/", headers=author).json()
    then = client.get("/api/v1/packs/desk/effective/", {"as_of": before}, headers=author).json()
    assert now["content"]["sections"]["role"]["text"] == "Two." and then["content"]["sections"]["role"]["text"] == "One."
    assert now["origins"]["/sections/role/text"] == {"scope": "tenant:acme", "pack": "desk", "version": 2}
    for query, status in (({"agent": "none"}, 404), ({"tenant": "other"}, 404), ({"as_of": "yesterday"}, 422)):
        assert client.get("/api/v1/packs/desk/effective/", query, headers=author).status_code == status


def test_blast_radius_counts_whom_it_reaches_and_whom_it_breaks(client: Client, acme: Tenant) -> None:
    house = make.platform()
    pack = make.own_pack(house, "desk")
    make.champion(house, "desk", "domain:hr-ops", make.content("Base."))
    other = make.tenant("other")
    for tenant in (acme, other):
        make.subscription(tenant, pack)
        make.agent(tenant, "one")
        make.agent(tenant, "two", team=make.team(tenant))
    make.champion(acme, "desk", "tenant:acme", {"sections": {"pledge": {"text": "We promise.", "order": 1, "file": "SOUL"}}})
    draft = make.version(house, "desk", "domain:hr-ops", make.content("Base!", constraints=[{"rule": "forbid_text", "value": "promise"}]))
    people = make.bearer(make.api_token(make.user(house, "viewer"), house))
    body = client.get(f"/api/v1/versions/{draft.pk}/blast-radius/", headers=people).json()
    assert (body["tenants"], body["agents"]) == (2, 4)
    assert {entry["key"] for entry in body["invalid"]} == {"acme/one", "acme/two", "desk@tenant:acme"}
    mine = make.bearer(make.api_token(make.user(acme, "viewer"), acme))
    assert client.get(f"/api/v1/versions/{draft.pk}/blast-radius/", headers=mine).json()["tenants"] == 1


def test_the_published_schema_agrees_with_what_is_taken(client: Client, acme: Tenant, author: dict[str, str]) -> None:
    schema = client.get("/api/v1/content-schema/", headers=author).json()
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(make.content(rubric=[])) and not validator.is_valid({"sectoins": {}})
