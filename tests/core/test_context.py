from __future__ import annotations

from uuid import UUID

import pytest
from django.db import connection

from apps.audit.models import Event
from apps.audit.services import record
from apps.core import events
from apps.core.context import ActionContext, Topic
from apps.core.generations import bump
from apps.core.models import Change
from tests import factories as make


def setting() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.tenant', true)")
        return str(cursor.fetchone()[0])


@pytest.mark.django_db
def test_what_a_nested_part_recorded_vanishes_when_it_is_rolled_back() -> None:
    tenant = make.tenant()
    ctx = make.system(tenant.pk)
    with ctx.transaction():
        record(ctx, "a.kept", tenant)
        with pytest.raises(LookupError), ctx.transaction():
            make.team(tenant, "gone")
            record(ctx, "a.gone", tenant)
            bump(ctx, Topic.TOKENS, tenant.pk)
            raise LookupError
        record(ctx, "a.last", tenant)
        bump(ctx, Topic.PACKS, tenant.pk)
        bump(ctx, Topic.PACKS, tenant.pk)
    assert list(Event.objects.order_by("seq").values_list("action", flat=True)) == ["a.kept", "a.last"]
    assert list(Change.objects.values_list("topic", "tenant_id")) == [("packs", tenant.pk)]


@pytest.mark.django_db
def test_a_context_can_be_used_again_after_a_failure() -> None:
    tenant = make.tenant()
    ctx = make.system(tenant.pk)
    with pytest.raises(LookupError), ctx.transaction():
        record(ctx, "a.gone", tenant)
        raise LookupError
    with ctx.transaction():
        record(ctx, "a.kept", tenant)
    with ctx.transaction():
        pass
    assert [event.action for event in Event.objects.all()] == ["a.kept"]


@pytest.mark.django_db
def test_every_query_runs_under_the_contexts_tenant() -> None:
    tenant, other = make.tenant(), make.tenant()
    ctx = make.system(tenant.pk)
    with ctx.transaction():
        assert setting() == str(tenant.pk)
        with events.acting_in(ctx, other.pk) as inside:
            assert (setting(), inside.tenant_id) == (str(other.pk), other.pk)
        assert setting() == str(tenant.pk)
        with pytest.raises(LookupError), events.acting_in(ctx, other.pk):
            raise LookupError
        assert setting() == str(tenant.pk)


@pytest.mark.django_db
def test_what_follows_in_another_tenant_is_written_with_the_change_and_names_who_caused_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant, other = make.tenant(), make.tenant()
    ctx = make.context(tenant.pk, "viewer")
    monkeypatch.setattr(events, "_subscribers", {})

    @events.subscribe("test.happened")
    def follow(ctx: ActionContext, *, tenant_id: UUID) -> None:
        with events.acting_in(ctx, tenant_id) as inside, inside.transaction():
            record(inside, "b.follows", make.team(other))
            bump(inside, Topic.PACKS, tenant_id)

    events.subscribe("test.happened")(follow)
    with ctx.transaction():
        record(ctx, "a.first", tenant)
        events.publish(ctx, "test.happened", tenant_id=other.pk)
        assert not Event.objects.exists()
    assert [(event.tenant_id, event.action, event.actor_id) for event in Event.objects.order_by("action")] == [
        (tenant.pk, "a.first", ctx.actor.id),
        (other.pk, "b.follows", ctx.actor.id),
    ]
    assert list(Change.objects.values_list("tenant_id", flat=True)) == [other.pk]


@pytest.mark.django_db(transaction=True)
def test_publishing_needs_a_transaction_and_on_commit_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bool] = []
    monkeypatch.setattr(events, "_subscribers", {"test.done": [lambda ctx: heard.append(connection.in_atomic_block)]})
    ctx = make.system(make.tenant().pk)
    with pytest.raises(RuntimeError, match=r"test\.done"):
        events.publish(ctx, "test.done")
    with ctx.transaction():
        events.publish_on_commit(ctx, "test.done")
        assert heard == []
    assert heard == [False]
    with pytest.raises(LookupError), ctx.transaction():
        events.publish_on_commit(ctx, "test.done")
        raise LookupError
    assert heard == [False]
