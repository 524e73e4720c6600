"""Ingest: a batch is redacted, settled against the key ledger and stored in one transaction, durable before the answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.db import Error, connection
from django.utils import timezone

from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.core.ids import new_id
from apps.identity.permissions import require
from apps.telemetry.commands import commands_for
from apps.telemetry.domain.archives import GRACE_DAYS
from apps.telemetry.domain.contract import DecodedBatch, Rejection, hash_body
from apps.telemetry.domain.items import EventItem, RunItem
from apps.telemetry.domain.rows import Row, event_row, run_row
from apps.telemetry.partitions import make_partitions
from apps.telemetry.services import storage
from apps.telemetry.services.producers import Counts, arrived
from apps.telemetry.services.retention import hot_window
from apps.telemetry.services.settle import Delivery, Settled, settle
from apps.telemetry.services.tables import EVENTS, RUNS, Table
from apps.telemetry.tracing import untraced

log = structlog.get_logger(__name__)

GRACE = timedelta(days=GRACE_DAYS)
# Deadlock, serialization failure; a day without a partition.
_TRANSIENT = frozenset({"40P01", "40001"})
_NO_PARTITION = "23514"
RETRY_AFTER_S = 1
# There is no rollout yet: whatever an agent runs is the champion.
ARM = "champion"

Item = TypeVar("Item", RunItem, EventItem)
Groups = dict[str, list[Delivery]]


@dataclass(frozen=True, slots=True)
class Sender:
    """The names behind an agent's token, with which a payload's claims are compared."""

    tenant: str
    agent: str
    team: str = ""

    def truth(self) -> dict[str, set[str]]:
        return {
            "tenant": {self.tenant},
            "team": {self.team, f"{self.tenant}/{self.team}"} if self.team else set(),
            "agent": {self.agent, f"{self.tenant}/{self.agent}"},
            "arm": {ARM},
            "rollout": set(),
        }


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a batch: how many items are stored now, how many were stored before, and why the others are not."""

    accepted: int
    duplicates: int
    rejected: list[Rejection]
    commands: list[dict[str, Any]] = field(default_factory=list)


def ingest_runs(*, ctx: ActionContext, sender: Sender, batch: DecodedBatch[RunItem]) -> Receipt:
    """Stores a batch of runs exactly once. Raises Problem `permission_denied`, or `unavailable` when the database cannot take it now."""
    unknown = untraced(ctx.tenant_id, {item.effective_digest for _, item in batch.items if item.effective_digest is not None})

    def row(item: RunItem, common: Mapping[str, Any]) -> Row:
        flags = ("untraced",) if item.effective_digest in unknown else ()
        return run_row(item, arm=ARM, flags=flags, **common)

    return _ingest(ctx, sender, batch, RUNS, row, lambda item: ("started_at", item.started_at))


def ingest_events(*, ctx: ActionContext, sender: Sender, batch: DecodedBatch[EventItem]) -> Receipt:
    """Stores a batch of events exactly once. Raises as `ingest_runs` does."""
    return _ingest(ctx, sender, batch, EVENTS, lambda item, common: event_row(item, **common), lambda item: ("created_at", item.created_at))


def _ingest(
    ctx: ActionContext,
    sender: Sender,
    batch: DecodedBatch[Item],
    table: Table,
    row: Callable[[Item, Mapping[str, Any]], Row],
    time_of: Callable[[Item], tuple[str, datetime | None]],
) -> Receipt:
    require(ctx, Action.TELEMETRY, tenant_id=ctx.tenant_id, team_id=ctx.team_id)
    if ctx.agent_id is None:
        raise problem("permission_denied", "Telemetry is sent with an agent's token.")
    now = timezone.now()
    taken = hot_window(ctx.tenant_id) + GRACE
    oldest = now - taken
    common: dict[str, Any] = {
        "day": now.date(),
        "tenant_id": ctx.tenant_id,
        "team_id": ctx.team_id,
        "agent_id": ctx.agent_id,
        "received_at": now,
        "truth": sender.truth(),
        "producer": batch.producer,
        "producer_seq": batch.seq,
    }
    rejected = list(batch.rejected)
    groups: Groups = {}
    keys = _keys(now, len(batch.items))
    for (index, item), body, key in zip(batch.items, batch.bodies, keys, strict=True):
        name, moment = time_of(item)
        if moment is not None and moment < oldest:
            rejected.append(
                Rejection(
                    index, "too_old", f"/{table.plural}/{index}/{name}", f"Items are taken up to {taken.days} days after their {name}."
                )
            )
            continue
        common["row_id"], common["body"] = key, body
        delivery = Delivery(index, hash_body(body), getattr(item, "final", True), row(item, common).values)
        groups.setdefault(getattr(item, table.key), []).append(delivery)
    too_old = len(rejected) - len(batch.rejected)
    if too_old:
        log.warning("telemetry.too_old", tenant=sender.tenant, agent=sender.agent, producer=batch.producer, items=too_old)
    accepted = duplicates = 0
    if groups or batch.producer is not None:
        accepted, duplicates, conflicts = _durably(ctx, table, groups, batch, len(rejected), too_old, now)
        for index in conflicts:
            detail = f"This {table.key} is stored with another body; what is final never changes. Send it under a new {table.key}."
            rejected.append(Rejection(index, "duplicate_conflict", f"/{table.plural}/{index}/{table.key}", detail))
    rejected.sort(key=lambda rejection: rejection.index)
    return Receipt(accepted, duplicates, rejected, commands_for(ctx))


