from __future__ import annotations

import threading
from collections.abc import Callable
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection

from apps.audit.models import Event, EventText, Head
from apps.audit.services import record, verify_tenant
from apps.core.context import Topic
from apps.core.generations import bump
from apps.core.models import Change
from apps.identity import services
from apps.identity.models import Team, Tenant
from tests import factories as make

OwnerSql = Callable[..., list[tuple[Any, ...]]]
COMMITS = pytest.mark.django_db(transaction=True)


def write(tenant: Tenant, number: int, reason: str = "because") -> None:
    ctx = make.system(tenant.pk)
    for index in range(number):
        with ctx.transaction():
            record(ctx, "test.done", tenant, data={"index": index, "ids": [tenant.pk]}, reason=reason)


@COMMITS
@pytest.mark.parametrize(
    "breakage",
    [
        "REVOKE INSERT ON audit_event FROM mc_app",
        "REVOKE INSERT ON audit_eventtext FROM mc_app",
        "ALTER TABLE audit_head ADD CONSTRAINT stuck CHECK (seq < 1) NOT VALID",
    ],
)
def test_no_record_no_change(owner_sql: OwnerSql, breakage: str) -> None:
    tenant = make.tenant()
    ctx = make.context(tenant.pk, "tenant_admin")
    owner_sql(breakage)
    with pytest.raises(DatabaseError):
        services.create_team(ctx=ctx, slug="support", name="Support")
    assert not Team.objects.exists() and not Event.objects.exists() and not Change.objects.exists()
    assert ctx.pending == [] and ctx.changes == []


@COMMITS
def test_concurrent_writers_make_one_line_in_each_chain(owner_sql: OwnerSql) -> None:
    one, two = make.tenant(), make.tenant()
    start, errors = threading.Barrier(4), []

    def run(own: Tenant, other: Tenant) -> None:
        try:
            ctx = make.system(own.pk)
            start.wait()
            for index in range(15):
                with ctx.transaction():
                    # The order of record is not the order of locks.
                    record(ctx, "test.done", own, data={"index": index}, tenants=[other.pk])
                    bump(ctx, Topic.PACKS, own.pk)
        except (DatabaseError, KeyError) as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in ((one, two), (two, one)) * 2]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        # Verification beside the writers finds no fault.
        assert verify_tenant(one.pk) is None
    for thread in threads:
        thread.join()
    assert errors == []
    for tenant in (one, two):
        assert list(Event.objects.filter(tenant_id=tenant.pk).order_by("seq").values_list("seq", flat=True)) == list(range(1, 61))
        assert verify_tenant(tenant.pk) is None
    assert Change.objects.count() == 60


@COMMITS
def test_the_log_is_append_only_for_the_application_and_for_the_owner(owner_sql: OwnerSql) -> None:
    tenant = make.tenant()
    write(tenant, 2)
    for statement in (
        "UPDATE audit_event SET action = 'x'",
        "DELETE FROM audit_event",
        "TRUNCATE audit_event",
        "UPDATE audit_eventtext SET text = '{}'",
        "TRUNCATE audit_eventtext",
        "DELETE FROM audit_head",
        "TRUNCATE audit_head",
    ):
        with pytest.raises(DatabaseError, match="permission denied"), connection.cursor() as cursor:
            cursor.execute(statement)
        with pytest.raises(psycopg.Error, match=r"append-only|truncate a table referenced"):
            owner_sql(statement)
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("SET app.purge = 'on'; DELETE FROM audit_event")
    for back in ("UPDATE audit_head SET seq = seq - 1", "UPDATE audit_head SET hash = '\\x00'"):
        with pytest.raises(DatabaseError, match="moves forward only"), connection.cursor() as cursor:
            cursor.execute(back)
        with pytest.raises(psycopg.Error, match="moves forward only"):
            owner_sql(back)
    assert verify_tenant(tenant.pk) is None


@COMMITS
@pytest.mark.parametrize(
    ("edit", "seq"),
    [
        ("UPDATE audit_event SET action = 'test.undone' WHERE seq = 3", 3),
        ("UPDATE audit_event SET data = '{}' WHERE seq IN (2, 4)", 2),
        ("UPDATE audit_event SET actor_kind = 'user' WHERE seq = 1", 1),
        ("UPDATE audit_event SET at = at + interval '1 microsecond' WHERE seq = 5", 5),
        ("DELETE FROM audit_event WHERE seq = 4", 4),
        ("DELETE FROM audit_event WHERE seq = 5", 5),
        ("UPDATE audit_event SET seq = seq + 10 WHERE seq = 5", 5),
        ("INSERT INTO audit_event SELECT gen_random_uuid(), tenant_id, 6, action, actor_kind, actor_id, channel, request_id, object_type,"
         " object_id, data, text_hash, at, hash, hash FROM audit_event WHERE seq = 5", 6),
        ("UPDATE audit_eventtext SET text = '{\"actor\": \"tests\", \"reason\": \"another\"}'"
         " WHERE event_id = (SELECT id FROM audit_event WHERE seq = 2)", 2),
        ("UPDATE audit_head SET seq = 4, hash = (SELECT hash FROM audit_event WHERE seq = 4)", 5),
    ],
)  # fmt: skip
def test_verify_audit_names_the_first_broken_row(owner_sql: OwnerSql, edit: str, seq: int) -> None:
    tenant, untouched = make.tenant(), make.tenant()
    write(tenant, 5)
    for table in ("audit_event", "audit_eventtext", "audit_head"):
        owner_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    owner_sql(edit)
    for table in ("audit_event", "audit_eventtext", "audit_head"):
        owner_sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    write(untouched, 1)
    out, err = StringIO(), StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command("verify_audit", stdout=out, stderr=err)
    assert caught.value.code == 1
    assert f"{tenant.pk}: broken at event {seq}: " in err.getvalue()
    assert out.getvalue() == f"{untouched.pk}: holds\n"


@pytest.mark.django_db
def test_a_reason_can_be_erased_and_the_chain_still_holds() -> None:
    tenant = make.tenant()
    write(tenant, 3, reason="Jane Roe asked for it")
    assert EventText.objects.filter(event__seq=2).delete()[0] == 1
    assert verify_tenant(tenant.pk) is None
    assert EventText.objects.count() == 2
    assert "Jane" not in str(list(Event.objects.values()))


@pytest.mark.django_db
def test_one_event_goes_to_the_actors_chain_and_to_each_tenant_affected() -> None:
    own, owner_of_object, named = make.tenant(), make.tenant(), make.tenant()
    ctx, obj = make.system(own.pk), make.team(owner_of_object)
    with ctx.transaction():
        record(ctx, "test.done", obj, tenants=[named.pk])
    assert {head.tenant_id for head in Head.objects.all()} == {own.pk, owner_of_object.pk, named.pk}
    assert len({bytes(event.hash) for event in Event.objects.all()}) == 3
