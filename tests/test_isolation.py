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

from apps.core.context import in_tenant, set_tenant
from apps.core.models import IdempotencyRecord
from apps.evals.models import EvalSet
from apps.evals.tasks import score_runs
from apps.identity.services import grant
from apps.promotions.tasks import reassess_due
from apps.telemetry.models import Producer
from mission_control.grants import FUNCTIONS
from tests import factories as make
from tests.isolation import POLICY, in_production
from tests.promotions.test_loop import World, better, world
from tests.telemetry import sending

__all__ = ["world"]

# Tables of tenants without policies. What they hold is asked for before any tenant is known, or by every process for all tenants; the
# application's own filter (`restrict`) and the caches' keys stand alone there.
EXCEPTIONS = {
    "core_change": "every process hears of every tenant's changes; a row holds an id and a topic",
    "packs_pack": "read by resolve and the blast radius outside a tenant's transaction",
    "packs_layer": "read by resolve and the blast radius outside a tenant's transaction",
    "packs_packversion": "read by resolve and the blast radius outside a tenant's transaction",
    "packs_pointerchange": "read by resolve and the blast radius outside a tenant's transaction",
    "packs_subscription": "read by resolve and the blast radius outside a tenant's transaction",
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
POLICIES = "SELECT policyname, cmd, roles::text[] FROM pg_policies WHERE schemaname = 'public' AND tablename = %s"


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
    group = make.group(world.tenant, make.user())
    team = make.team(world.tenant)
    for obj in (world.live.layer.pack, team, make.agent(world.tenant, team=team), EvalSet.objects.filter(tenant=world.tenant).first()):
        grant(ctx=make.system(world.tenant.pk), group_id=group.pk, obj=obj, actions=["view"])


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
    put = f"INSERT INTO {table} SELECT (jsonb_populate_record(NULL::{table}, %s::jsonb)).*"
    assert refusal(put, [json.dumps(row)]) in ("42501", "23503"), table


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
    assert {name for name, *_ in found} == set(FUNCTIONS)
    for name, config, granted, public in found:
        assert config == ["search_path=pg_catalog, public, pg_temp"] and granted and not public, name


def test_functions_across_tenants_answer_for_all(world: World, client: Client) -> None:
    asked = world.request(world.draft()["id"])
    sending.harness(world.tenant).send(sending.run())
    other = sending.harness()
    other.send(sending.run())
    record = IdempotencyRecord.objects.create(tenant_id=other.tenant.pk, actor="a", route="r", key="k", body_hash=b"1" * 32)
    IdempotencyRecord.objects.filter(pk=record.pk).update(created_at=timezone.now() - timedelta(hours=30))
    kept = IdempotencyRecord.objects.create(tenant_id=other.tenant.pk, actor="a", route="r", key="l", body_hash=b"1" * 32)
    person = make.user()
    groups = [make.group(tenant, person) for tenant in (world.tenant, other.tenant)]
    with in_production():
        found = rows("SELECT tenant_id, group_id, until FROM identity_groups_of(%s)", [person.pk])
        assert set(found) == {(group.tenant_id, group.group_id, None) for group in groups}
        assert {tenant for (tenant,) in rows("SELECT tenant_id FROM telemetry_waiting()")} == {world.tenant.pk, other.tenant.pk}
        assert rows("SELECT id::text, tenant_id, due FROM promotions_open()") == [(asked["id"], world.tenant.pk, False)]
        assert world.tenant.pk in {tenant for (tenant,) in rows("SELECT tenant_id FROM audit_chains()")}
        # However soon it is asked for, an answer of the last hour stays.
        assert rows("SELECT core_forget_answers(%s)", [timezone.now() + timedelta(hours=1)]) == [(1,)]
    assert list(IdempotencyRecord.objects.values_list("key", flat=True)) == [kept.key]
    assert not Producer.objects.exists()
