"""History of governed objects: beside each change, by whoever the context says, unchangeable, and without what the log can erase."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client

from apps.audit.models import Event
from apps.core.context import ActionContext, Actor, in_tenant, set_tenant, system_context
from apps.core.events import acting_in
from apps.core.history import OUTSIDE, governed, history_model, history_table, revise
from apps.identity import services
from apps.identity.models import Agent, AgentToken, ApiToken, Membership, Team, Tenant, TenantStatus, User
from apps.identity.selectors import platform_id
from apps.packs.models import Layer, Pack, PackVersion
from apps.packs.services.packs import update_pack
from apps.promotions.models import Promotion
from apps.promotions.tasks import reassess_layer
from tests import factories as make
from tests.everything import everything
from tests.isolation import in_production
from tests.promotions.test_loop import World, better, world

__all__ = ["world"]
OwnerSql = Callable[..., list[tuple[Any, ...]]]
COMMITS = pytest.mark.django_db(transaction=True)


def last(obj: Any) -> Any:
    """The newest row of an object's history."""
    return history_model(type(obj)).objects.filter(id=obj.pk).order_by("-history_id").first()


def test_a_change_over_the_api_leaves_who_and_how_and_what_it_was(world: World) -> None:
    response = world.client.patch(
        "/api/v1/packs/desk/", {"title": "Helpdesk"}, content_type="application/json",
        headers={**make.bearer(world.tokens["author"]), "X-Request-ID": "request-7"},
    )  # fmt: skip
    assert response.status_code == 200, response.content
    pack = Pack.objects.get(slug="desk")
    row = last(pack)
    assert (row.history_type, row.title, row.slug, row.tenant_id) == ("~", "Helpdesk", "desk", world.tenant.pk)
    assert (row.actor_kind, row.actor_id, row.channel, row.request_id) == ("user", world.people["author"].pk, "api", "request-7")
    assert Pack.history.filter(id=pack.pk).count() == 2
    # Said again, it is no change.
    world.call("author", "patch", "packs/desk/", {"title": "Helpdesk"}, 200)
    assert Pack.history.filter(id=pack.pk).count() == 2


def test_the_actor_is_the_contexts_wherever_a_service_runs(world: World) -> None:
    agent = ActionContext(
        Actor("agent", make.agent(world.tenant).pk, "acme/helpdesk-9"), world.tenant.pk, "api", make.system(platform_id()).roles
    )
    for ctx, kind, label in (
        (agent, "agent", "acme/helpdesk-9"),
        (system_context("nightly", tenant_id=world.tenant.pk), "system", "nightly"),
        (system_context("seed", tenant_id=world.tenant.pk, channel="cli"), "system", "seed"),
    ):
        team = services.create_team(ctx=ctx, slug=f"team-{ctx.channel}-{kind}", name="Team")
        row = last(team)
        assert (row.history_type, row.actor_kind, row.actor_id, row.actor_label) == ("+", kind, ctx.actor.id, label)
        assert (row.channel, row.request_id) == (ctx.channel, ctx.request_id)
    # A service within another's transaction acts for itself; after it the outer one goes on as who it was.
    outer = make.context(world.tenant.pk, "tenant_admin")
    with outer.transaction():
        inner = services.create_team(ctx=system_context("inner", tenant_id=world.tenant.pk), slug="inner", name="Inner")
        after = services.create_team(ctx=outer, slug="after", name="After")
        with acting_in(outer, platform_id()) as there:
            elsewhere = Team.objects.create(tenant_id=there.tenant_id, slug="there", name="There")
    assert (last(inner).actor_label, last(after).actor_id, last(elsewhere).actor_id) == ("inner", outer.actor.id, outer.actor.id)
    # After the transaction nobody acts.
    assert last(make.team(world.tenant, "shell")).actor_kind == OUTSIDE


