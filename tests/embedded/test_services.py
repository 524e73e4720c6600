"""What the tests and the portal stand on: roles without rights, clones for tests that commit, a broker that answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from redis import Redis


@pytest.mark.django_db
def test_processes_log_in_as_a_role_that_can_bypass_nothing() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT session_user = current_user, rolsuper, rolbypassrls, rolcreatedb FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (True, False, False, False)
        cursor.execute("SELECT count(*) FROM pg_tables WHERE tableowner = current_user")
        assert cursor.fetchone() == (0,)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("run", [1, 2])
def test_a_test_that_commits_leaves_nothing_to_the_next(run: int, owner_sql: Callable[..., list[tuple[Any, ...]]]) -> None:
    assert owner_sql("SELECT to_regclass('left_behind')") == [(None,)]
    owner_sql("CREATE TABLE left_behind (id int)")


@pytest.mark.django_db
def test_the_broker_of_a_worker_is_its_own() -> None:
    with Redis.from_url(settings.REDIS_URL) as redis:
        assert redis.ping()
        assert redis.get_connection_kwargs()["db"] > 0
