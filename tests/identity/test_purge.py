from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connection

from apps.audit.models import Event
from apps.audit.services import verify_tenant
from apps.core.context import Topic
from apps.core.generations import bump
from apps.identity import services
from apps.identity.models import Organisation, Tenant, TenantStatus, User
from apps.identity.selectors import platform_id
from apps.notices.services import choose_emails, create_webhook
from apps.notices.services.notifying import spread_waiting
from tests import factories as make
from tests.notices.telling import told

BOTH = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
OwnerSql = Callable[..., list[tuple[Any, ...]]]


def furnished(slug: str) -> Tenant:
    """A tenant with rows in every room that tests can fill."""
    tenant = make.tenant(slug)
    team = make.team(tenant)
    admin = make.user(tenant, "tenant_admin", email=f"admin@{slug}.test")
    ctx = make.context(tenant.pk, "tenant_admin", user=admin)
    services.add_member(ctx=ctx, email=f"only@{slug}.test", role="viewer", team=team.slug)
    services.create_agent(ctx=ctx, slug="a", team=team.slug)
    services.issue_agent_token(ctx=ctx, agent="a")
    services.issue_api_token(ctx=ctx)
    pack = make.own_pack(tenant)
    make.champion(tenant, pack.slug, f"tenant:{slug}")
    make.eval_set(tenant, pack)
    create_webhook(ctx=ctx, name="chat", url="http://127.0.0.1:9/", events=["promotions.decided"])
    told(tenant, admin, kind="promotions.decided")
    spread_waiting(ctx=ctx)
    choose_emails(ctx=ctx, wanted={"promotions.decided": False})
    with ctx.transaction():
        bump(ctx, Topic.PACKS, tenant.pk)
    return tenant


def counts(owner_sql: OwnerSql, tenant: Tenant) -> dict[str, int]:
    """Table -> rows of the tenant, over every table that has the column, partitions too."""
    tables = owner_sql(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
        " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace"
    )
    found = {table: owner_sql(f'SELECT count(*) FROM "{table}" WHERE tenant_id = %s', [tenant.pk])[0][0] for (table,) in tables}
    return {table: rows for table, rows in found.items() if rows}


@BOTH
def test_a_purged_tenant_leaves_no_row_and_all_else_stays_and_verifies(owner_sql: OwnerSql) -> None:
    gone, kept = furnished("gone"), furnished("kept")
    shared, only = User.objects.get(email="admin@gone.test"), User.objects.get(email="only@gone.test").pk
    services.add_member(ctx=make.system(kept.pk), email=shared.email, role="viewer")
    before_kept = counts(owner_sql, kept)
    assert {
        "identity_agenttoken",
        "identity_historicalmembership",
        "packs_historicallayer",
        "packs_packversion",
        "evals_evalcase",
        "audit_event",
        "audit_eventtext",
        "audit_head",
        "core_change",
    } <= set(counts(owner_sql, gone))
    services.delete_tenant(ctx=make.context(platform_id(), "tenant_admin"), slug="gone")

    out = StringIO()
    call_command("purge_tenant", "gone", "--yes", stdout=out)

    assert counts(owner_sql, gone) == {}
    history = Tenant.history.filter(id=gone.pk), Organisation.history.filter(id=gone.organisation_id), User.history.filter(id=only)
    assert not any(rows.exists() for rows in history) and User.history.filter(id=shared.pk).exists()
    assert not Tenant.objects.filter(slug="gone").exists() and not Organisation.objects.filter(slug="org-gone").exists()
    # People go with the last that refers to them.
    assert User.objects.filter(pk=shared.pk).exists() and not User.objects.filter(email="only@gone.test").exists()
    assert counts(owner_sql, kept) == before_kept
    assert verify_tenant(kept.pk) is None and verify_tenant(platform_id()) is None and verify_tenant(gone.pk) is None
    event = Event.objects.filter(tenant_id=platform_id()).latest("seq")
    assert (event.action, event.object_id, event.data["slug"]) == ("identity.tenant_purged", str(gone.pk), "gone")
    assert event.data["rows"]["identity_tenant"] == 1 and str(sum(event.data["rows"].values())) in out.getvalue()
    # What stays is append-only as before.
    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        owner_sql("DELETE FROM packs_packversion")
    with pytest.raises(DatabaseError, match="permission denied"):
        connection.cursor().execute("SET app.purge = 'on'; DELETE FROM packs_packversion")


@BOTH
def test_only_a_deleted_tenant_is_purged_unless_forced(owner_sql: OwnerSql) -> None:
    tenant = furnished("gone")
    for arguments in (["gone"], ["gone", "--yes"], ["platform", "--yes"], ["platform", "--yes", "--force"], ["nowhere", "--yes"]):
        with pytest.raises(CommandError):
            call_command("purge_tenant", *arguments)
    assert Tenant.objects.filter(status=TenantStatus.ACTIVE).count() == 2
    call_command("purge_tenant", "gone", "--yes", "--force", stdout=StringIO())
    assert counts(owner_sql, tenant) == {}
    # The slug is free again.
    assert make.tenant("gone").pk != tenant.pk


@BOTH
def test_a_reference_from_outside_stops_the_purge_and_nothing_is_removed(owner_sql: OwnerSql) -> None:
    tenant = furnished("gone")
    services.delete_tenant(ctx=make.context(platform_id(), "tenant_admin"), slug="gone")
    owner_sql("CREATE TABLE outside (agent uuid REFERENCES identity_agent (id) DEFERRABLE INITIALLY DEFERRED)")
    owner_sql("INSERT INTO outside SELECT id FROM identity_agent WHERE tenant_id = %s LIMIT 1", [tenant.pk])
    before = counts(owner_sql, tenant)
    with pytest.raises(CommandError, match="outside"):
        call_command("purge_tenant", "gone", "--yes")
    assert counts(owner_sql, tenant) == before and verify_tenant(platform_id()) is None
