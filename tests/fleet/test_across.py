"""What the fleet asks or does over all tenants, as the application does in production."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.utils import DatabaseError
from django.test import Client
from django.test.utils import override_settings
from django.utils import timezone

from apps.core.context import in_tenant
from apps.fleet.models import ActionRequest, Command, Delivery, Harness
from tests import factories as make
from tests.fleet.harness import harness
from tests.isolation import in_production


def rows(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()


def old_things(tenant: Any, days: int) -> tuple[Command, ActionRequest]:
    """A command that nobody acknowledged, and a request that nobody answered."""
    agent = make.agent(tenant)
    then = timezone.now() - timedelta(days=days)
    times = {"created_at": then, "expires_at": then + timedelta(hours=1)}
    command = Command.objects.create(tenant=tenant, kind="tier", name="T1", action="pause", actor_label="tests", **times)
    Delivery.objects.create(tenant=tenant, command=command, agent=agent, created_at=then)
    asked = ActionRequest.objects.create(tenant=tenant, agent=agent, pack="desk", tool="mail.send", risk="medium", level="A2", **times)
    return command, asked


def test_what_ran_out_is_marked_and_what_is_long_over_is_forgotten(db: None) -> None:
    acme, globex = make.tenant("acme"), make.tenant("globex")
    old, recent = old_things(acme, 100), old_things(globex, 1)
    bot, gone = harness(acme), harness(globex)
    bot.beat()
    gone.beat(("desk", "sha256:" + "0" * 64))
    Harness.objects.filter(agent=gone.agent).update(last_seen_at=timezone.now() - timedelta(days=8))
    with in_production():
        assert rows("SELECT * FROM fleet_figures()") == [(1, 0, 1, 2, 2)]
        assert {tenant for (tenant,) in rows("SELECT tenant_id FROM fleet_expire(now() + interval '1 day')")} == {acme.pk, globex.pk}
        assert rows("SELECT tenant_id FROM fleet_expire(now())") == []
        # However soon it is asked for, what is of the last month stays.
        assert rows("SELECT fleet_forget(now() - interval '7 days', now())") == [(2,)]
    assert list(Harness.objects.values_list("agent_id", flat=True)) == [bot.agent.pk]
    assert list(Command.objects.values_list("pk", flat=True)) == [recent[0].pk] and old[0].pk != recent[0].pk
    assert list(ActionRequest.objects.values_list("pk", "state")) == [(recent[1].pk, "expired")]


def test_who_serves_what_anywhere_is_told_to_platform_only(db: None) -> None:
    acme = make.tenant("acme")
    house = make.platform()
    harness(acme, "bot").beat(("desk", "sha256:" + "0" * 64))
    with in_production(), in_tenant(house.pk):
        assert len(rows("SELECT * FROM fleet_reached_harnesses(NULL)")) == 1
        assert rows("SELECT tenant, agent, pack FROM fleet_reached_harnesses('desk')") == [("acme", "bot", "desk")]
        assert rows("SELECT tenant FROM fleet_reached_harnesses('other')") == []
    with in_production(), pytest.raises(DatabaseError, match="platform"), transaction.atomic(), in_tenant(acme.pk):
        rows("SELECT * FROM fleet_reached_harnesses(NULL)")


def test_figures_stand_in_metrics(db: None) -> None:
    harness(make.tenant("acme")).beat()
    with override_settings(METRICS_TOKEN="figures"):
        text = Client().get("/metrics", headers={"Authorization": "Bearer figures"}).content.decode()
    assert 'mission_control_fleet_harnesses{state="live"} 1\n' in text and "mission_control_fleet_laggards 0\n" in text
