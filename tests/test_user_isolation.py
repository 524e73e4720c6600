"""One user's content is out of reach in its own tenant too, unless it is read for that user or for all of them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from apps.core.context import EVERY_USER, ActionContext, Actor, RoleGrant, for_every_user, in_tenant, one_user, set_tenant
from apps.core.errors import Problem
from apps.evals.tasks import score_runs
from apps.identity.models import Membership, User
from apps.packs.models import Layer, PackVersion
from apps.packs.selectors import effective_for
from apps.packs.services.packs import update_pack
from apps.promotions.models import ApprovalReminder
from apps.promotions.services.going_live import bootstrap
from apps.promotions.tasks import reassess_due
from apps.telemetry.models import Run
from tests import factories as make
from tests.isolation import in_production
from tests.promotions.test_loop import RUBRIC, World, better, world
from tests.telemetry import sending
from tests.test_isolation import insert, refusal, rows

__all__ = ["world"]

# Tables that name a user, or refer to a row of one, and hold none of their content.
EXCEPTIONS = {
    "identity_membership": "says who a reference is",
    "packs_subscription": "pins versions of the shared library, which has no users",
    "identity_historicalmembership": "as the membership, and without the reference",
    "packs_historicalsubscription": "as the subscription",
}
# They belong with a run by its id, without a foreign key: references between partitions would cost ingest too much.
BY_RUN = {"telemetry_event", "telemetry_runscore"}
# Tables with a `user_ref`, those with a foreign key to one of them or to such a table again, and the history of all these.
OF_USERS = """
WITH RECURSIVE found (oid) AS (
    SELECT c.oid FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'user_ref' AND NOT a.attisdropped
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    UNION SELECT k.conrelid FROM pg_constraint k JOIN found ON found.oid = k.confrelid
    WHERE k.contype = 'f' AND found.oid <> 'identity_membership'::regclass
) SELECT oid::regclass::text FROM found
UNION SELECT h.relname FROM found JOIN pg_class c ON c.oid = found.oid
JOIN pg_class h ON h.relname = regexp_replace(c.relname, '_', '_historical') AND h.relnamespace = c.relnamespace ORDER BY 1
"""
RESTRICTED = """
SELECT tablename FROM pg_policies WHERE schemaname = 'public' AND permissive = 'RESTRICTIVE' AND cmd = 'ALL' AND roles = '{public}'
AND strpos(qual, 'app.user_ref') > 0 AND with_check = qual
"""


def unrestricted() -> set[str]:
    """Tables of users' content without a policy that restricts them by user."""
    return {table for (table,) in rows(OF_USERS)} - {table for (table,) in rows(RESTRICTED)}


@pytest.mark.django_db
def test_every_table_of_users_content_is_restricted_but_for_those_named_here() -> None:
    assert unrestricted() == set(EXCEPTIONS)
    assert {table for (table,) in rows(RESTRICTED)} == {table for (table,) in rows(OF_USERS)} - set(EXCEPTIONS) | BY_RUN


@pytest.mark.django_db(transaction=True)
def test_a_new_table_that_names_users_is_noticed(owner_sql: Any) -> None:
    owner_sql("CREATE TABLE core_forgotten (id integer PRIMARY KEY, user_ref text)")
    owner_sql("CREATE TABLE core_child (forgotten_id integer REFERENCES core_forgotten)")
    assert unrestricted() == {*EXCEPTIONS, "core_forgotten", "core_child"}


def content_of(world: World, user: str) -> None:
    """One of everything that can be a user's: a layer that is live, its challenger judged and approved, runs with events and scores."""
    ctx = make.system(world.tenant.pk)
    scope = f"user:acme/{user}"
    bootstrap(ctx=ctx, version_id=make.version(world.tenant, "desk", scope, make.content("Call me Bo.", rubric=RUBRIC)).pk)
    asked = world.request(world.draft(scope=scope)["id"], aim="policy")
    world.answer(better(world.live))
    reassess_due()
    ApprovalReminder.objects.create(tenant=world.tenant, promotion_id=asked["id"], kind="first", since=timezone.now())
    world.call("manager", "post", f"promotions/{asked['id']}/approve/", {}, 200)
    world.call("agent", "post", "suggestions/", {"pack": "desk", "scope": scope, "content": make.content("Call me B.")}, 201)
    harness = sending.harness(world.tenant)
    run = sending.run(user_ref=user)
    harness.send(run)
    harness.send_events(sending.event(run_id=run["run_id"]))
    score_runs()


def visible(tenant_id: UUID, users: str | None) -> dict[str, set[str]]:
    """What raw SQL finds: table -> keys."""
    found = {}
    with in_production(), transaction.atomic():
        set_tenant(tenant_id, users)
        for (table,) in rows(RESTRICTED):
            found[table] = {str(key) for (key,) in rows(f"SELECT id FROM {table} WHERE tenant_id = %s", [tenant_id])}
    return found


