"""The governed loop over HTTP: request, evidence, approval, promotion, rollback; and everything that must not pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import Client

from apps.audit.models import Event
from apps.audit.services import verify_tenant
from apps.evals.models import EvalRun
from apps.evals.services.cases import add_cases, create_eval_set
from apps.identity.models import Tenant, User
from apps.packs.models import Layer, PackVersion
from apps.promotions.models import Approval, Decision, Promotion
from apps.promotions.services.going_live import bootstrap
from tests import factories as make

RUBRIC = [
    {"id": "greets", "check": "contains", "weight": 60, "dimension": "quality", "params": {"text": "hello"}},
    {"id": "brief", "check": "max_length", "weight": 20, "dimension": "format", "params": {"max_chars": 400}},
    {"id": "clean", "check": "no_secrets", "weight": 20, "hard": True, "dimension": "safety"},
]


@dataclass
class World:
    """A tenant with a pack that is live, an eval set, an agent that answers and people with roles."""

    client: Client
    tenant: Tenant
    live: PackVersion
    agent: str
    people: dict[str, User] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def call(self, who: str, method: str, path: str, body: Any = None, expected: int | None = None) -> Any:
        send: Callable[..., Any] = getattr(self.client, method)
        token = self.agent if who == "agent" else self.tokens[who]
        response = (
            send(f"/api/v1/{path}", body, content_type="application/json", headers=make.bearer(token))
            if body is not None
            else send(f"/api/v1/{path}", headers=make.bearer(token))
        )
        if expected is not None:
            assert response.status_code == expected, response.content
        return response.json() if response.content else None

    def draft(self, text: str = "You say hello first.", who: str = "author", scope: str = "tenant:acme", **blocks: Any) -> Any:
        body = {"scope": scope, "content": make.content(text, rubric=RUBRIC, **blocks)}
        return self.call(who, "post", "packs/desk/versions/", body, 201)

    def request(self, version: str, who: str = "author", expected: int = 201, **more: Any) -> Any:
        return self.call(who, "post", "promotions/", {"version": version, **more}, expected)

    def answer(self, answers: Callable[[EvalRun, int], str]) -> None:
        """Answers every open evaluation as an agent would: lease, resolve the version, answer, until nothing is left."""
        for run in EvalRun.objects.filter(state__in=["pending", "running"]).order_by("id"):
            while (leased := self.call("agent", "get", f"eval-runs/{run.pk}/cases/?lease=100", expected=200)) and leased["cases"]:
                outputs = [
                    {
                        "case": case["case"],
                        "repeat": case["repeat"],
                        "output": answers(run, case["number"]),
                        "latency_ms": 900 + index,
                        "cost_usd": "0.001",
                    }
                    for index, case in enumerate(leased["cases"])
                ]
                self.call("agent", "post", f"eval-runs/{run.pk}/outputs/", {"lease_id": leased["lease_id"], "outputs": outputs}, 200)


@pytest.fixture
def world(client: Client, db: None) -> World:
    acme = make.tenant("acme")
    make.own_pack(acme, "desk")
    live = make.version(acme, "desk", "tenant:acme", make.content("You answer.", rubric=RUBRIC))
    bootstrap(ctx=make.system(acme.pk), version_id=live.pk)
    live.refresh_from_db()
    cases = create_eval_set(ctx=make.system(acme.pk), pack="desk", slug="desk-cases", title="Desk")
    add_cases(ctx=make.system(acme.pk), eval_set_id=cases.pk, cases=[{"input": f"Question {n}"} for n in range(40)])
    made = World(client, acme, live, make.agent_token(make.agent(acme, "helpdesk-1")))
    for who, roles in {
        "author": ["author"],
        "manager": ["manager"],
        "second": ["manager"],
        "admin": ["tenant_admin"],
        "viewer": ["viewer"],
        "operator": ["operator"],
    }.items():
        made.people[who] = make.user(acme, *roles, email=f"{who}@acme.test")
        made.tokens[who] = make.api_token(made.people[who], acme)
    return made


def better(live: PackVersion) -> Callable[[EvalRun, int], str]:
    """The champion greets in three of four cases, the challenger in all."""
    return lambda run, number: "hello" if run.version_id != live.pk or number % 4 else "good day"


def test_a_good_challenger_is_promoted_on_evidence_and_rolled_back(world: World) -> None:
    draft = world.draft()
    asked = world.request(draft["id"], reason="Greets.")
    assert asked["state"] == "collecting" and asked["risk"]["level"] == "medium"
    world.answer(better(world.live))
    judged = world.call("author", "post", f"promotions/{asked['id']}/evaluate/", {}, 200)
    assert judged["state"] == "awaiting_approval", judged["verdict"]
    assert {rule["rule"]: rule["outcome"] for rule in judged["verdict"]["rules"] if rule["rule"] != "approvals"}.keys() >= {
        "quality",
        "latency_regression",
    }
    approved = world.call("manager", "post", f"promotions/{asked['id']}/approve/", {"comment": "Fine."}, 200)
    assert approved["state"] == "ready"
    started = world.call("manager", "post", f"promotions/{asked['id']}/start/", {"reason": "Go."}, 200)
    assert started["state"] == "promoted"
    resolved = world.call("agent", "get", "resolve?pack=desk", expected=200)
    assert resolved["content"]["sections"]["role"]["text"] == "You say hello first."
    layer = Layer.objects.get(pk=draft["layer"])
    back = world.call("operator", "post", f"layers/{layer.pk}/rollback/", {"reason": "Complaints."}, 201)
    assert back["decision"] == "rollback" and back["challenger_version"] == str(world.live.pk)
    assert world.call("agent", "get", "resolve?pack=desk", expected=200)["content"]["sections"]["role"]["text"] == "You answer."
    assert [row.decision for row in Decision.objects.filter(layer=layer).order_by("created_at")] == ["promote", "promote", "rollback"]
    assert Promotion.objects.get(pk=asked["id"]).state == "rolled_back"
    forth = world.call("operator", "post", f"layers/{layer.pk}/rollback/", {"to_version": draft["id"]}, 201)
    assert forth["challenger_version"] == draft["id"]
    assert verify_tenant(world.tenant.pk) is None
    recorded = set(Event.objects.filter(tenant_id=world.tenant.pk).values_list("action", flat=True))
    assert recorded >= {"version.created", "promotion.requested", "approval.given", "decision.promote", "decision.rollback"}


def test_a_format_regression_is_blocked_whatever_its_quality_and_cannot_be_forced(world: World) -> None:
    asked = world.request(world.draft()["id"])
    world.answer(lambda run, number: "hello" + (" and on" * 100 if run.version_id != world.live.pk and number < 5 else ""))
    judged = world.call("author", "post", f"promotions/{asked['id']}/evaluate/", {}, 200)
    rule = next(rule for rule in judged["verdict"]["rules"] if rule["rule"] == "format_no_regression")
    assert judged["state"] == "blocked" and (rule["outcome"], rule["hard"]) == ("fail", True)
    refused = world.call("admin", "post", f"promotions/{asked['id']}/start/", {"force": True, "reason": "I want it."}, 409)
    assert refused["code"] == "hard_rule" and rule["sentence"] in refused["detail"]
    assert Layer.objects.get(pk=asked["layer"]).champion_id == world.live.pk


def test_force_sets_aside_soft_rules_with_the_approvals_of_one_level_higher(world: World) -> None:
    asked = world.request(world.draft()["id"])
    early = world.call("admin", "post", f"promotions/{asked['id']}/start/", {"force": True, "reason": "Now."}, 409)
    assert early["code"] == "evidence_missing"
    world.answer(lambda run, number: "hello")
    assert world.call("author", "post", f"promotions/{asked['id']}/evaluate/", {}, 200)["state"] == "blocked"
    start = f"promotions/{asked['id']}/start/"
    assert world.call("manager", "post", start, {"force": True, "reason": "Now."}, 403)["code"] == "permission_denied"
    assert world.call("admin", "post", start, {"force": True}, 422)["code"] == "invalid"
    forced = world.call("admin", "post", start, {"force": True, "reason": "Legal needs it."}, 200)
    assert forced["state"] == "awaiting_approval" and forced["approvals"]["required"]["level"] == "high"
    world.call("manager", "post", f"promotions/{asked['id']}/approve/", {}, 200)
    assert world.call("manager", "post", start, {}, 409)["code"] in ("approval_required", "wrong_state")
    assert world.call("admin", "post", f"promotions/{asked['id']}/approve/", {}, 200)["state"] == "ready"
    assert world.call("admin", "post", start, {}, 200)["state"] == "promoted"
    assert Decision.objects.get(promotion=asked["id"]).decision == "force"


def ready(world: World, who: str = "author", **blocks: Any) -> Any:
    asked = world.request(world.draft(who=who, **blocks)["id"], who=who)
    world.answer(better(world.live))
    judged = world.call(who, "post", f"promotions/{asked['id']}/evaluate/", {}, 200)
    assert judged["state"] == "awaiting_approval", judged
    return judged


def test_nobody_approves_their_own_and_everybody_once(world: World) -> None:
    asked = ready(world, who="manager")
    path = f"promotions/{asked['id']}/approve/"
    assert world.call("manager", "post", path, {}, 409)["code"] == "own_promotion"
    for who, code in (("viewer", 403), ("author", 403), ("operator", 403)):
        assert world.call(who, "post", path, {}, code)["code"] == "permission_denied"
    assert not Approval.objects.exists()
    world.call("second", "post", path, {"comment": "ok"}, 200)
    assert world.call("second", "post", path, {}, 409)["code"] == "already_decided"
    other = make.tenant("other")
    world.tokens["stranger"] = make.api_token(make.user(other, "tenant_admin"), other)
    for act in ("approve", "reject", "start", "abort", "evaluate"):
        assert world.call("stranger", "post", f"promotions/{asked['id']}/{act}/", {}, 404)["code"] == "not_found"


def test_a_stale_approval_is_voided_visibly(world: World) -> None:
    asked = ready(world)
    shown = asked["binding"]
    world.call("manager", "post", f"promotions/{asked['id']}/approve/", {}, 200)
    house = make.own_pack(make.platform(), "house-policy", kind="policy")
    make.champion(make.platform(), "house-policy", "global", {"promotion": {"max_prompt_growth_tokens": 400}})
    assert house.shared
    stale = world.call("manager", "post", f"promotions/{asked['id']}/start/", {}, 409)
    assert stale["code"] in ("approval_stale", "approval_required")
    assert Layer.objects.get(pk=asked["layer"]).champion_id == world.live.pk
    again = world.call("author", "post", f"promotions/{asked['id']}/evaluate/", {}, 200)
    assert again["approvals"]["given"][0]["voided_at"] and again["binding"] != shown
    late = world.call("second", "post", f"promotions/{asked['id']}/approve/", {"binding": shown}, 409)
    assert late["code"] in ("approval_stale", "wrong_state")


def test_when_the_champion_moves_the_others_expire(world: World) -> None:
    first, second = world.draft("You say hello first."), world.draft("You say hello, always.")
    one, two = world.request(first["id"]), world.request(second["id"])
    world.answer(better(world.live))
    world.call("author", "post", f"promotions/{one['id']}/evaluate/", {}, 200)
    world.call("manager", "post", f"promotions/{one['id']}/approve/", {}, 200)
    world.call("manager", "post", f"promotions/{one['id']}/start/", {}, 200)
    late = world.call("author", "get", f"promotions/{two['id']}/", expected=200)
    assert late["state"] == "expired" and late["possible"] == []
    assert world.call("manager", "post", f"promotions/{two['id']}/approve/", {}, 409)["code"] == "already_decided"
    assert world.request(second["id"], expected=409)["code"] == "wrong_state"


def test_requests_that_make_no_sense(world: World) -> None:
    draft = world.draft()
    for body, status, code in (
        ({}, 422, "invalid"),
        ({"version": draft["id"], "retire": True}, 422, "invalid"),
        ({"version": draft["id"], "plan": [5, 100]}, 422, "not_available"),
        ({"version": draft["id"], "aim": "wish"}, 422, "invalid"),
        ({"version": draft["id"], "invalid": "suspend"}, 403, "permission_denied"),
        ({"version": str(world.live.pk)}, 409, "wrong_state"),
        ({"version": "0192d5a4-0000-7000-8000-000000000000"}, 404, "not_found"),
    ):
        assert world.call("author", "post", "promotions/", body, status)["code"] == code
    assert not Promotion.objects.exists()
    world.request(draft["id"])
    assert world.request(draft["id"], expected=409)["code"] == "promotion_in_progress"
    make.champion(world.tenant, "desk", "tenant:acme", make.content("Moved.", rubric=RUBRIC))
    stale = world.draft()
    make.champion(world.tenant, "desk", "tenant:acme", make.content("Moved again.", rubric=RUBRIC))
    answer = world.request(stale["id"], expected=409)
    assert answer["code"] == "stale_parent" and answer["three_way"]["conflicts"]


def test_rejected_and_aborted_versions_are_gone_from_the_running(world: World) -> None:
    asked = ready(world)
    rejected = world.call("manager", "post", f"promotions/{asked['id']}/reject/", {"comment": "Tone."}, 200)
    assert rejected["state"] == "rejected" and Decision.objects.filter(decision="reject", promotion=asked["id"]).exists()
    version = PackVersion.objects.get(pk=asked["version"])
    assert (version.status, version.archived_reason) == ("archived", "rejected")
    refused = world.call("operator", "post", f"layers/{asked['layer']}/rollback/", {"to_version": asked["version"]}, 409)
    assert refused["code"] == "not_a_former_champion"
    assert world.call("operator", "post", f"layers/{asked['layer']}/rollback/", {}, 409)["code"] == "not_a_former_champion"
    assert world.call("author", "post", f"layers/{asked['layer']}/rollback/", {}, 403)["code"] == "permission_denied"
    second = world.request(world.draft()["id"])
    assert world.call("author", "post", f"promotions/{second['id']}/abort/", {}, 200)["state"] == "aborted"
    for act in ("hold", "advance"):
        assert world.call("manager", "post", f"promotions/{second['id']}/{act}/", {}, 409)["code"] == "already_decided"


def test_retiring_a_layer_lets_its_agents_inherit(world: World) -> None:
    child = make.version(world.tenant, "desk", "agent:acme/helpdesk-1", make.content("Special.", rubric=RUBRIC))
    bootstrap(ctx=make.system(world.tenant.pk), version_id=child.pk)
    asked = world.call("author", "post", "promotions/", {"layer": str(child.layer_id), "retire": True, "aim": "non_inferior"}, 201)
    world.answer(lambda run, number: "hello")
    judged = world.call("author", "post", f"promotions/{asked['id']}/evaluate/", {}, 200)
    assert judged["state"] == "awaiting_approval", judged["verdict"]
    for who in ("manager", "admin"):
        judged = world.call(who, "post", f"promotions/{asked['id']}/approve/", {})
    assert world.call("manager", "post", f"promotions/{asked['id']}/start/", {}, 200)["state"] == "promoted"
    text = world.call("agent", "get", "resolve?pack=desk", expected=200)["content"]["sections"]["role"]["text"]
    assert text == "You answer." and Decision.objects.get(promotion=asked["id"]).decision == "retire"


def test_an_ancestor_that_breaks_descendants_waits_or_suspends_them(world: World) -> None:
    child = make.version(
        world.tenant, "desk", "agent:acme/helpdesk-1", {"sections": {"pledge": {"text": "We promise.", "file": "SOUL", "order": 30}}}
    )
    bootstrap(ctx=make.system(world.tenant.pk), version_id=child.pk)
    forbidding = {"constraints": [{"rule": "forbid_text", "value": "promise"}]}
    asked = world.request(world.draft(**forbidding)["id"], aim="non_inferior")
    world.answer(better(world.live))
    judged = world.call("author", "post", f"promotions/{asked['id']}/evaluate/", {}, 200)
    assert judged["state"] == "blocked"
    assert next(rule for rule in judged["verdict"]["rules"] if rule["rule"] == "constraints_hold")["outcome"] == "fail"
    world.call("author", "post", f"promotions/{asked['id']}/abort/", {}, 200)
    bold = world.request(world.draft(who="second", **forbidding)["id"], who="admin", aim="non_inferior", invalid="suspend")
    world.answer(better(world.live))
    assert world.call("admin", "post", f"promotions/{bold['id']}/evaluate/", {}, 200)["risk"]["level"] == "high"
    world.call("manager", "post", f"promotions/{bold['id']}/approve/", {}, 200)
    extra = make.user(world.tenant, "tenant_admin")
    world.tokens["extra"] = make.api_token(extra, world.tenant)
    assert world.call("extra", "post", f"promotions/{bold['id']}/approve/", {}, 200)["state"] == "ready"
    world.call("manager", "post", f"promotions/{bold['id']}/start/", {}, 200)
    layer = Layer.objects.get(pk=child.layer_id)
    assert layer.suspended_by == Decision.objects.get(decision="suspend").pk
    body = world.call("agent", "get", "resolve?pack=desk", expected=200)
    assert "pledge" not in body["content"]["sections"] and body["violations"] == []