def test_a_task_writes_history_as_itself_and_only_when_the_promotion_moves(world: World) -> None:
    asked = world.request(world.draft()["id"])
    promotion = Promotion.objects.get(pk=asked["id"])
    world.answer(better(world.live))
    reassess_layer(str(promotion.layer_id))
    row = last(promotion)
    assert (row.state, row.actor_kind, row.actor_label, row.channel) == ("awaiting_approval", "system", "promotions", "task")
    rows = Promotion.history.filter(id=promotion.pk).count()
    reassess_layer(str(promotion.layer_id))
    assert Promotion.history.filter(id=promotion.pk).count() == rows
    world.call("manager", "post", f"promotions/{promotion.pk}/approve/", {}, 200)
    world.call("manager", "post", f"promotions/{promotion.pk}/start/", {}, 200)
    way = list(Promotion.history.filter(id=promotion.pk).order_by("history_id").values_list("state", "risk_level"))
    assert [state for state, _ in way[-3:]] == ["awaiting_approval", "ready", "promoted"]
    assert all(before != after for before, after in pairwise(way))
    layer = last(Layer.objects.get(pk=promotion.layer_id))
    assert (str(layer.champion_id), layer.actor_id) == (str(promotion.challenger_id), world.people["manager"].pk)
    versions = PackVersion.history.filter(id=promotion.challenger_id).order_by("history_id")
    assert list(versions.values_list("status", flat=True)) == ["draft", "challenger", "champion"]


def test_several_at_once_are_written_one_by_one(db: None) -> None:
    acme = make.tenant("acme")
    agent, person = make.agent(acme), make.user(acme, "viewer")
    for _ in range(3):
        make.agent_token(agent)
        make.api_token(person, acme)
    make.agent_token(make.agent(acme))
    ctx = make.context(acme.pk, "tenant_admin")
    services.retire_agent(ctx=ctx, slug=agent.slug)
    rows = AgentToken.history.filter(history_type="~")
    assert rows.count() == 3 and set(rows.values_list("agent_id", "actor_id", "request_id")) == {(agent.pk, ctx.actor.id, ctx.request_id)}
    assert set(rows.values_list("revoked_at", flat=True)) == set(
        AgentToken.objects.filter(agent=agent).values_list("revoked_at", flat=True)
    )
    # As the people of `platform`, in the rows' own tenant.
    keeper = make.context(platform_id(), "tenant_admin")
    with in_production():
        services.delete_tenant(ctx=keeper, slug="acme")
    assert Tenant.history.filter(id=acme.pk).latest().status == TenantStatus.DELETED
    assert set(ApiToken.history.filter(history_type="~").values_list("tenant_id", "actor_id")) == {(acme.pk, keeper.actor.id)}
    assert revise(ApiToken.objects.filter(revoked_at__isnull=True), revoked_at=None) == 0


def test_what_is_removed_is_remembered(db: None) -> None:
    acme = make.tenant("acme")
    member = Membership.objects.get(user=make.user(acme, "viewer"))
    ctx = make.context(acme.pk, "tenant_admin")
    services.remove_member(ctx=ctx, membership_id=member.pk)
    row = last(member)
    assert (row.history_type, row.user_id, row.role, row.actor_id) == ("-", member.user_id, "viewer", ctx.actor.id)


@COMMITS
@pytest.mark.parametrize("how", ["service", "bulk", "shell"])
def test_no_history_no_change(owner_sql: OwnerSql, how: str) -> None:
    acme = make.tenant("acme")
    pack, agent = make.own_pack(acme, "desk"), make.agent(acme)
    make.agent_token(agent)
    ctx = make.context(acme.pk, "tenant_admin")
    events = Event.objects.count()
    owner_sql("CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'disk full'; END $$")
    for table in ("packs_historicalpack", "identity_historicalagenttoken"):
        owner_sql(f"CREATE TRIGGER broken BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION broken()")
    with pytest.raises(DatabaseError, match="disk full"):
        if how == "service":
            update_pack(ctx=ctx, slug="desk", title="Changed")
        elif how == "bulk":
            services.retire_agent(ctx=ctx, slug=agent.slug)
        else:
            pack.title = "Changed"
            pack.save(update_fields=["title"])
    assert Pack.objects.get(pk=pack.pk).title == "Desk" and Agent.objects.get(pk=agent.pk).status == "active"
    assert AgentToken.objects.get().revoked_at is None and Event.objects.count() == events


