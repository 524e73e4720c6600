"""Another tenant's rows are out of reach even for SQL that forgets to ask whose they are."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection, transaction
from django.db.utils import DatabaseError
from django.test import Client
from django.utils import timezone

from apps.audit.models import Event
from apps.audit.services import verify_tenant
from apps.core.context import in_tenant, set_tenant
from apps.core.errors import Problem
from apps.core.models import IdempotencyRecord
from apps.evals.tasks import score_runs
from apps.identity.models import Membership, Tenant
from apps.packs.models import Layer, PointerChange
from apps.promotions.models import Decision
from apps.promotions.services.approving import approve_promotion
from apps.promotions.services.going_live import bootstrap, start_promotion
from apps.promotions.services.requests import request_promotion
from apps.promotions.tasks import reassess_due
from apps.telemetry.models import Producer
from mission_control.grants import FUNCTIONS, LAWS
from tests import factories as make
from tests.isolation import POLICY, in_production
from tests.promotions.test_loop import RUBRIC, World, better, world
from tests.telemetry import sending

__all__ = ["world"]

# Tables of tenants without policies. What they hold is asked for before any tenant is known, or by every process for all tenants; the
# application's own filter (`restrict`) and the caches' keys stand alone there.
EXCEPTIONS = {
    "core_change": "every process hears of every tenant's changes; a row holds an id and a topic",
    "identity_tenant": "found by token and sign-in, and by slug, before there is a tenant",
    "identity_team": "read with the token, before there is a tenant",
    "identity_membership": "says which tenants a person may choose",
    "identity_agent": "read with the token, before there is a tenant; counted over all tenants by the blast radius",
    "identity_oidcprovider": "read by the sign-in page, before there is a tenant",
    "identity_grouprole": "applied at sign-in, before the session has a tenant",
    "identity_agenttoken": "look-up of a token gives the tenant",
    "identity_apitoken": "look-up of a token gives the tenant",
}
TENANT_TABLES = """
SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
AND (c.relname = 'identity_tenant' OR EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'))
ORDER BY c.relname
"""
POLICIES = (
    "SELECT policyname, cmd, roles::text[] FROM pg_policies WHERE permissive = 'PERMISSIVE' AND schemaname = 'public' AND tablename = %s"
)


def rows(statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def unprotected() -> list[str]:
    """Tables of tenants that lack row-level security, its FORCE, or one of the policies."""
    found = []
    for (table,) in rows(TENANT_TABLES):
        ((enabled, forced, owner),) = rows(
            "SELECT relrowsecurity, relforcerowsecurity, pg_get_userbyid(relowner) FROM pg_class WHERE oid = %s::regclass", [table]
        )
        policies = {(command, tuple(roles)) for name, command, roles in rows(POLICIES, [table]) if name != POLICY}
        expected = {(command, ("public",)) for command in ("SELECT", "INSERT", "UPDATE", "DELETE")} | {("ALL", (owner,))}
        if not enabled or not forced or policies != expected:
            found.append(table)
    return found


@pytest.mark.django_db
def test_every_tenant_table_is_protected_but_for_those_named_here() -> None:
    assert unprotected() == sorted(EXCEPTIONS)


@pytest.mark.django_db(transaction=True)
def test_a_new_table_without_a_policy_is_noticed(owner_sql: Any) -> None:
    owner_sql("CREATE TABLE core_forgotten (id integer, tenant_id uuid)")
    assert "core_forgotten" in unprotected()


def everything(world: World) -> None:
    """Rows in every table of the world's tenant."""
    asked = world.request(world.draft()["id"])
    world.answer(better(world.live))
    harness = sending.harness(world.tenant)
    harness.send(sending.run(), producer="p", seq=1)
    score_runs()
    harness.send(sending.run())
    harness.send_events(sending.event())
    reassess_due()
    world.call("manager", "post", f"promotions/{asked['id']}/approve/", {}, 200)
    world.call("manager", "post", f"promotions/{asked['id']}/start/", {}, 200)
    IdempotencyRecord.objects.create(tenant_id=world.tenant.pk, actor="a", route="r", key="k", body_hash=b"1" * 32)
    make.subscription(world.tenant, make.own_pack(make.platform()))
    world.call("agent", "get", "resolve?pack=desk", None, 200)


def refusal(statement: str, parameters: Any = ()) -> str:
    """How the database refuses: the SQLSTATE, or "" and the statement is taken back."""
    try:
        with transaction.atomic():
            rows(statement, parameters)
            transaction.set_rollback(True)
    except DatabaseError as error:
        assert isinstance(error.__cause__, psycopg.Error)
        return error.__cause__.sqlstate or "?"
    return ""


def insert(table: str) -> str:
    """Puts a row there that is given as JSON, but for what the database generates."""
    found = rows(
        "SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'",
        [table],
    )
    names = found[0][0]
    return f"INSERT INTO {table} ({names}) SELECT {names} FROM jsonb_populate_record(NULL::{table}, %s::jsonb)"


def assert_out_of_reach(table: str, row: dict[str, Any]) -> None:
    """Nothing is read, changed, removed or put there for the tenant of `row`."""
    mine = f"FROM {table} WHERE tenant_id = %s"
    tenant = [row["tenant_id"]]
    assert rows(f"SELECT count(*) {mine}", tenant) == [(0,)], table
    for (column,) in rows(
        "SELECT column_name FROM information_schema.column_privileges WHERE table_name = %s AND privilege_type = 'UPDATE' LIMIT 1", [table]
    ):
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET {column} = {column}")
            assert cursor.rowcount == 0, table
    ((deletes,),) = rows("SELECT has_table_privilege(%s, 'DELETE')", [table])
    if deletes:
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE {mine}", tenant)
            assert cursor.rowcount == 0, table
    # 42501: the policy. 23503: a trigger before it, which does not see what the row refers to either.
    assert refusal(insert(table), [json.dumps(row)]) in ("42501", "23503"), table


@pytest.mark.parametrize("whose", ["another tenant's", "none after one", "none at all"])
def test_raw_sql_in_the_wrong_tenant_gets_nothing(world: World, whose: str) -> None:
    everything(world)
    stranger = make.tenant("stranger")
    protected = [table for (table,) in rows(TENANT_TABLES) if table not in EXCEPTIONS]
    samples = {
        table: found[0][0] if isinstance(found[0][0], dict) else json.loads(found[0][0])
        for table in protected
        if (found := rows(f"SELECT to_jsonb(t) FROM {table} t WHERE tenant_id = %s LIMIT 1", [world.tenant.pk]))
    }
    assert set(protected) == set(samples), "make a row of it in `everything`"
    with in_production(), transaction.atomic():
        if whose == "another tenant's":
            set_tenant(stranger.pk)
        elif whose == "none after one":
            set_tenant("")
        for table, row in samples.items():
            assert_out_of_reach(table, row)


def test_the_tenants_own_transaction_sees_and_writes_its_rows(world: World) -> None:
    """So that the test above cannot pass because nobody sees anything."""
    everything(world)
    with in_production(), in_tenant(world.tenant.pk):
        for (table,) in rows(TENANT_TABLES):
            if table not in EXCEPTIONS:
                assert rows(f"SELECT count(*) > 0 FROM {table} WHERE tenant_id = %s", [world.tenant.pk]) == [(True,)], table
        with connection.cursor() as cursor:
            cursor.execute("UPDATE telemetry_producer SET last_seq = last_seq")
            assert cursor.rowcount == 1


def test_shared_rows_are_read_by_all_and_written_by_platform(db: None) -> None:
    pack = make.own_pack(make.platform(), "shared-pack")
    made = make.eval_set(make.platform(), pack)
    acme = make.tenant("acme")
    with in_production(), in_tenant(acme.pk), connection.cursor() as cursor:
        assert rows("SELECT count(*) FROM evals_evalset WHERE id = %s", [made.pk]) == [(1,)]
        cursor.execute("UPDATE evals_evalset SET title = 'mine'")
        assert cursor.rowcount == 0
    with in_production(), in_tenant(make.platform().pk), connection.cursor() as cursor:
        cursor.execute("UPDATE evals_evalset SET title = 'ours'")
        assert cursor.rowcount == 1


def test_a_transaction_inside_anothers_gives_the_tenant_back(db: None) -> None:
    def bound() -> UUID | None:
        return rows("SELECT NULLIF(current_setting('app.tenant', true), '')::uuid")[0][0]  # type: ignore[no-any-return]

    one, other = make.tenant("one").pk, make.tenant("other").pk
    with in_tenant(one):
        with in_tenant(other):
            assert bound() == other
        assert bound() == one
        with pytest.raises(LookupError), in_tenant(other):
            raise LookupError
        assert bound() == one
    assert bound() is None


@pytest.mark.django_db
def test_functions_across_tenants_are_listed_pinned_and_for_the_application_only() -> None:
    found = rows(
        "SELECT p.oid::regprocedure::text, p.proconfig, has_function_privilege('mc_app', p.oid, 'EXECUTE'),"
        " EXISTS (SELECT 1 FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0)"
        " FROM pg_proc p WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace"
    )
    assert {name for name, *_ in found} == {*FUNCTIONS, *LAWS}
    for name, config, granted, public in found:
        assert config == ["search_path=pg_catalog, public, pg_temp"] and granted == (name in FUNCTIONS) and not public, name


def test_functions_across_tenants_answer_for_all(world: World, client: Client) -> None:
    asked = world.request(world.draft()["id"])
    sending.harness(world.tenant).send(sending.run())
    other = sending.harness()
    other.send(sending.run())
    record = IdempotencyRecord.objects.create(tenant_id=other.tenant.pk, actor="a", route="r", key="k", body_hash=b"1" * 32)
    IdempotencyRecord.objects.filter(pk=record.pk).update(created_at=timezone.now() - timedelta(hours=30))
    kept = IdempotencyRecord.objects.create(tenant_id=other.tenant.pk, actor="a", route="r", key="l", body_hash=b"1" * 32)
    with in_production():
        assert {tenant for (tenant,) in rows("SELECT tenant_id FROM telemetry_waiting()")} == {world.tenant.pk, other.tenant.pk}
        assert rows("SELECT id::text, tenant_id, due FROM promotions_open()") == [(asked["id"], world.tenant.pk, False)]
        assert world.tenant.pk in {tenant for (tenant,) in rows("SELECT tenant_id FROM audit_chains()")}
        # However soon it is asked for, an answer of the last hour stays.
        assert rows("SELECT core_forget_answers(%s)", [timezone.now() + timedelta(hours=1)]) == [(1,)]
    assert list(IdempotencyRecord.objects.values_list("key", flat=True)) == [kept.key]
    assert not Producer.objects.exists()


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
    people = [make.context(house.pk, "tenant_admin"), make.context(house.pk, "manager")]
    with in_production():
        before = world.call("agent", "get", "resolve?pack=desk&user=u-42", expected=200)["content"]["sections"]["role"]["text"]
        assert "We promise." in before and "Promise me." in before
        rule = {"constraints": [{"rule": "forbid_text", "value": "(?i)promise"}]}
        draft = make.version(house, "house-rules", "global", rule)
        asked = request_promotion(ctx=make.context(house.pk, "tenant_admin"), version_id=draft.pk, aim="policy", invalid="suspend")
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
