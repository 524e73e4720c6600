"""Two at once: on one layer, on parent and child, on one button. Exactly one wins and nothing is half done."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, connection

from apps.audit.services import verify_tenant
from apps.core.context import ActionContext
from apps.core.errors import Problem
from apps.evals.services.cases import add_cases, create_eval_set
from apps.identity.models import Tenant
from apps.packs.models import Layer
from apps.promotions.models import Aim, Approval, Decision, Promotion
from apps.promotions.services.approving import approve_promotion
from apps.promotions.services.going_live import bootstrap, rollback_layer, start_promotion
from apps.promotions.services.requests import request_promotion
from apps.promotions.tasks import reassess_layer
from tests import factories as make

pytestmark = pytest.mark.django_db(transaction=True)
POLICY = {"autonomy": {"ceiling": "A2"}}


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Runs the calls at the same moment, each on a connection of its own; a refusal is its result."""
    results: list[Any] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def run(index: int, call: Callable[[], Any]) -> None:
        try:
            barrier.wait(10)
            results[index] = call()
        except Problem as refused:
            results[index] = refused.code
        except DatabaseError as error:
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(index, call)) for index, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


@pytest.fixture
def acme() -> Tenant:
    return make.tenant("acme")


def ready_policy(tenant: Tenant, layer_scope: str, content: dict[str, Any], **more: Any) -> Promotion:
    """A policy's promotion, approved by whom it needs: no evaluation stands between it and its start."""
    draft = make.version(tenant, "rules", layer_scope, content)
    asked = request_promotion(ctx=make.context(tenant.pk, "tenant_admin"), version_id=draft.pk, aim=Aim.POLICY, **more)
    for role in ("manager", "tenant_admin"):
        asked.refresh_from_db()
        if asked.state == "awaiting_approval":
            approve_promotion(ctx=person(tenant, role), promotion_id=asked.pk)
    asked.refresh_from_db()
    assert asked.state == "ready", asked.verdict
    return asked


def person(tenant: Tenant, role: str) -> ActionContext:
    return make.context(tenant.pk, role, user=make.user(tenant, role))


def live_rules(tenant: Tenant, content: dict[str, Any] = POLICY) -> Layer:
    make.own_pack(tenant, "rules", kind="policy")
    first = make.version(tenant, "rules", f"tenant:{tenant.slug}" if tenant.slug != "platform" else "global", content)
    bootstrap(ctx=make.system(tenant.pk), version_id=first.pk)
    return first.layer


def test_two_promotions_of_one_layer_one_wins(acme: Tenant) -> None:
    layer = live_rules(acme)
    one = ready_policy(acme, "tenant:acme", {"autonomy": {"ceiling": "A1"}})
    two = ready_policy(acme, "tenant:acme", {"autonomy": {"ceiling": "A0"}})
    admins = [person(acme, "tenant_admin") for _ in range(2)]
    results = together(
        lambda: start_promotion(ctx=admins[0], promotion_id=one.pk).state, lambda: start_promotion(ctx=admins[1], promotion_id=two.pk).state
    )
    assert sorted(results) == ["already_decided", "promoted"]
    assert sorted(Promotion.objects.values_list("state", flat=True)) == ["expired", "promoted"]
    layer.refresh_from_db()
    assert layer.champion_id in (one.challenger_id, two.challenger_id)
    assert Decision.objects.filter(layer=layer).count() == 2 and verify_tenant(acme.pk) is None


def test_two_clicks_on_start_promote_once(acme: Tenant) -> None:
    layer = live_rules(acme)
    asked = ready_policy(acme, "tenant:acme", {"autonomy": {"ceiling": "A1"}})
    admins = [person(acme, "tenant_admin") for _ in range(3)]
    results = together(*[lambda ctx=ctx: start_promotion(ctx=ctx, promotion_id=asked.pk).state for ctx in admins])  # type: ignore[misc]
    assert sorted(results) == ["already_decided", "already_decided", "promoted"]
    assert Decision.objects.filter(layer=layer, decision="promote").exclude(reason="bootstrap").count() == 1