def test_raw_sql_for_another_user_or_for_nobody_gets_nothing(world: World) -> None:
    stranger = make.tenant("stranger")
    before = visible(world.tenant.pk, EVERY_USER)
    content_of(world, "u-42")
    every = visible(world.tenant.pk, EVERY_USER)
    theirs = {table: every[table] - before[table] for table in every}
    assert all(theirs.values()), "make a row of it in `content_of`"
    assert visible(world.tenant.pk, "u-42") == every
    for users in (None, "", "u-4", "u-421", "u-42 "):
        found = visible(world.tenant.pk, users)
        assert {table: found[table] & theirs[table] for table in every} == {table: set() for table in every}, users
    assert not any(visible(stranger.pk, EVERY_USER).values())


@pytest.mark.parametrize("users", ["", "u-7"])
def test_nobody_else_writes_into_a_users_content(world: World, users: str) -> None:
    content_of(world, "u-42")
    samples = {}
    for table, keys in visible(world.tenant.pk, "u-42").items():
        ((row,),) = rows(f"SELECT to_jsonb(t) FROM {table} t WHERE id = %s LIMIT 1", [max(keys)])
        samples[table] = row if isinstance(row, dict) else json.loads(row)
    with in_production(), in_tenant(world.tenant.pk, users), connection.cursor() as cursor:
        for table, row in samples.items():
            for (column,) in rows(
                "SELECT column_name FROM information_schema.column_privileges WHERE table_name = %s AND privilege_type = 'UPDATE' LIMIT 1",
                [table],
            ):
                cursor.execute(f"UPDATE {table} SET {column} = {column} WHERE id = %s", [row["id"]])
                assert cursor.rowcount == 0, table
            assert refusal(insert(table), [json.dumps(row)]) in ("42501", "23503"), table


def resolved(client: Client, token: str, query: str) -> str:
    response = client.get(f"/api/v1/resolve?pack=desk{query}", headers=make.bearer(token))
    assert response.status_code == 200, response.content
    return str(response.json()["content"]["sections"]["role"]["text"])


def test_resolve_reads_for_the_user_that_it_names(world: World) -> None:
    make.champion(world.tenant, "desk", "user:acme/u-42", make.content("Call me Bo."))
    assert "Bo" in resolved(world.client, world.agent, "&user=u-42")
    for query in ("", "&user=u-7", "&user=*", "&user="):
        assert resolved(world.client, world.agent, query) == "You answer.", query
    assert one_user("*") == one_user(None) == "" and one_user("u-42") == "u-42"
    with pytest.raises(Problem):
        make.version(world.tenant, "desk", "user:acme/*")


def person(world: World, team: Any, user_ref: str = "") -> ActionContext:
    """A person whose role is in one team only."""
    user = User.objects.create_user(f"someone-{user_ref or 'else'}@acme.test")
    Membership.objects.create(tenant=world.tenant, user=user, role="viewer", team=team, user_ref=user_ref)
    return ActionContext(Actor("user", user.pk, user.email), world.tenant.pk, "api", frozenset({RoleGrant("viewer", team.pk)}))


def test_people_of_a_team_see_their_own_content_and_people_of_the_tenant_everybodys(world: World) -> None:
    content_of(world, "u-42")
    team = make.team(world.tenant)
    own, other, star, none = (person(world, team, user_ref) for user_ref in ("u-42", "u-7", "*", ""))
    whole = make.context(world.tenant.pk, "viewer")
    version = PackVersion.objects.filter(layer__scope="user:acme/u-42").latest("number")
    with in_production():
        for ctx, seen in ((own, True), (other, False), (star, False), (none, False), (whole, True)):
            with ctx.transaction():
                assert Layer.objects.filter(scope="user:acme/u-42").exists() is seen
                assert Run.objects.filter(user_ref="u-42").exists() is seen
                # What is nobody's own is there for all of them.
                assert Layer.objects.filter(scope="tenant:acme", pack__slug="desk").exists()
                text = effective_for(ctx, pack_slug="desk", user="u-42").effective.content["sections"]["role"]["text"]
                assert ("Bo" in text) is seen
                if not seen:
                    with pytest.raises(Problem) as hidden:
                        PackVersion.objects.visible(ctx, pk=version.pk)
                    assert hidden.value.code == "not_found"


def test_an_agents_token_reaches_nobodys_content_by_itself(world: World) -> None:
    content_of(world, "u-42")
    agent = ActionContext(Actor("agent", None, "acme/a"), world.tenant.pk, "api", frozenset({RoleGrant("agent")}))
    with in_production(), agent.transaction():
        assert not Run.objects.filter(user_ref="u-42").exists() and not Layer.objects.filter(scope_type="user").exists()


def test_a_reach_that_is_widened_is_given_back(world: World) -> None:
    def bound() -> str:
        return str(rows("SELECT current_setting('app.user_ref', true)")[0][0])

    with in_tenant(world.tenant.pk, "u-7"):
        with for_every_user():
            assert bound() == EVERY_USER
        assert bound() == "u-7"
        with pytest.raises(LookupError), for_every_user():
            raise LookupError
        assert bound() == "u-7"
        with in_tenant(world.tenant.pk, "u-8"):
            assert bound() == "u-8"
        assert bound() == "u-7"


def test_what_is_shared_is_seen_and_not_changed(world: World) -> None:
    make.own_pack(make.platform(), "shared-desk")
    ctx = make.context(world.tenant.pk, "tenant_admin")
    with in_production(), pytest.raises(Problem) as refused:
        update_pack(ctx=ctx, slug="shared-desk", title="Mine")
    assert refused.value.code == "permission_denied"
