"""Where the loop must stop: at what others own, at what the portal writes, at what no longer stands."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client

from apps.core.errors import Problem
from apps.identity.models import Tenant
from apps.identity.services import create_agent, update_tenant
from apps.packs.models import Layer, PackVersion
from apps.promotions.models import Aim, Approval, Decision, Invalid, Promotion
from apps.promotions.services.approving import approve_promotion
from apps.promotions.services.going_live import bootstrap, rollback_layer, start_promotion
from apps.promotions.services.requests import evaluate_promotion, request_promotion
from apps.promotions.tasks import reassess_below
from tests import factories as make

BINGO = {"sections": {"more": {"text": "Say bingo.", "order": 20, "file": "AGENTS", "mode": "append"}}}

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Tenant:
    return make.tenant("acme")


def forbidding(text: str) -> dict[str, Any]:
    return {"constraints": [{"rule": "forbid_text", "value": text}]}


def put_live(tenant: Tenant, pack: str, scope: str, body: dict[str, Any], *people: Any, **more: Any) -> Promotion:
    """A policy's way through the gate, requested by somebody else than these people."""
    draft = make.version(tenant, pack, scope, body)
    asked = request_promotion(ctx=make.context(tenant.pk, "tenant_admin"), version_id=draft.pk, aim=Aim.POLICY, **more)
    if asked.state == "awaiting_approval":
        for person in people:
            approve_promotion(ctx=person, promotion_id=asked.pk)
    return start_promotion(ctx=people[0], promotion_id=asked.pk)


def test_a_tenants_policy_never_suspends_what_the_shared_library_serves(acme: Tenant) -> None:
    """It would leave the shared layer out on the tenant's chains: that is a broken rule, and not theirs to suspend."""
    house = make.platform()
    shared = make.own_pack(house, "shared-desk")
    make.subscription(acme, shared)
    make.champion(house, "shared-desk", "global", make.content("Be kind."))
    below = make.champion(house, "shared-desk", "domain:hr-ops", BINGO)
    make.agent(acme, "helpdesk-1")
    make.own_pack(acme, "rules", kind="policy")
    draft = make.version(acme, "rules", "tenant:acme", forbidding("bingo"))
    admin = make.context(acme.pk, "tenant_admin")
    asked = request_promotion(ctx=admin, version_id=draft.pk, aim=Aim.POLICY, invalid=Invalid.SUSPEND)
    rule = next(rule for rule in asked.verdict["rules"] if rule["rule"] == "constraints_hold")
    assert (asked.state, rule["outcome"], rule["hard"]) == ("blocked", "fail", True) and "shared-desk version 1 at domain:hr-ops" in rule[
        "sentence"
    ]
    with pytest.raises(Problem) as refused:
        start_promotion(ctx=admin, promotion_id=asked.pk, force=True, reason="I insist.")
    assert refused.value.code == "hard_rule"
    layer = Layer.objects.get(pk=below.layer_id)
    assert layer.suspended_by is None and layer.champion_id == below.pk


def test_a_users_layer_below_a_team_counts_among_the_descendants(acme: Tenant) -> None:
    """Only by way of an agent of the team does the user's chain pass the team."""
    team = make.team(acme)
    make.agent(acme, "helpdesk-1", team=team)
    make.own_pack(acme, "desk")
    make.champion(acme, "desk", "tenant:acme", make.content("Be kind."))
    own = make.champion(acme, "desk", "user:acme/u/7-é", BINGO)
    make.own_pack(acme, "rules", kind="policy")
    people = [make.member(acme, "tenant_admin"), make.member(acme, "tenant_admin")]
    draft = make.version(acme, "rules", "team:acme/support", forbidding("bingo"))
    asked = request_promotion(ctx=make.context(acme.pk, "author"), version_id=draft.pk, aim=Aim.POLICY)
    assert asked.state == "blocked" and "desk@user:acme/u/7-é" in str(asked.verdict)
    done = put_live(acme, "rules", "team:acme/support", forbidding("bingo"), *people, invalid=Invalid.SUSPEND)
    assert done.state == "promoted"
    layer = Layer.objects.get(pk=own.layer_id)
    assert layer.suspended_by == Decision.objects.get(layer=layer, decision="suspend").pk


def test_a_layer_under_the_other_segment_counts_among_the_descendants() -> None:
    """A domain layer stands under both segments, though its evidence is made under one."""
    house = make.platform()
    make.own_pack(house, "shared-desk")
    make.champion(house, "shared-desk", "global", make.content("Be kind."))
    make.champion(house, "shared-desk", "domain:hr-ops", BINGO)
    make.own_pack(house, "rules", kind="policy")
    draft = make.version(house, "rules", "segment:individual", forbidding("bingo"))
    asked = request_promotion(ctx=make.context(house.pk, "author"), version_id=draft.pk, aim=Aim.POLICY)
    assert asked.state == "blocked" and "shared-desk@domain:hr-ops" in str(asked.verdict)


def test_bootstrap_takes_a_draft_only(acme: Tenant) -> None:
    make.own_pack(acme, "rules", kind="policy")
    asking = make.version(acme, "rules", "tenant:acme", forbidding("bingo"))
    request_promotion(ctx=make.context(acme.pk, "author"), version_id=asking.pk, aim=Aim.POLICY)
    replaced = make.version(acme, "rules", "tenant:acme", forbidding("lotto"))
    make.version(acme, "rules", "tenant:acme", forbidding("roulette"), replaces_id=replaced.pk)
    for version in (asking, replaced):
        with pytest.raises(Problem) as refused:
            bootstrap(ctx=make.system(acme.pk), version_id=version.pk)
        assert refused.value.code == "wrong_state"
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    assert Layer.objects.get(pk=asking.layer_id).champion_id is None


