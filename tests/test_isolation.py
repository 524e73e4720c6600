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
from apps.identity.models import AgentToken, ApiToken, Membership, OidcProvider, Tenant, User
from apps.notices.models import Delivery
from apps.notices.services import create_webhook
from apps.promotions.tasks import reassess_due
from apps.telemetry.models import OpenTraces, Producer
from apps.telemetry.tasks import roll_up_task
from mission_control.grants import FUNCTIONS, LAWS
from tests import factories as make
from tests.everything import everything
from tests.isolation import POLICY, in_production
from tests.notices.telling import told
from tests.promotions.test_loop import World, better, world
from tests.telemetry import sending

__all__ = ["world"]

TENANT_TABLES = """
SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
AND (c.relname IN ('identity_tenant', 'identity_organisation', 'identity_user', 'identity_historicaltenant',
        'identity_historicalorganisation', 'identity_historicaluser')
    OR EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'))
ORDER BY c.relname
"""
# Those that have no `tenant_id`: which of their rows are a tenant's.
OF_TENANT = {
    "identity_tenant": "id = %s",
    "identity_organisation": "id IN (SELECT organisation_id FROM identity_tenant WHERE id = %s)",
    "identity_user": "id IN (SELECT user_id FROM identity_acquaintance WHERE tenant_id = %s)",
}
OF_TENANT |= {table.replace("_", "_historical"): condition for table, condition in OF_TENANT.items()}
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
def test_every_tenant_table_is_protected() -> None:
    assert unprotected() == []


@pytest.mark.django_db(transaction=True)
def test_a_new_table_without_a_policy_is_noticed(owner_sql: Any) -> None:
    owner_sql("CREATE TABLE core_forgotten (id integer, tenant_id uuid)")
    assert "core_forgotten" in unprotected()


def of_tenant(table: str) -> str:
    """The condition that a row of the table is a tenant's."""
    return OF_TENANT.get(table, "tenant_id = %s")


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
    # Those without a `tenant_id` are known by their own key: which tenant they belong to cannot be asked here.
    key = "tenant_id" if "tenant_id" in row else "id"
    mine = f"FROM {table} WHERE {key} = %s"
    tenant = [row[key]]
    assert rows(f"SELECT count(*) {mine}", tenant) == [(0,)], table
    for (column,) in rows(
        "SELECT column_name FROM information_schema.column_privileges WHERE table_name = %s AND privilege_type = 'UPDATE' LIMIT 1", [table]
    ):
        with connection.cursor() as cursor:
            # The stranger's own row of this one is theirs to change.
            where = f"WHERE id = '{row['id']}'" if table in ("identity_tenant", "identity_organisation") else ""
            cursor.execute(f"UPDATE {table} SET {column} = {column} {where}")
            assert cursor.rowcount == 0, table
    ((deletes,),) = rows("SELECT has_table_privilege(%s, 'DELETE')", [table])
    if deletes:
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE {mine}", tenant)
            assert cursor.rowcount == 0, table
    # 42501: the policy. 23503: a trigger before it, which does not see what the row refers to either.
    # A person is nobody's: any tenant may make an account, for an address that has none.
    refusals = ("42501", "23503", "23505") if table == "identity_user" else ("42501", "23503")
    assert refusal(insert(table), [json.dumps(row)]) in refusals, table


