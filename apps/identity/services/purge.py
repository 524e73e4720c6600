"""Removes every row of a deleted tenant. Only the owner of the database can: append-only tables let it, and nobody else."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import TopologicalSorter
from uuid import UUID

from django.db import IntegrityError, connection
from django.db.backends.utils import CursorWrapper

from apps.audit.services import record
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.core.events import publish_on_commit
from apps.core.history import history_table
from apps.identity.domain.platform import platform_id
from apps.identity.models import Organisation, Tenant, TenantStatus, User

# Partitions are reached through their parents.
TABLES = """
SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
"""
# The others are checked when the transaction ends, so that they impose no order.
IMMEDIATE_REFERENCES = """
SELECT DISTINCT child.relname, parent.relname FROM pg_constraint k
JOIN pg_class child ON child.oid = k.conrelid JOIN pg_class parent ON parent.oid = k.confrelid
WHERE k.contype = 'f' AND NOT k.condeferrable AND k.conrelid <> k.confrelid
"""
REFERENCES_TO_PEOPLE = """
SELECT child.relname, a.attname FROM pg_constraint k
JOIN pg_class child ON child.oid = k.conrelid AND NOT child.relispartition
JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
WHERE k.contype = 'f' AND k.confrelid = 'identity_user'::regclass AND k.conrelid <> 'identity_acquaintance'::regclass
"""


def purge_tenant(*, ctx: ActionContext, slug: str) -> dict[str, int]:
    """Removes a deleted tenant's rows from every table that has a `tenant_id`, its audit chain and all history with them; then the tenant,
    its organisation if that is left empty, and people whom nothing refers to any more. Recorded in the chain of `platform`.

    Answers table -> rows removed. Runs inside `as_owner()`. Raises Problem `not_found`, `wrong_state` (not deleted, `platform`, or rows
    of another tenant refer to it).
    """
    with ctx.transaction():
        tenant = Tenant.objects.select_for_update().filter(slug=slug).first()
        if tenant is None:
            raise problem("not_found", f"There is no tenant '{slug}'.")
        if tenant.pk == platform_id():
            raise problem("wrong_state", "The tenant 'platform' is never purged.")
        if tenant.status != TenantStatus.DELETED:
            raise problem("wrong_state", f"The tenant '{slug}' is {tenant.status}; delete it first, or say --force.")
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")
            cursor.execute("SET LOCAL app.purge = 'on'")
            removed = _remove_rows(cursor, tenant)
            cursor.execute("SET LOCAL app.purge = ''")
            try:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            except IntegrityError as error:
                text = str(error).splitlines()[0]
                raise problem("wrong_state", f"Something outside the tenant still refers to it, so nothing was removed: {text}") from error
        record(ctx, "identity.tenant_purged", tenant, data={"slug": slug, "rows": removed})
        # What lies outside of the database goes once this is durable.
        publish_on_commit(ctx, "identity.tenant_purged", tenant_id=tenant.pk)
        return removed


def _remove_rows(cursor: CursorWrapper, tenant: Tenant) -> dict[str, int]:
    people = _people(cursor, tenant.pk)
    cursor.execute("SELECT group_id FROM identity_tenantgroup WHERE tenant_id = %s", [tenant.pk])
    groups = [row[0] for row in cursor.fetchall()]
    removed: dict[str, int] = {}
    for table in _in_order(cursor):
        _count(cursor, removed, table, "tenant_id = %s", tenant.pk)
    _count(cursor, removed, "auth_group", "id = ANY(%s)", groups)
    _count(cursor, removed, Tenant._meta.db_table, "id = %s", tenant.pk)
    _count(cursor, removed, history_table(Tenant), "id = %s", tenant.pk)
    empty = "id = %s AND NOT EXISTS (SELECT 1 FROM identity_tenant t WHERE t.organisation_id = identity_organisation.id)"
    _count(cursor, removed, Organisation._meta.db_table, empty, tenant.organisation_id)
    orphan = "id = %s AND NOT EXISTS (SELECT 1 FROM identity_organisation o WHERE o.id = identity_historicalorganisation.id)"
    _count(cursor, removed, history_table(Organisation), orphan, tenant.organisation_id)
    for table, gone in remove_people(cursor, people).items():
        removed[table] = removed.get(table, 0) + gone
    return removed


def _people(cursor: CursorWrapper, tenant_id: UUID) -> list[UUID]:
    cursor.execute(
        "SELECT user_id FROM identity_acquaintance WHERE tenant_id = %s UNION SELECT id FROM identity_user WHERE service_of_id = %s",
        [tenant_id, tenant_id],
    )
    return [row[0] for row in cursor.fetchall()]


def remove_people(cursor: CursorWrapper, people: Sequence[UUID]) -> dict[str, int]:
    """Removes those of these people to whom nothing refers any more, but that tenants know them; table -> rows removed."""
    cursor.execute(REFERENCES_TO_PEOPLE)
    unused = "".join(
        f' AND NOT EXISTS (SELECT 1 FROM "{table}" r WHERE r."{column}" = u.id)'  # noqa: S608 -- names from the catalogue
        for table, column in cursor.fetchall()
    )
    cursor.execute(f"SELECT u.id FROM identity_user u WHERE u.id = ANY(%s){unused}", [list(people)])  # noqa: S608
    gone = [row[0] for row in cursor.fetchall()]
    removed: dict[str, int] = {}
    _count(cursor, removed, "identity_acquaintance", "user_id = ANY(%s)", gone)
    _count(cursor, removed, "identity_user", "id = ANY(%s)", gone)
    _count(cursor, removed, history_table(User), "id = ANY(%s)", gone)
    return removed


def _in_order(cursor: CursorWrapper) -> list[str]:
    """The tables with a tenant, those that refer before those that are referred to."""
    cursor.execute(TABLES)
    tables = {row[0] for row in cursor.fetchall()}
    order: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(sorted(tables), ()))
    cursor.execute(IMMEDIATE_REFERENCES)
    for child, parent in cursor.fetchall():
        if child in tables and parent in tables:
            order.add(parent, child)
    return list(order.static_order())


def _count(cursor: CursorWrapper, removed: dict[str, int], table: str, condition: str, value: UUID | list[UUID] | list[int]) -> None:
    cursor.execute(f'DELETE FROM "{table}" WHERE {condition}', [value])  # noqa: S608 -- names from the catalogue
    if cursor.rowcount:
        removed[table] = cursor.rowcount
