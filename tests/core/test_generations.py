from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection, transaction

from apps.core import generations
from apps.core.cache import GenerationCache
from apps.core.context import Topic
from apps.core.generations import Watcher, bump, on_change
from apps.core.ids import new_id
from apps.core.models import Change, ChangeCounter
from tests import factories as make

COMMITS = pytest.mark.django_db(transaction=True)
PATIENCE_S = 10.0


@pytest.fixture
def dropped(monkeypatch: pytest.MonkeyPatch) -> list[UUID | None]:
    """What a cache of packs is told to drop, in order."""
    found: list[UUID | None] = []
    monkeypatch.setattr(generations, "_invalidators", {topic: [] for topic in Topic})
    on_change(Topic.PACKS, found.append)
    return found


@pytest.fixture
def running(settings: Any, dropped: list[UUID | None]) -> Iterator[Watcher]:
    """A watcher with its own listening thread, as a web process has one."""
    settings.CACHE_WATCHER, settings.CACHE_STALENESS_S, settings.CACHE_POLL_S = True, 1.0, 0.5
    found = Watcher()
    found.fresh()
    yield found
    found.stop()


def change(tenant_id: UUID, topic: Topic = Topic.PACKS) -> None:
    ctx = make.system(tenant_id)
    with ctx.transaction():
        bump(ctx, topic, tenant_id)


def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)


@COMMITS
def test_two_processes_see_the_changes_in_the_order_of_commits(dropped: list[UUID | None]) -> None:
    first, second = Watcher(), Watcher()
    first.fresh()
    second.fresh()
    dropped.clear()
    tenants = [new_id() for _ in range(5)]
    for tenant_id in tenants[:2]:
        change(tenant_id)
    first.fresh()
    assert dropped == tenants[:2] and first.seen == 2
    for tenant_id in tenants[2:]:
        change(tenant_id)
    first.fresh()
    assert dropped == tenants
    dropped.clear()
    second.fresh()
    assert dropped == tenants and second.seen == first.seen == 5


@COMMITS
def test_generations_are_without_gaps_and_in_the_order_of_commits(dropped: list[UUID | None]) -> None:
    committed: list[UUID] = []
    start, order = threading.Barrier(4), threading.Lock()

    def run() -> None:
        try:
            start.wait()
            for index in range(10):
                mine = new_id()
                change(mine)
                if index % 3 == 0:
                    # A change that is undone takes no number.
                    with pytest.raises(LookupError), transaction.atomic():
                        change(new_id())
                        raise LookupError
                with order:
                    committed.append(mine)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    watcher = Watcher()
    watcher.fresh()
    dropped.clear()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        watcher.fresh()
    for thread in threads:
        thread.join()
    watcher.fresh()
    stored = list(Change.objects.order_by("generation").values_list("generation", "tenant_id"))
    assert [generation for generation, _ in stored] == list(range(1, 41))
    # One who looks on while they write misses none, and sees none twice or out of order.
    assert dropped == [tenant_id for _, tenant_id in stored] and set(committed) == set(dropped)


@COMMITS
def test_the_listener_hears_at_once_and_readers_then_ask_nothing(
    running: Watcher, dropped: list[UUID | None], django_assert_num_queries: Any
) -> None:
    until(lambda: running.seen == 0 and running._thread is not None)
    dropped.clear()
    tenant_id = new_id()
    # Another process's change: not through this process's `change`, which makes its own readers ask.
    ctx = make.system(tenant_id)
    with ctx.transaction():
        bump(ctx, Topic.PACKS, tenant_id)
    at = time.monotonic()
    until(lambda: dropped == [tenant_id])
    assert time.monotonic() - at < 1.0
    with django_assert_num_queries(0):
        running.fresh()


@COMMITS
def test_when_the_listener_is_dead_readers_ask_and_a_new_one_is_started(
    running: Watcher, dropped: list[UUID | None], settings: Any
) -> None:
    until(lambda: running.seen == 0)
    settings.CACHE_WATCHER = False
    running.stop()
    dropped.clear()
    running.heard = time.monotonic() - settings.CACHE_STALENESS_S - 0.01
    tenant_id = new_id()
    change(tenant_id)
    assert dropped == []
    running.fresh()
    assert dropped == [tenant_id] and running._thread is None
    settings.CACHE_WATCHER = True
    running.forget()
    running.fresh()
    assert running._thread is not None and running._thread.is_alive()


@COMMITS
def test_the_listener_comes_back_when_its_connection_is_cut(running: Watcher, dropped: list[UUID | None], settings: Any) -> None:
    until(lambda: running._thread is not None and running.seen == 0)
    settings.CACHE_POLL_S = 0.05
    with psycopg.connect(**generations._connection_parameters(), autocommit=True) as cutter:  # type: ignore[arg-type]
        until(
            lambda: cutter.execute("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%core_change%' AND pid <> pg_backend_pid()").fetchone()
        )
        cutter.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE '%%core_change%%' AND pid NOT IN (pg_backend_pid(), %s)",
            [connection.connection.info.backend_pid],
        )
    tenant_id = new_id()
    change(tenant_id)
    until(lambda: tenant_id in dropped)


@COMMITS
def test_one_who_missed_what_is_no_longer_stored_drops_everything(dropped: list[UUID | None], owner_sql: Any) -> None:
    watcher = Watcher()
    watcher.fresh()
    dropped.clear()
    for _ in range(3):
        change(new_id())
    owner_sql("DELETE FROM core_change WHERE generation < 3")
    watcher.fresh()
    assert dropped[0] is None and watcher.seen == 3
    dropped.clear()
    # All of them swept, and one unseen.
    change(new_id())
    owner_sql("DELETE FROM core_change")
    watcher.fresh()
    assert dropped == [None] and watcher.seen == ChangeCounter.objects.get().value == 4


def test_an_answer_that_was_asked_for_before_a_change_does_not_make_the_memory_fresh() -> None:
    watcher = Watcher()
    put_at = time.monotonic()
    watcher.forget()
    watcher.apply(put_at, 0, 0, [])
    assert watcher.heard == float("-inf")
    watcher.apply(time.monotonic(), 0, 0, [])
    assert watcher.heard > put_at


def test_a_value_read_while_a_change_arrived_is_not_kept(dropped: list[UUID | None]) -> None:
    tenant_id = new_id()
    cache: GenerationCache[str, str] = GenerationCache(Topic.PACKS, tenant_of=lambda _key, _value: tenant_id, limit=10)

    def old_news(key: str) -> str:
        cache.forget(tenant_id)
        return "old"

    assert cache.get("key", old_news) == "old"
    assert cache.get("key", lambda key: "new") == "new"
    assert cache.get("key", lambda key: "newer") == "new"
    cache.forget(new_id())
    assert cache.get("key", lambda key: "newer") == "new"