@pytest.mark.parametrize("whose", ["another tenant's", "none after one", "none at all"])
def test_raw_sql_in_the_wrong_tenant_gets_nothing(world: World, whose: str) -> None:
    everything(world)
    stranger = make.tenant("stranger")
    protected = [table for (table,) in rows(TENANT_TABLES)]
    samples = {
        table: found[0][0] if isinstance(found[0][0], dict) else json.loads(found[0][0])
        for table in protected
        if (found := rows(f"SELECT to_jsonb(t) FROM {table} t WHERE {of_tenant(table)} LIMIT 1", [world.tenant.pk]))
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
            assert rows(f"SELECT count(*) > 0 FROM {table} WHERE {of_tenant(table)}", [world.tenant.pk]) == [(True,)], table
        with connection.cursor() as cursor:
            cursor.execute("UPDATE telemetry_producer SET last_seq = last_seq")
            assert cursor.rowcount == 1


def test_shared_rows_are_read_by_all_and_written_by_platform(db: None) -> None:
    platform = make.platform()
    pack = make.own_pack(platform, "shared-pack")
    made = make.eval_set(platform, pack)
    acme = make.tenant("acme")
    with in_production(), in_tenant(acme.pk), connection.cursor() as cursor:
        assert rows("SELECT count(*) FROM evals_evalset WHERE id = %s", [made.pk]) == [(1,)]
        cursor.execute("UPDATE evals_evalset SET title = 'mine'")
        assert cursor.rowcount == 0
    with in_production(), in_tenant(platform.pk), connection.cursor() as cursor:
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
    awaited = world.request(world.draft()["id"])
    world.answer(better(world.live))
    reassess_due()
    asked = world.request(world.draft("You say hello, twice.")["id"])
    sending.harness(world.tenant).send(sending.run())
    other = sending.harness()
    other.send(sending.run(provider="openai", model_id="gpt-5-mini"))
    record = IdempotencyRecord.objects.create(tenant_id=other.tenant.pk, actor="a", route="r", key="k", body_hash=b"1" * 32)
    IdempotencyRecord.objects.filter(pk=record.pk).update(created_at=timezone.now() - timedelta(hours=30))
    kept = IdempotencyRecord.objects.create(tenant_id=other.tenant.pk, actor="a", route="r", key="l", body_hash=b"1" * 32)
    person = make.user()
    groups = [make.group(tenant, person) for tenant in (world.tenant, other.tenant)]
    told(world.tenant)
    OpenTraces.objects.create(tenant=other.tenant, roots=["a" * 32], due_at=timezone.now())
    waiting, spread = told(other.tenant), told(other.tenant, kind="promotions.decided")
    hook = create_webhook(ctx=make.system(other.tenant.pk), name="chat", url="http://127.0.0.1:9/in", events=["promotions.decided"]).webhook
    Delivery.objects.create(tenant=other.tenant, notice=spread, channel="webhook", webhook=hook, next_attempt_at=timezone.now())
    with in_production():
        assert {tenant for (tenant,) in rows("SELECT tenant_id FROM notices_waiting()")} >= {world.tenant.pk, waiting.tenant_id}
        due = rows("SELECT tenant_id, webhook_id FROM notices_due(%s)", [timezone.now()])
        assert due == [(other.tenant.pk, hook.pk)] and rows(
            "SELECT count(*) FROM notices_due(%s)", [timezone.now() - timedelta(days=1)]
        ) == [(0,)]
        assert rows("SELECT notices_forget(%s)", [timezone.now() + timedelta(hours=1)]) == [(0,)]
        found = rows("SELECT tenant_id, group_id, until FROM identity_groups_of(%s)", [person.pk])
        assert set(found) == {(group.tenant_id, group.group_id, None) for group in groups}
        assert {tenant for (tenant,) in rows("SELECT tenant_id FROM telemetry_waiting()")} == {world.tenant.pk, other.tenant.pk}
        soon = timezone.now() + timedelta(minutes=1)
        assert rows("SELECT tenant_id FROM telemetry_traces_due(%s)", [soon]) == [(other.tenant.pk,)]
        assert rows("SELECT count(*) FROM telemetry_traces_due(%s)", [timezone.now() - timedelta(days=1)]) == [(0,)]
        assert {tenant for (tenant,) in rows("SELECT tenant_id FROM telemetry_unrolled()")} == {world.tenant.pk, other.tenant.pk}
        roll_up_task()
        assert {tenant for (tenant,) in rows("SELECT tenant_id FROM telemetry_model_tenants()")} == {other.tenant.pk}
        # What is hot stays, whatever is asked for.
        later = timezone.now() + timedelta(days=1)
        assert rows("SELECT telemetry_forget_rollups(%s, %s, %s), telemetry_forget_postings(%s)", [later] * 4) == [(0, 0)]
        assert rows("SELECT id::text, tenant_id, due FROM promotions_open() ORDER BY id") == [
            (each["id"], world.tenant.pk, False) for each in (awaited, asked)
        ]
        assert rows("SELECT id::text, tenant_id FROM promotions_waiting()") == [(awaited["id"], world.tenant.pk)]
        assert world.tenant.pk in {tenant for (tenant,) in rows("SELECT tenant_id FROM audit_chains()")}
        # However soon it is asked for, an answer of the last hour stays.
        assert rows("SELECT core_forget_answers(%s)", [timezone.now() + timedelta(hours=1)]) == [(1,)]
    assert list(IdempotencyRecord.objects.values_list("key", flat=True)) == [kept.key]
    assert not Producer.objects.exists()


def test_a_token_is_found_before_its_tenant_is_known(db: None) -> None:
    acme, other = make.tenant("acme"), make.tenant("other")
    agent = make.agent(acme, "bot", team=make.team(acme), default_pack="desk")
    person = make.user(other, "viewer")
    now = timezone.now()
    by_agent, by_person = make.agent_token(agent, scopes=["resolve"]), make.api_token(person, other)
    dead = [
        make.agent_token(agent, revoked_at=now),
        make.agent_token(agent, expires_at=now),
        make.agent_token(make.agent(acme, status="suspended")),
        make.api_token(person, other, revoked_at=now),
        make.api_token(make.user(other, "viewer", email="off@other.test"), other),
        make.agent_token(make.agent(make.tenant("shut"))),
    ]
    User.objects.filter(email="off@other.test").update(is_active=False)
    Tenant.objects.filter(slug="shut").update(status="suspended")
    ask = "SELECT kind, scopes, tenant_id, tenant, tier, holder_id, holder, team, default_pack FROM identity_token(%s)"
    with in_production():
        assert rows(ask, [by_agent.split("_")[1]]) == [
            ("agent", ["resolve"], acme.pk, "acme", "enterprise", agent.pk, "bot", "support", "desk")
        ]
        assert rows(ask, [by_person.split("_")[1]]) == [("user", [], other.pk, "other", "enterprise", person.pk, person.email, None, "")]
        assert not any(rows(ask, [token.split("_")[1]]) for token in dead) and not rows(ask, ["%"]) and not rows(ask, [None])
        ids = [token.pk for token in (*AgentToken.objects.all(), *ApiToken.objects.all())]
        assert ids == [], "without a tenant nothing is listed"
    tokens = [AgentToken.objects.get(prefix=by_agent.split("_")[1]), ApiToken.objects.get(prefix=by_person.split("_")[1])]
    with in_production():
        rows("SELECT identity_tokens_used(%s, %s)", [[token.pk for token in tokens], [now, now]])
        with in_tenant(acme.pk):
            assert refusal("UPDATE identity_agenttoken SET last_used_at = now()") == "42501", "written by the function alone"
    for token in tokens:
        token.refresh_from_db()
    assert [token.last_used_at for token in tokens] == [now, now]
    assert AgentToken.objects.filter(last_used_at__isnull=False).count() == 1


def test_a_person_signs_in_before_their_tenant_is_known(db: None) -> None:
    one, two, shut = make.tenant("one"), make.tenant("two"), make.tenant("shut")
    person = make.user(one, "viewer", email="ann@one.test", password="correct horse battery")
    for tenant, until in ((two, timezone.now() - timedelta(days=1)), (shut, None)):
        Membership.objects.create(tenant=tenant, user=person, role="author", until=until)
    Tenant.objects.filter(pk=shut.pk).update(status="suspended")
    invited, nobody = make.user(one, "viewer", email="new@one.test"), make.user(email="off@one.test")
    User.objects.filter(pk=person.pk).update(issuer="https://id.test", subject="s-1")
    User.objects.filter(pk=nobody.pk).update(is_active=False)
    make.provider(one, "one-sso", groups={"staff": "viewer"})
    make.provider(shut, "shut-sso")
    off = make.provider(two, "two-sso")
    OidcProvider.objects.filter(pk=off.pk).update(enabled=False)
    Tenant.objects.create(organisation=one.organisation, slug="gone", name="Gone", tier="team", status="deleted")
    with in_production():
        assert rows("SELECT * FROM identity_tenants_of(%s)", [person.pk]) == [(one.pk, "one", "One", "enterprise")]
        assert rows("SELECT * FROM identity_tenants_of(%s)", [nobody.pk]) == []
        asked = [(invited.pk, one.pk), (person.pk, one.pk), (nobody.pk, one.pk)]
        assert [rows("SELECT identity_only_in(%s, %s)", pair)[0][0] for pair in asked] == [True, False, False]
        assert rows("SELECT * FROM identity_tenant_by_slug('shut')") == [(shut.pk, "shut", "Shut", "enterprise", "suspended")]
        assert rows("SELECT * FROM identity_tenant_by_slug('gone')") == []
        named = "SELECT identity_provider_tenant(%s)"
        assert [rows(named, [slug])[0][0] for slug in ("one-sso", "shut-sso", "two-sso", "none")] == [one.pk, None, None, None]
        assert rows("SELECT * FROM identity_sign_in_choices()") == [("one-sso", "One-Sso")]
        assert rows("SELECT id, email FROM identity_person(%s)", [person.pk]) == [(person.pk, "ann@one.test")]
        assert rows("SELECT id FROM identity_person(%s)", [nobody.pk]) == []
        assert rows("SELECT id, is_active FROM identity_person_to_sign_in('off@one.test')") == [(nobody.pk, False)]
        at = "SELECT identity_person_at(%s)"
        assert [rows(at, [email])[0][0] for email in ("new@one.test", "%")] == [invited.pk, None]
        of = "SELECT identity_person_of(%s, %s)"
        assert rows(of, ["https://id.test", "s-1"]) == [(person.pk,)] and rows(of, ["https://id.test", "s-2"]) == [(None,)]
        rows("SELECT identity_signed_in(%s)", [person.pk])
        with in_tenant(one.pk):
            assert refusal("UPDATE identity_user SET last_login = now()") == "42501", "written by the function alone"
    assert list(User.objects.filter(last_login__isnull=False)) == [person]


def test_every_process_hears_of_every_tenants_changes(db: None) -> None:
    one, other = make.tenant("one").pk, make.tenant("other").pk
    with in_production():
        ((before, floor, *_),) = rows("SELECT * FROM core_changes(0)")
        assert before == floor, "nothing is kept yet"
        with in_tenant(one):
            rows("SELECT core_note_changes(%s, %s)", [["packs", "tokens"], [one, other]])
            assert rows("SELECT generation, tenant_id FROM core_change") == [(before + 1, one)]
            assert refusal("INSERT INTO core_change VALUES (99, 'packs', %s, now())", [one]) == "42501"
            assert refusal("UPDATE core_changecounter SET value = 0") == "42501"
        assert rows("SELECT * FROM core_changes(%s)", [before]) == [
            (before + 2, before, before + 1, "packs", one),
            (before + 2, before, before + 2, "tokens", other),
        ]
        # However soon it is asked for, a change of the last minutes stays.
        assert rows("SELECT core_forget_changes(%s)", [timezone.now() + timedelta(hours=1)]) == [(0,)]


@pytest.mark.django_db(transaction=True)
def test_changes_that_all_have_heard_of_go_but_for_the_newest(owner_sql: Any) -> None:
    one = make.tenant("one").pk
    with in_production():
        rows("SELECT core_note_changes(%s, %s)", [["packs", "tokens"], [one, one]])
        owner_sql("UPDATE core_change SET created_at = now() - interval '2 hours'")
        assert rows("SELECT core_forget_changes(%s)", [timezone.now() - timedelta(hours=1)]) == [(1,)]
        assert [found[2:4] for found in rows("SELECT * FROM core_changes(0)")] == [(2, "tokens")]
