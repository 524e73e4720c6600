"""Every table has a line in the list of grants, and the application is bound by it."""

from __future__ import annotations

import pytest
from django.db import connection

from apps.core.grants import declared


def partitions() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relispartition")
        return {row[0] for row in cursor.fetchall()}


@pytest.mark.django_db
def test_every_table_is_listed_and_partitions_get_nothing() -> None:
    tables = set(connection.introspection.table_names()) - partitions()
    assert tables == set(declared())
    with connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.role_table_grants WHERE grantee = 'mc_app'")
        assert not {row[0] for row in cursor.fetchall()} & partitions()


@pytest.mark.django_db
def test_the_tests_run_as_the_application_role() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == ("mc_app", False, False)
