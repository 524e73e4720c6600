"""What is judged of runs and events when they are stored: costs by the price table, tokens that cannot be, clocks that are off, gaps."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client

from apps.core.errors import Problem
from apps.core.generations import watcher
from apps.identity.models import Tenant
from apps.telemetry.models import Event, Price, Producer, Run
from apps.telemetry.selectors.rules import rules_of
from apps.telemetry.services import add_price, withdraw_price
from tests import factories as make
from tests.telemetry.sending import event, harness, run

pytestmark = pytest.mark.django_db
TODAY = datetime.now(UTC).date()
AMOUNTS = {"input": Decimal(3), "cache_read": Decimal("0.30"), "cache_write": Decimal("3.75"), "output": Decimal(15)}
MODEL = {"provider": "anthropic", "model_id": "claude-test-1", "cost_usd": None}


def price(tenant: Tenant, model_id: str = "claude-test*", *, since: date = TODAY - timedelta(days=30), **amounts: Decimal) -> Price:
    ctx = make.system(tenant.pk)
    return add_price(ctx=ctx, provider="anthropic", model_id=model_id, effective_from=since, amounts={**AMOUNTS, **amounts})


def stored(run_id: str) -> tuple[int | None, list[str]]:
    found = Run.objects.get(run_id=run_id)
    return found.cost_micros, found.flags


def test_runs_and_events_without_a_cost_are_priced_and_a_reported_cost_stays() -> None:
    sender = harness()
    price(sender.tenant)
    sender.send(
        run("cached", tokens_in=10_000, cached_tokens=8_000, tokens_out=100, **MODEL),
        run("reported", tokens_in=1000, tokens_out=200, **{**MODEL, "cost_usd": "0.006"}),
        run("off", tokens_in=1000, tokens_out=200, **{**MODEL, "cost_usd": "0.060"}),
        run("unknown", tokens_in=1000, **{**MODEL, "model_id": "nobody's"}),
        run("apart", tokens_in=2_000, cached_tokens=8_000, tokens_out=100, **MODEL),
        run("without", cost_usd=None),
    )
    assert stored("cached") == (9_900, ["priced"])
    assert stored("reported") == (6_000, [])
    assert stored("off") == (60_000, ["cost_differs"])
    assert stored("unknown") == (None, ["unpriced"])
    assert stored("apart") == (0, ["priced", "tokens_inconsistent"])
    assert stored("without") == (None, [])
    sender.send_events(event("e", tokens_in=1000, tokens_out=200, provider="anthropic", model_id="claude-test-1"), event("f"))
    assert [(each.cost_micros, each.flags) for each in Event.objects.order_by("event_id")] == [(6_000, ["priced"]), (None, [])]


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in two"])
def test_a_run_in_several_batches_is_priced_with_its_final_item_by_all_that_is_known(together: bool) -> None:
    sender = harness()
    price(sender.tenant)
    price(sender.tenant, since=TODAY + timedelta(days=1), input=Decimal(1000))
    items = [
        run("r", final=False, tokens_in=1000, started_at=datetime.now(UTC).isoformat(), **MODEL),
        run("r", tokens_out=200, started_at=(datetime.now(UTC) + timedelta(seconds=2)).isoformat(), cost_usd=None),
        run("s", final=False, tokens_in=1000, tokens_out=200, **{**MODEL, "cost_usd": "0.003"}),
        run("s", cost_usd=None),
        run("t", final=False, tokens_in=1000, cached_tokens=2000, **MODEL),
    ]
    for batch in [items] if together else [items[::2], items[1::2]]:
        sender.send(*batch)
    assert stored("r") == (6_000, ["priced"])
    assert stored("s") == (3_000, ["cost_differs"])
    assert stored("t") == (None, [])


def test_a_tenant_s_price_goes_before_everybody_s_and_a_change_is_heard_of_at_once() -> None:
    sender, other = harness(), harness()
    for tenant in (sender.tenant, make.platform()):
        price(tenant, input=Decimal(1 if tenant == sender.tenant else 2))
    for each in (sender, other):
        each.send(run("first", tokens_in=1_000_000, **MODEL))
    assert sorted(Run.objects.values_list("tenant_id", "cost_micros")) == sorted([(sender.tenant.pk, 10**6), (other.tenant.pk, 2 * 10**6)])
    price(make.platform(), "claude-test-1", input=Decimal(5))
    price(sender.tenant, "claude-test-1", input=Decimal(4))
    for each in (sender, other):
        each.send(run("second", tokens_in=1_000_000, **MODEL))
    assert sorted(Run.objects.filter(run_id="second").values_list("cost_micros", flat=True)) == [4 * 10**6, 5 * 10**6]
    assert sorted(Run.objects.filter(run_id="first").values_list("cost_micros", flat=True)) == [10**6, 2 * 10**6]


def test_nothing_is_read_again_while_nothing_changes(settings: Any, django_assert_num_queries: Any) -> None:
    tenant = make.tenant()
    rules_of(tenant.pk)
    settings.CACHE_STALENESS_S = 60
    watcher.fresh()
    with django_assert_num_queries(0):
        rules_of(tenant.pk)


def test_a_price_in_force_never_changes() -> None:
    tenant = make.tenant()
    first = price(tenant)
    with pytest.raises(Problem, match="let this one begin tomorrow"):
        price(tenant, since=TODAY)
    with pytest.raises(Problem, match="There is a price from"):
        price(tenant)
    later = price(tenant, since=TODAY + timedelta(days=1))
    with pytest.raises(Problem, match="it stays"):
        withdraw_price(ctx=make.system(tenant.pk), price_id=first.pk)
    withdraw_price(ctx=make.system(tenant.pk), price_id=later.pk)
    assert [each.pk for each in Price.objects.filter(tenant=tenant)] == [first.pk]
    assert [row.history_type for row in Price.history.filter(id=later.pk)] == ["-", "+"]
    with pytest.raises(IntegrityError, match="in force never changes"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM telemetry_price WHERE id = %s", [first.pk])


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"provider": "anth*"}, "/provider"),
        ({"model_id": "a*b"}, "/model_id"),
        ({"model_id": ""}, "/model_id"),
        ({"amounts": {**AMOUNTS, "output": Decimal(-1)}}, "/output"),
        ({"amounts": {**AMOUNTS, "input": Decimal("NaN")}}, "/input"),
    ],
)
def test_a_price_that_makes_no_sense_is_refused(change: dict[str, Any], pointer: str) -> None:
    fields = {"provider": "anthropic", "model_id": "m", "effective_from": TODAY, "amounts": AMOUNTS, **change}
    with pytest.raises(Problem) as refused:
        add_price(ctx=make.system(make.tenant().pk), **fields)
    assert (refused.value.code, refused.value.errors[0].pointer) == ("invalid", pointer)


def test_clocks_that_are_off_are_noted_for_the_run_and_its_producer() -> None:
    sender = harness()
    now = datetime.now(UTC)

    def at(seconds: float) -> str:
        return (now + timedelta(seconds=seconds)).isoformat()

    sender.send(run("late", started_at=at(-60), ended_at=at(3)), producer="p", seq=1)
    producer = Producer.objects.get()
    assert (stored("late")[1], producer.skew_ms, producer.skew_at) == ([], 0, None)
    sender.send(run("ahead", started_at=at(3600)), run("backward", started_at=at(-60), ended_at=at(-70)), producer="p", seq=2)
    producer.refresh_from_db()
    assert stored("ahead")[1] == stored("backward")[1] == ["clock_skew"]
    assert 3_500_000 < producer.skew_ms <= 3_600_000
    sender.send_events(event("e", created_at=at(60)), producer="p", seq=4)
    assert Event.objects.get().flags == ["clock_skew"]
    seen = Producer.objects.get()
    assert seen.skew_ms == producer.skew_ms
    assert (seen.missing, seen.skew_at > producer.skew_at) == (1, True)
    token = make.bearer(make.api_token(make.user(sender.tenant, "viewer"), sender.tenant))
    for asked, names in (("true", ["p"]), ("false", [])):
        listed = Client().get("/api/v1/producers/", {"with_gaps": asked}, headers=token).json()["results"]
        assert [each["name"] for each in listed] == names
    listed = Client().get("/api/v1/producers/", headers=token).json()["results"]
    assert (listed[0]["missing"], listed[0]["gaps"]) == (1, [{"first": 3, "last": 3}])