@COMMITS
def test_history_only_grows(owner_sql: OwnerSql) -> None:
    make.own_pack(make.tenant("acme"), "desk")
    for model in governed():
        table = history_table(model)
        for statement in (f"UPDATE {table} SET actor_kind = 'user'", f"DELETE FROM {table}", f"TRUNCATE {table}"):
            with pytest.raises(DatabaseError, match="permission denied"), connection.cursor() as cursor:
                cursor.execute(statement)
        with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
            owner_sql(f"TRUNCATE {table}")
    for statement in ("UPDATE packs_historicalpack SET title = 'x'", "DELETE FROM packs_historicalpack"):
        with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
            owner_sql(statement)


def test_a_tenants_own_history_is_its_own_and_platforms(db: None) -> None:
    acme, other = make.tenant("acme"), make.tenant("other")

    def seen(tenant: Tenant) -> int:
        with in_production(), in_tenant(tenant.pk):
            return int(Tenant.history.filter(id=acme.pk).count())

    assert (seen(acme), seen(other), seen(make.platform())) == (1, 0, 1)
    with in_production(), transaction.atomic(), pytest.raises(DatabaseError, match="row-level security"):
        set_tenant(other.pk)
        Tenant.history.filter(id=acme.pk).model(history_date=acme.created_at, history_type="+", id=acme.pk, slug="x").save()


# What the log keeps apart to be erased, secrets, and content that never changes anyway.
LEFT_OUT = {"email", "password", "hash", "user_ref", "reason", "notes", "content", "canonical", "verdict", "last_login"}


def test_history_holds_nothing_that_the_log_can_erase(world: World) -> None:
    everything(world)
    reason = "Because Ms Miller said so"
    admin = make.user(world.tenant, "tenant_admin", email="very.private@acme.test")
    User.objects.filter(pk=admin.pk).update(name="Vera Private")
    ctx = make.context(world.tenant.pk, "tenant_admin", user=User.objects.get(pk=admin.pk))
    services.suspend_agent(ctx=ctx, slug=services.create_agent(ctx=ctx, slug="one").slug, reason=reason)
    services.add_member(ctx=ctx, email="guest@acme.test", name="Gustav Guest", role="viewer", user_ref="gusta-7")
    promotion = world.request(world.draft("Another text altogether.")["id"], reason=reason)
    assert promotion["id"] and Event.objects.filter(text__text__reason=reason).count() >= 2
    for model in governed():
        history = history_model(model)
        columns = {field.name for field in history._meta.fields}
        assert not columns & LEFT_OUT, model
        assert model is not User or "name" not in columns
        text = json.dumps(list(history.objects.values()), default=str)
        for secret in ("very.private", "Vera", reason, "gusta-7", "guest@", "Gustav", "Another text", *world.tokens.values()):
            assert secret not in text, (model, secret)


def test_what_was_there_before_history_has_a_first_row(db: None) -> None:
    """The tenant `platform` and its presets are made by migrations, which run before."""
    pack = Pack.objects.get(slug="presets")
    for obj in (make.platform(), pack):
        rows = history_model(type(obj)).objects.filter(id=obj.pk)
        assert [(row.history_type, row.actor_kind, row.slug) for row in rows] == [("~", OUTSIDE, obj.slug)]
    ctx = make.system(platform_id())
    update_pack(ctx=ctx, slug="presets", title="Other")
    newest, first = Pack.history.filter(id=pack.pk)
    assert newest.diff_against(first).changed_fields == ["title"]


def test_passwords_and_uses_are_no_change(client: Client, db: None) -> None:
    acme = make.tenant("acme")
    person = make.user(acme, "viewer", email="p@acme.test", password="correct horse battery staple")
    assert client.login(username="p@acme.test", password="correct horse battery staple")
    person.set_password("another horse battery staple")
    person.save(update_fields=["password"])
    assert User.history.filter(id=person.pk).count() == 1
