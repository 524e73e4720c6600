"""How every process learns that what it caches has changed.

A change writes a row with the next generation in its own transaction (`bump`) and notifies. Each process runs one watcher thread that
listens, and polls in any case; when neither has answered for a second, a reader asks the database itself (`fresh`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import structlog
from django.conf import settings
from django.db import DatabaseError, connection

from apps.core.context import ActionContext, Topic, before_commit

log = structlog.get_logger(__name__)
CHANNEL = "mc_changes"

Invalidate = Callable[[UUID | None], None]
_invalidators: dict[Topic, list[Invalidate]] = {topic: [] for topic in Topic}


def on_change(topic: Topic, invalidate: Invalidate) -> None:
    """Registers a cache: it is called with the tenant that changed, or None when everything must go."""
    _invalidators[topic].append(invalidate)


def bump(ctx: ActionContext, topic: Topic, tenant_id: UUID) -> None:
    """Says that `topic` changed for a tenant; written when the outermost transaction ends."""
    if (topic, tenant_id) not in ctx.changes:
        ctx.changes.append((topic, tenant_id))


def write_changes(ctx: ActionContext) -> None:
    if not ctx.changes:
        return
    with connection.cursor() as cursor:
        topics, tenants = [topic.value for topic, _ in ctx.changes], [tenant for _, tenant in ctx.changes]
        cursor.execute("SELECT core_note_changes(%s, %s)", [topics, tenants])
    # This process reads its own write at once; the others hear of it within CACHE_STALENESS_S.
    ctx.on_commit(watcher.forget)


class Watcher:
    """What one process knows of the generations. `seen` is the last one applied; `heard` the monotonic time at which the last
    successful question was put, so that nothing committed before it is missing."""

    def __init__(self) -> None:
        self.seen = -1
        self.heard = float("-inf")
        self._forgotten = float("-inf")
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def apply(self, put_at: float, last: int, floor: int, rows: list[tuple[int, str, UUID]]) -> None:
        """Applies what a question brought. `last` is the newest generation and `floor` the oldest one still stored, minus one: a process
        that has missed some, or that knows more than a restored database, drops everything."""
        with self._lock:
            if self.seen < floor or self.seen > last:
                self.seen = -1
                for topic in Topic:
                    for invalidate in _invalidators[topic]:
                        invalidate(None)
            for generation, topic_name, tenant_id in rows:
                if generation > self.seen:
                    for invalidate in _invalidators[Topic(topic_name)]:
                        invalidate(tenant_id)
            self.seen = max(self.seen, floor, rows[-1][0] if rows else -1)
            if put_at >= self._forgotten:
                self.heard = max(self.heard, put_at)

    QUESTION = "SELECT last, floor, generation, topic, tenant_id FROM core_changes(%s) ORDER BY generation"

    def take(self, put_at: float, answer: list[tuple[int, int, int | None, str, UUID]]) -> None:
        rows = [(generation, topic, tenant) for _, _, generation, topic, tenant in answer if generation is not None]
        last, floor = answer[0][:2]
        self.apply(put_at, last, floor, rows)

    def fresh(self) -> None:
        """Called before a cached answer is used. Cheap while the watcher is alive; else asks the database on this connection."""
        if time.monotonic() - self.heard <= settings.CACHE_STALENESS_S:
            return
        self.ensure_running()
        put_at = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(self.QUESTION, [self.seen])
            self.take(put_at, cursor.fetchall())

    def forget(self) -> None:
        """The next reader asks the database; the answer to a question that is under way does not count."""
        with self._lock:
            self._forgotten = time.monotonic()
            self.heard = float("-inf")

    def ensure_running(self) -> None:
        with self._lock:
            if settings.CACHE_WATCHER and (self._thread is None or not self._thread.is_alive()):
                self._stop.clear()
                self._thread = threading.Thread(target=self._watch, name="generations", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
            self._thread = None

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                with psycopg.connect(**_connection_parameters(), autocommit=True) as conn:
                    conn.execute(f"LISTEN {CHANNEL}")
                    while not self._stop.is_set():
                        put_at = time.monotonic()
                        self.take(put_at, conn.execute(self.QUESTION, [self.seen]).fetchall())
                        for _ in conn.notifies(timeout=settings.CACHE_POLL_S, stop_after=1):
                            pass
            except (psycopg.Error, DatabaseError) as error:
                # Readers ask the database themselves meanwhile; say it and come back.
                log.warning("generations.watcher_lost", error=str(error))
                self._stop.wait(settings.CACHE_POLL_S)


def _connection_parameters() -> dict[str, Any]:
    parameters = connection.get_connection_params()
    return {key: value for key, value in parameters.items() if key not in {"cursor_factory", "context", "prepare_threshold"}}


watcher = Watcher()
before_commit(write_changes, order=100)