def test_lifting_a_suspension_by_rollback_takes_no_promotion_back(acme: Tenant) -> None:
    make.agent(acme, "helpdesk-1")
    make.own_pack(acme, "desk")
    make.own_pack(acme, "rules", kind="policy")
    people = [make.member(acme, "tenant_admin"), make.member(acme, "manager")]
    make.champion(acme, "desk", "tenant:acme", make.content("Be kind."))
    first = make.version(acme, "desk", "agent:acme/helpdesk-1", make.content("Say bingo."))
    bootstrap(ctx=make.system(acme.pk), version_id=first.pk)
    asked = Promotion.objects.create(tenant=acme, layer=first.layer, challenger=first, state="promoted")
    put_live(acme, "rules", "tenant:acme", forbidding("bingo"), *people, invalid=Invalid.SUSPEND)
    assert Layer.objects.get(pk=first.layer_id).suspended_by is not None
    with pytest.raises(Problem) as refused:
        rollback_layer(ctx=people[0], layer_id=first.layer_id)
    assert refused.value.code == "hard_rule"
    put_live(acme, "rules", "tenant:acme", forbidding("lotto"), *people)
    back = rollback_layer(ctx=people[0], layer_id=first.layer_id)
    layer = Layer.objects.get(pk=first.layer_id)
    assert (
        (back.champion_version, back.challenger_version) == (None, first) and layer.suspended_by is None and layer.champion_id == first.pk
    )
    asked.refresh_from_db()
    assert asked.state == "promoted"


def test_what_the_portal_writes_is_changed_by_nobody_else(acme: Tenant) -> None:
    """A tenant that becomes personal must not roll its ceiling back, nor an author raise it."""
    house = make.context(make.platform().pk, "tenant_admin")
    for tier in ("team", "personal"):
        update_tenant(ctx=house, slug="acme", tier=tier)
    create_agent(ctx=make.context(acme.pk, "tenant_admin"), slug="helpdesk-1", autonomy="A0")
    admin = make.context(acme.pk, "tenant_admin")
    for layer in Layer.objects.filter(tenant=acme, pack__slug="presets"):
        for act in (
            lambda: make.version(acme, "presets", layer.scope, {"autonomy": {"ceiling": "A3"}}),  # noqa: B023
            lambda: rollback_layer(ctx=admin, layer_id=layer.pk),  # noqa: B023
            lambda: request_promotion(ctx=admin, layer_id=layer.pk, retire=True, aim=Aim.POLICY),  # noqa: B023
        ):
            with pytest.raises(Problem) as refused:
                act()
            assert refused.value.code == "permission_denied"
    assert Layer.objects.filter(tenant=acme, pack__slug="presets").count() == 2


def test_decisions_of_the_shared_library_are_seen_by_its_people_only(client: Client, acme: Tenant) -> None:
    """They name the tenants whom they reach."""
    house = make.platform()
    people = [make.member(house, "tenant_admin"), make.member(house, "manager")]
    make.own_pack(acme, "desk")
    make.champion(acme, "desk", "tenant:acme", make.content("Say bingo."))
    make.agent(acme, "helpdesk-1")
    make.own_pack(house, "house-rules", kind="policy")
    done = put_live(house, "house-rules", "global", forbidding("lotto"), *people)
    other = make.tenant("other")
    headers = make.bearer(make.api_token(make.user(other, "tenant_admin"), other))
    for path in ("promotions/", "decisions/"):
        assert client.get(f"/api/v1/{path}", headers=headers).json()["results"] == []
    assert client.get(f"/api/v1/promotions/{done.pk}/", headers=headers).status_code == 404
    mine = make.bearer(make.api_token(make.user(house, "viewer"), house))
    assert len(client.get("/api/v1/decisions/", headers=mine).json()["results"]) == 1


def test_a_challenger_that_an_ancestor_now_forbids_is_told_so_and_loses_its_approvals(acme: Tenant) -> None:
    house = make.platform()
    rubric = [{"id": "greets", "check": "contains", "weight": 100, "dimension": "quality", "params": {"text": "hello"}}]
    pack = make.own_pack(acme, "desk")
    make.champion(acme, "desk", "tenant:acme", make.content("Be kind.", rubric=rubric))
    make.eval_set(acme, pack)
    draft = make.version(acme, "desk", "tenant:acme", make.content("Say bingo.", rubric=rubric))
    asked = request_promotion(ctx=make.context(acme.pk, "author"), version_id=draft.pk, aim=Aim.POLICY)
    assert asked.state == "awaiting_approval", asked.verdict
    approve_promotion(ctx=make.member(acme, "manager"), promotion_id=asked.pk)
    make.own_pack(house, "house-rules", kind="policy")
    rule = make.champion(house, "house-rules", "global", forbidding("bingo"))
    assert reassess_below(str(rule.layer_id), str(rule.tenant_id)) == 1
    asked.refresh_from_db()
    assert asked.state == "blocked" and Approval.objects.get(promotion=asked).voided_at is not None
    told = evaluate_promotion(ctx=make.context(acme.pk, "author"), promotion_id=asked.pk)
    failed = next(found for found in told.verdict["rules"] if found["rule"] == "constraints_hold")
    assert failed["outcome"] == "fail" and "bingo" in failed["sentence"]
    assert PackVersion.objects.get(pk=draft.pk).status == "challenger"
