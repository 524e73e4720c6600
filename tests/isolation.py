"""Row-level security under test.

A test's own reads and its factories act in no tenant; in the tests' databases (nowhere else) a further policy lets the application role
do everything while no tenant is set and `app.tests` is on, for the connections of this process. What a process does by itself is held
to the production policies: requests, tasks and commands switch it off, and within `ctx.transaction()` the tenant is set anyway. What
restricts by user cannot be opened by a further policy: with `app.tests` goes `app.user_ref`, for every user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from apps.core.context import EVERY_USER

POLICY = "tests"
NO_TENANT = "coalesce(current_setting('app.tenant', true), '') = '' AND current_setting('app.tests', true) = 'on'"


def open_to_tests(connection: BaseDatabaseWrapper) -> None:
    """Adds the tests' policy to every table that is under row-level security."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relrowsecurity AND relnamespace = 'public'::regnamespace")
        for (table,) in cursor.fetchall():
            cursor.execute(f"CREATE POLICY {POLICY} ON {table} TO mc_app USING ({NO_TENANT}) WITH CHECK ({NO_TENANT})")


def install() -> None:
    from celery.app.task import Task
    from django.core.management.base import BaseCommand
    from django.db.backends.signals import connection_created
    from django.test.client import ClientHandler

    connection_created.connect(_connected, dispatch_uid="tests.isolation")
    for owner, name in ((ClientHandler, "__call__"), (Task, "__call__"), (BaseCommand, "execute")):
        setattr(owner, name, _as_in_production(getattr(owner, name)))


def _connected(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    if connection.alias == "default":
        _switch(connection, "on")


def _as_in_production(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with in_production():
            return call(*args, **kwargs)

    return wrapper


@contextmanager
def in_production() -> Iterator[None]:
    """Within, this thread's connection is under the production policies alone."""
    from django.db import connections

    connection = connections["default"]
    if connection.connection is None and not connection.in_atomic_block:
        connection.ensure_connection()
    before = _switch(connection, "off")
    try:
        yield
    finally:
        connection = connections["default"]
        if connection.connection is not None and not connection.connection.closed and not connection.needs_rollback:
            _switch(connection, before)


def _switch(connection: BaseDatabaseWrapper, to: str) -> str:
    """By psycopg's own cursor: it is none of the queries that a test counts. Gives what it was."""
    with connection.connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(current_setting('app.tests', true), 'off'), set_config('app.tests', %s, false),"
            " set_config('app.user_ref', %s, false)",
            [to, EVERY_USER if to == "on" else ""],
        )
        found: str = cursor.fetchone()[0]
    return found