def _durably(
    ctx: ActionContext, table: Table, groups: Groups, batch: DecodedBatch[Any], rejected: int, too_old: int, now: datetime
) -> tuple[int, int, list[int]]:
    """Stores and commits, with a second try where another writer was in the way or the day has no partition yet."""
    for last_try in (False, True):
        try:
            with ctx.transaction(), connection.wrap_database_errors:
                accepted, duplicates, conflicts = _store(ctx, table, groups, now)
                if batch.producer is not None and batch.seq is not None:
                    counts = Counts(accepted, duplicates, rejected + len(conflicts), too_old)
                    arrived(storage.cursor(), ctx, batch.producer, batch.seq, counts, now)
            return accepted, duplicates, conflicts
        except Error as error:
            state = getattr(error.__cause__, "sqlstate", None) or ""
            if last_try or not (state in _TRANSIENT or state == _NO_PARTITION):
                log.exception("telemetry.not_stored", table=table.name, sqlstate=state)
                raise problem("unavailable", "The batch could not be stored; send it again.", retry_after=RETRY_AFTER_S) from error
            if state == _NO_PARTITION:
                make_partitions()
    raise AssertionError("the last try returns or raises")


def _store(ctx: ActionContext, table: Table, groups: Groups, now: datetime) -> tuple[int, int, list[int]]:
    """Settles every key against the ledger and writes what is new: accepted, duplicates, and the places of conflicts."""
    if not groups:
        return 0, 0, []
    place = table.columns.index("id"), table.columns.index("day")
    settled = {key: settle(deliveries, table.columns) for key, deliveries in groups.items()}
    cur = storage.cursor()
    day = now.date()
    rows = {key: (_row_of(found)[place[0]], found) for key, found in settled.items()}
    new = storage.claim(cur, table, ctx.tenant_id, day, rows)
    fresh = [_row_of(settled[key]) for key in groups if key in new]
    ready = {day: [rows[key][0] for key in groups if key in new and settled[key].final]}
    completed: dict[str, Settled] = {}
    completing: dict[date, list[tuple[Any, ...]]] = {}
    if len(new) < len(groups):
        for key, known in storage.lock(cur, table, ctx.tenant_id, groups.keys() - new).items():
            found = settled[key] = settle(groups[key], table.columns, final=known.final, hashes=known.hashes)
            if found.values is None:
                continue
            values = list(found.values)
            values[place[0]], values[place[1]] = known.row_id, known.day
            completed[key] = found
            completing.setdefault(known.day, []).append(tuple(values))
            if found.final:
                ready.setdefault(known.day, []).append(known.row_id)
        if completed:
            storage.extend(cur, table, ctx.tenant_id, completed)
    if fresh or completing:
        storage.store(cur, table, fresh, completing)
    if table is RUNS:
        for of_day, ids in ready.items():
            if ids:
                _await_score(cur, ctx, of_day, ids, now)
    conflicts = [index for found in settled.values() for index in found.conflicts]
    return sum(found.accepted for found in settled.values()), sum(found.duplicates for found in settled.values()), conflicts


def _row_of(found: Settled) -> tuple[Any, ...]:
    """The row of a key that is new to the ledger: its first delivery is always stored."""
    assert found.values is not None
    return found.values


def _await_score(cur: Any, ctx: ActionContext, day: date, ids: list[UUID], now: datetime) -> None:
    cur.execute(
        "INSERT INTO telemetry_unscoredbatch (id, tenant_id, day, row_ids, created_at) VALUES (%b, %b, %b, %b, %b)",
        [new_id(), ctx.tenant_id, day, ids, now],
    )


def _keys(now: datetime, count: int) -> list[UUID]:
    """UUIDv7 keys of one moment that keep the order of the batch: the 12 bits after the time count (RFC 9562, 6.2)."""
    millis = int(now.timestamp() * 1000) & ((1 << 48) - 1)
    random = os.urandom(8 * count)
    base = millis << 80 | 0x7 << 76 | 0b10 << 62
    low = (1 << 62) - 1
    return [UUID(int=base | at << 64 | int.from_bytes(random[8 * at : 8 * at + 8], "big") & low) for at in range(count)]
