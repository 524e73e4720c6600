"""Maintenance as the owner of the database: for what the application role may not do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connections


@contextmanager
def as_owner() -> Iterator[None]:
    """Within, this thread's database is the connection `owner`: services and the audit log work as ever, in one transaction of the
    owner's. For management commands that run alone; never inside a transaction."""
    application = connections[DEFAULT_DB_ALIAS]
    if application.in_atomic_block:
        raise RuntimeError("as_owner() inside a transaction of the application")
    owner = connections["owner"]
    connections[DEFAULT_DB_ALIAS] = owner
    try:
        yield
    finally:
        connections[DEFAULT_DB_ALIAS] = application
        owner.close()
