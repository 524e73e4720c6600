"""Applies the one list of what the application role may do (`settings.GRANTS_MODULE`), after every migrate."""

from __future__ import annotations

from importlib import import_module

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

APPLICATION_ROLE = "mc_app"


def declared() -> dict[str, str]:
    grants: dict[str, str] = import_module(settings.GRANTS_MODULE).GRANTS
    return grants


def apply(connection: BaseDatabaseWrapper) -> None:
    """Revokes what is not listed and grants what is. Partitions get nothing: read directly they would skip their parent's policy."""
    tables = set(connection.introspection.table_names())
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [APPLICATION_ROLE])
        if cursor.fetchone() is None:
            raise RuntimeError(f"The role {APPLICATION_ROLE} does not exist; README, 'Your own PostgreSQL', makes it.")
        cursor.execute(f"GRANT USAGE ON SCHEMA public TO {APPLICATION_ROLE}")
        for table, privileges in declared().items():
            if table not in tables:
                continue
            cursor.execute(f'REVOKE ALL ON "{table}" FROM {APPLICATION_ROLE}')
            if privileges:
                cursor.execute(f'GRANT {privileges} ON "{table}" TO {APPLICATION_ROLE}')
        for function in import_module(settings.GRANTS_MODULE).FUNCTIONS:
            cursor.execute("SELECT to_regprocedure(%s)", [function])
            if cursor.fetchone()[0] is not None:
                cursor.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
                cursor.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {APPLICATION_ROLE}")
        cursor.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {APPLICATION_ROLE}")
