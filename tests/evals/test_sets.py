"""Eval sets and cases: all or nothing, numbered on, the holdout refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from apps.core.errors import Problem
from apps.evals.models import EvalCase
from apps.evals.services.cases import MAX_INPUT_BYTES, add_cases, create_eval_set
from tests import factories as make

pytestmark = pytest.mark.django_db


def new_set(tenant: Any, pack: Any, slug: str = "first") -> Any:
    return create_eval_set(ctx=make.system(tenant.pk), pack=pack.slug, slug=slug, title="First")


def test_cases_are_numbered_on_and_audited() -> None:
    tenant = make.tenant()
    eval_set = new_set(tenant, make.own_pack(tenant))
    ctx = make.context(tenant.pk, "author")
    assert [case.number for case in add_cases(ctx=ctx, eval_set_id=eval_set.pk, cases=[{"input": "a"}, {"input": {"message": "b"}}])] == [
        1,
        2,
    ]
    third = add_cases(
        ctx=ctx, eval_set_id=eval_set.pk, cases=[{"input": "c", "split": "train", "tags": ["pay"], "expected": {"contains": "x"}}]
    )[0]
    stored = EvalCase.objects.get(pk=third.pk)
    assert (stored.number, stored.split, stored.tags, stored.expected) == (3, "train", ["pay"], {"contains": "x"})


@pytest.mark.parametrize(
    ("bad", "pointer", "code"),
    [
        ({"input": "x", "split": "holdout"}, "/cases/1/split", "not_available"),
        ({"input": "x", "split": "test"}, "/cases/1/split", "invalid"),
        ({"input": "x", "answer": "y"}, "/cases/1/answer", "unknown_key"),
        ({"expected": {}}, "/cases/1/input", "invalid"),
        ({"input": "x" * (MAX_INPUT_BYTES + 1)}, "/cases/1/input", "invalid"),
        ({"input": "x", "tags": ["\x00"]}, "/cases/1/tags/0", "invalid"),
        ({"input": "x", "expected": ["y"]}, "/cases/1/expected", "invalid"),
        ("x", "/cases/1", "invalid"),
    ],
)
def test_one_bad_case_changes_nothing(bad: Any, pointer: str, code: str) -> None:
    tenant = make.tenant()
    eval_set = new_set(tenant, make.own_pack(tenant))
    with pytest.raises(Problem) as refused:
        add_cases(ctx=make.system(tenant.pk), eval_set_id=eval_set.pk, cases=[{"input": "good"}, bad])
    assert refused.value.code == code
    assert [(found.pointer, found.code) for found in refused.value.errors] == [(pointer, code)]
    assert not EvalCase.objects.filter(eval_set=eval_set).exists()


def test_a_set_is_for_a_domain_pack_and_its_slug_is_its_own() -> None:
    tenant = make.tenant()
    pack, policy = make.own_pack(tenant), make.own_pack(tenant, kind="policy")
    new_set(tenant, pack)
    with pytest.raises(Problem, match="slug_taken"):
        new_set(tenant, pack)
    with pytest.raises(Problem, match="policy pack"):
        new_set(tenant, policy, "other")
    with pytest.raises(Problem, match="not_found"):
        create_eval_set(ctx=make.system(make.tenant().pk), pack=pack.slug, slug="theirs", title="")


def test_who_may(client: Client) -> None:
    """Authors write, viewers read, the library is read by all and written by its own, another tenant's set does not exist."""
    tenant, other = make.tenant(), make.tenant()
    pack, shared = make.own_pack(tenant), make.own_pack(make.platform())
    own, library = new_set(tenant, pack), new_set(make.platform(), shared)
    headers = {role: make.bearer(make.api_token(make.user(tenant, role), tenant)) for role in ("author", "viewer")} | {
        "foreign": make.bearer(make.api_token(make.user(other, "tenant_admin"), other))
    }
    body = {"cases": [{"input": "a"}]}

    def post(who: str, eval_set: Any) -> int:
        url = f"/api/v1/eval-sets/{eval_set.pk}/cases/"
        return client.post(url, body, content_type="application/json", headers=headers[who]).status_code

    assert [post(who, own) for who in ("author", "viewer", "foreign")] == [201, 403, 404]
    assert [post(who, library) for who in ("author", "foreign")] == [403, 403]
    listed = client.get("/api/v1/eval-sets/", headers=headers["viewer"]).json()["results"]
    assert {(found["slug"], found["tenant"], found["cases"]) for found in listed} == {("first", tenant.slug, 1), ("first", "platform", 0)}


def test_the_api_makes_sets_and_lists_cases(client: Client) -> None:
    tenant = make.tenant()
    pack = make.own_pack(tenant)
    headers = make.bearer(make.api_token(make.user(tenant, "author"), tenant))

    def post(url: str, body: Any) -> Any:
        return client.post(f"/api/v1/{url}", body, content_type="application/json", headers=headers)

    made = post("eval-sets/", {"pack": pack.slug, "slug": "first", "title": "First"})
    assert made.status_code == 201 and made.json()["pack"] == pack.slug
    url = f"eval-sets/{made.json()['id']}/cases/"
    refused = post(url, {"cases": [{"input": "a", "split": "holdout"}]})
    assert (refused.status_code, refused.json()["code"], refused.json()["errors"][0]["pointer"]) == (422, "not_available", "/cases/0/split")
    assert post(url, {"cases": [{"input": f"q{n}", "tags": ["odd"] if n % 2 else []} for n in range(5)]}).status_code == 201
    listed = client.get(f"/api/v1/{url}?tag=odd", headers=headers).json()
    assert [case["input"] for case in listed["results"]] == ["q1", "q3"]
    assert client.get("/api/v1/eval-sets/nonsense/", headers=headers).status_code == 404
