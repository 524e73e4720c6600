"""What a change of the shared library asks and does across tenants, with every policy of production in force."""

from __future__ import annotations

import pytest
from django.db import transaction

from apps.audit.models import Event
from apps.audit.services import verify_tenant
from apps.core.context import in_tenant, set_tenant
from apps.core.errors import Problem
from apps.identity.models import Membership, Tenant
from apps.packs.models import Layer, PointerChange
from apps.promotions.models import Decision
from apps.promotions.services.approving import approve_promotion
from apps.promotions.services.going_live import bootstrap, start_promotion
from apps.promotions.services.requests import request_promotion
from tests import factories as make
from tests.isolation import in_production
from tests.promotions.test_loop import RUBRIC, World, world
from tests.test_isolation import refusal, rows

__all__ = ["world"]

REACHED = ("tenants()", "agents()", "packs(NULL)", "layers(NULL)", "subscriptions(NULL)")


def test_platform_is_told_whom_its_change_reaches_and_nobody_else_is(world: World) -> None:
    house = make.platform()
    shared = make.own_pack(house, "shared-desk")
    live = make.champion(house, "shared-desk", "domain:hr-ops")
    make.subscription(world.tenant, shared, live)
    asleep = make.tenant("asleep")
    make.agent(asleep)
    Tenant.objects.filter(pk=asleep.pk).update(status="suspended")
    with in_production(), in_tenant(house.pk):
        told = {name: rows(f"SELECT * FROM packs_reached_{name}") for name in REACHED}
        only = {name: rows(f"SELECT * FROM packs_reached_{name}(%s)", [shared.pk]) for name in ("packs", "layers", "subscriptions")}
    assert (world.tenant.pk, "acme", "enterprise") in told["tenants()"] and (world.tenant.pk, "helpdesk-1", None) in told["agents()"]
    assert asleep.pk not in {value for found in told.values() for row in found for value in row}
    assert (world.tenant.pk, shared.pk, live.pk, "domain:hr-ops") in told["subscriptions(NULL)"]
    assert {(row[3], row[7], row[11]) for row in told["layers(NULL)"]} >= {("desk", "tenant:acme", world.live.digest)}
    assert {row[1] for row in told["packs(NULL)"]} >= {"desk", "shared-desk"}
    # A domain pack's change concerns that pack and the policies.
    assert {row[1] for row in only["packs"]} == {"shared-desk", "presets"}
    assert {row[3] for row in only["layers"]} <= {"shared-desk", "presets"} and len(only["subscriptions"]) == 1
    for tenant_id in (world.tenant.pk, "", None):
        with in_production(), transaction.atomic():
            if tenant_id is not None:
                set_tenant(tenant_id)
            for name in REACHED:
                assert refusal(f"SELECT * FROM packs_reached_{name}") == "42501", (name, tenant_id)


def test_a_skipped_layer_is_flagged_the_tenants_own_or_a_shared_one(db: None) -> None:
    made = [make.tenant("one"), make.tenant("other"), make.platform()]
    for tenant in made:
        make.own_pack(tenant, f"of-{tenant.slug}")
    live = [
        make.champion(tenant, f"of-{tenant.slug}", scope)
        for tenant, scope in zip(made, ("tenant:one", "tenant:other", "global"), strict=True)
    ]
    keys = [version.pk for version in live]
    with in_production(), transaction.atomic():
        rows("SELECT packs_flag_skipped(%s::uuid[])", [keys])
    assert not Layer.objects.filter(flagged_at__isnull=False).exists()
    with in_production(), in_tenant(made[0].pk):
        rows("SELECT packs_flag_skipped(%s::uuid[])", [keys])
    assert set(Layer.objects.filter(flagged_at__isnull=False).values_list("scope", flat=True)) == {"tenant:one", "global"}


def test_a_persons_reference_is_told_in_the_tenant_that_is_bound(db: None) -> None:
    acme, other = make.tenant("acme"), make.tenant("other")
    person = make.user(acme, "viewer")
    Membership.objects.filter(user=person).update(user_ref="u-42")
    asked = "SELECT core_user_ref_of(%s, %s)"
    with in_production(), in_tenant(acme.pk):
        assert rows(asked, [acme.pk, person.pk]) == [("u-42",)] and rows(asked, [other.pk, person.pk]) == [("",)]
    with in_production(), in_tenant(other.pk):
        assert rows(asked, [acme.pk, person.pk]) == [("",)]


def test_the_laws_of_packs_see_every_tenant(db: None) -> None:
    acme = make.tenant("acme")
    make.own_pack(acme, "desk")
    with pytest.raises(Problem) as taken:
        make.own_pack(make.platform(), "desk")
    assert taken.value.code == "slug_taken"
    version = make.champion(acme, "desk", "tenant:acme")
    with in_production(), transaction.atomic():
        set_tenant(acme.pk, "")
        rows("UPDATE packs_packversion SET status = 'archived' WHERE id = %s", [version.pk])
        set_tenant(make.platform().pk)
        # What is compared when a transaction ends is compared in whatever tenant it ends.
        assert refusal("SET CONSTRAINTS ALL IMMEDIATE") == "23514"
        transaction.set_rollback(True)


def test_a_shared_promotion_suspends_a_tenants_layer_as_that_tenant(world: World) -> None:
    """And its agents inherit, with every policy of production in force."""
    house = make.platform()
    child = make.version(world.tenant, "desk", "agent:acme/helpdesk-1", make.content("We promise.", rubric=RUBRIC))
    own = make.version(world.tenant, "desk", "user:acme/u-42", make.content("Promise me."))
    for version in (child, own):
        bootstrap(ctx=make.system(world.tenant.pk), version_id=version.pk)
    make.own_pack(house, "house-rules", kind="policy")
    author, *people = [make.member(house, role) for role in ("tenant_admin", "tenant_admin", "manager")]
    with in_production():
        before = world.call("agent", "get", "resolve?pack=desk&user=u-42", expected=200)["content"]["sections"]["role"]["text"]
        assert "We promise." in before and "Promise me." in before
        rule = {"constraints": [{"rule": "forbid_text", "value": "(?i)promise"}]}
        draft = make.version(house, "house-rules", "global", rule)
        asked = request_promotion(ctx=author, version_id=draft.pk, aim="policy", invalid="suspend")
        assert asked.blast["tenants"] == 1 and asked.state == "awaiting_approval", (asked.state, asked.verdict)
        for ctx in people:
            approve_promotion(ctx=ctx, promotion_id=asked.pk)
        assert start_promotion(ctx=people[0], promotion_id=asked.pk).state == "promoted"
    suspended = Decision.objects.filter(decision="suspend")
    assert {(row.layer_id, row.tenant_id) for row in suspended} == {(v.layer_id, world.tenant.pk) for v in (child, own)}
    for version in (child, own):
        layer = Layer.objects.get(pk=version.layer_id)
        assert layer.suspended_by in {row.pk for row in suspended} and layer.champion_id == version.pk
        assert PointerChange.objects.filter(layer=layer).latest("at").version_id is None
    answer = world.call("agent", "get", "resolve?pack=desk&user=u-42", expected=200)
    assert answer["content"]["sections"]["role"]["text"] == "You answer." and answer["violations"] == []
    assert verify_tenant(world.tenant.pk) is None
    assert Event.objects.filter(tenant_id=world.tenant.pk, action="decision.suspend").count() == 2