def test_two_clicks_on_approve_count_once(acme: Tenant) -> None:
    live_rules(acme)
    draft = make.version(acme, "rules", "tenant:acme", {"autonomy": {"ceiling": "A1"}})
    asked = request_promotion(ctx=make.context(acme.pk, "author"), version_id=draft.pk, aim=Aim.POLICY)
    manager = make.user(acme, "manager")
    same = [make.context(acme.pk, "manager", user=manager) for _ in range(2)]
    results = together(*[lambda ctx=ctx: approve_promotion(ctx=ctx, promotion_id=asked.pk).state for ctx in same])  # type: ignore[misc]
    assert results.count("already_decided") == 1 and Approval.objects.count() == 1


def test_parent_and_child_at_once_leave_no_invalid_child(acme: Tenant) -> None:
    """The parent forbids what the child says. Whoever is second is re-checked under the locks and refused."""
    house = make.platform()
    make.own_pack(house, "rules", kind="policy")
    make.own_pack(acme, "desk")
    base = make.version(acme, "desk", "tenant:acme", make.content("You answer."))
    bootstrap(ctx=make.system(acme.pk), version_id=base.pk)
    make.agent(acme, "one")
    child = make.version(acme, "desk", "agent:acme/one", make.content("We promise."))
    parent = ready_policy(house, "global", {"constraints": [{"rule": "forbid_text", "value": "promise"}]})
    results = together(
        lambda: bootstrap(ctx=make.system(acme.pk), version_id=child.pk).decision,
        lambda: start_promotion(ctx=person(house, "tenant_admin"), promotion_id=parent.pk).state,
    )
    live = Layer.objects.filter(champion__in=[child.pk, parent.challenger_id]).count()
    assert live == 1 and sorted(results) in (["hard_rule", "promote"], ["constraint_violation", "promoted"]), results


def test_a_rollback_and_a_promotion_at_once(acme: Tenant) -> None:
    layer = live_rules(acme)
    done = ready_policy(acme, "tenant:acme", {"autonomy": {"ceiling": "A1"}})
    start_promotion(ctx=person(acme, "tenant_admin"), promotion_id=done.pk)
    nxt = ready_policy(acme, "tenant:acme", {"autonomy": {"ceiling": "A0"}})
    results = together(
        lambda: start_promotion(ctx=person(acme, "tenant_admin"), promotion_id=nxt.pk).state,
        lambda: rollback_layer(ctx=person(acme, "operator"), layer_id=layer.pk).decision,
    )
    layer.refresh_from_db()
    last = Decision.objects.filter(layer=layer).order_by("-created_at").first()
    assert last is not None and layer.champion_id == last.challenger_version_id and "rollback" in results
    assert verify_tenant(acme.pk) is None


def test_judging_and_starting_at_once_never_wait_in_a_ring(acme: Tenant) -> None:
    """Found in the demo: a task that judges held a promotion and wanted its layer, a start held the layer and wanted the promotion."""
    make.own_pack(acme, "desk")
    rubric = [{"id": "greets", "check": "contains", "weight": 100, "dimension": "quality", "params": {"text": "hello"}}]
    first = make.version(acme, "desk", "tenant:acme", make.content("You answer.", rubric=rubric))
    bootstrap(ctx=make.system(acme.pk), version_id=first.pk)
    cases = create_eval_set(ctx=make.system(acme.pk), pack="desk", slug="cases", title="Cases")
    add_cases(ctx=make.system(acme.pk), eval_set_id=cases.pk, cases=[{"input": "Question"}])
    draft = make.version(acme, "desk", "tenant:acme", make.content("Text.", rubric=rubric))
    asked = request_promotion(ctx=make.system(acme.pk), version_id=draft.pk)

    def judge() -> None:
        for _ in range(15):
            reassess_layer(str(first.layer_id))

    def start() -> None:
        for _ in range(60):
            with contextlib.suppress(Problem):
                start_promotion(ctx=make.system(acme.pk), promotion_id=asked.pk, force=True, reason="Now.")

    assert together(judge, start, start) == [None, None, None]
    asked.refresh_from_db()
    assert asked.state == "collecting"
