"""Ingest: a batch is redacted, settled against the key ledger and stored in one transaction, durable before the answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.db import Error, connection
from django.utils import timezone
from psycopg.errors import SerializationFailure

from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.core.ids import new_id
from apps.identity.permissions import require
from apps.telemetry.commands import commands_for
from apps.telemetry.domain.archives import GRACE_DAYS
from apps.telemetry.domain.contract import DecodedBatch, Rejection, hash_body
from apps.telemetry.domain.items import EventItem, RunItem
from apps.telemetry.domain.pricing import PriceTable
from apps.telemetry.domain.rows import BATCH_COLUMNS, Row, event_row, run_row
from apps.telemetry.partitions import make_partitions
from apps.telemetry.selectors.rules import rules_of
from apps.telemetry.services import storage
from apps.telemetry.services.judging import Judge
from apps.telemetry.services.producers import Counts, arrived
from apps.telemetry.services.retention import hot_window
from apps.telemetry.services.rolling import await_roll_up
from apps.telemetry.services.screening import screen
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


def ingest_runs(*, ctx: ActionContext, sender: Sender, batch: DecodedBatch[RunItem], commands: bool = True) -> Receipt:
    """Stores a batch of runs exactly once. Without `commands` none are asked for: the sender could not be given them.

    Raises Problem `permission_denied`, or `unavailable` when the database cannot take it now.
    """
    unknown = untraced(ctx.tenant_id, {item.effective_digest for _, item in batch.items if item.effective_digest is not None})

    def row(item: RunItem, common: Mapping[str, Any]) -> Row:
        flags = (*batch.flags.get(item.run_id, ()), *(("untraced",) if item.effective_digest in unknown else ()))
        return run_row(item, arm=ARM, flags=flags, **common)

    return _ingest(ctx, sender, batch, RUNS, row, lambda item: ("started_at", item.started_at), commands)


def ingest_events(*, ctx: ActionContext, sender: Sender, batch: DecodedBatch[EventItem], commands: bool = True) -> Receipt:
    """Stores a batch of events exactly once. `commands` and what is raised: as for `ingest_runs`."""

    def row(item: EventItem, common: Mapping[str, Any]) -> Row:
        return event_row(item, flags=batch.flags.get(item.event_id, ()), **common)

    return _ingest(ctx, sender, batch, EVENTS, row, lambda item: ("created_at", item.created_at), commands)


def _ingest(
    ctx: ActionContext,
    sender: Sender,
    batch: DecodedBatch[Item],
    table: Table,
    row: Callable[[Item, Mapping[str, Any]], Row],
    time_of: Callable[[Item], tuple[str, datetime | None]],
    commands: bool,
) -> Receipt:
    require(ctx, Action.TELEMETRY, tenant_id=ctx.tenant_id, team_id=ctx.team_id)
    if ctx.agent_id is None:
        raise problem("permission_denied", "Telemetry is sent with an agent's token.")
    rules = rules_of(ctx.tenant_id)
    batch = screen(batch, rules.redactor, table.plural, table.key)
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
        "redactor": rules.redactor,
    }
    rejected = list(batch.rejected)
    groups: Groups = {}
    keys = _keys(now, len(batch.items))
    cleans = rules.redactor.clean_jsons(batch.bodies)
    for (index, item), body, key, clean in zip(batch.items, batch.bodies, keys, cleans, strict=True):
        name, moment = time_of(item)
        if moment is not None and moment < oldest:
            rejected.append(
                Rejection(
                    index, "too_old", f"/{table.plural}/{index}/{name}", f"Items are taken up to {taken.days} days after their {name}."
                )
            )
            continue
        common["row_id"], common["body"], common["clean"] = key, body, clean
        delivery = Delivery(index, hash_body(body), getattr(item, "final", True), row(item, common).values)
        groups.setdefault(getattr(item, table.key), []).append(delivery)
    too_old = len(rejected) - len(batch.rejected)
    if too_old:
        log.warning("telemetry.too_old", tenant=sender.tenant, agent=sender.agent, producer=batch.producer, items=too_old)
    accepted = duplicates = 0
    if groups or batch.producer is not None:
        same = {column: common[column] for column in BATCH_COLUMNS}
        accepted, duplicates, conflicts = _durably(ctx, table, groups, batch, same, rules.prices, len(rejected), too_old)
        for index in conflicts:
            detail = f"This {table.key} is stored with another body; what is final never changes. Send it under a new {table.key}."
            rejected.append(Rejection(index, "duplicate_conflict", f"/{table.plural}/{index}/{table.key}", detail))
    rejected.sort(key=lambda rejection: rejection.index)
    return Receipt(accepted, duplicates, rejected, commands_for(ctx) if commands else [])


def _durably(
    ctx: ActionContext,
    table: Table,
    groups: Groups,
    batch: DecodedBatch[Any],
    same: Mapping[str, Any],
    prices: PriceTable,
    rejected: int,
    too_old: int,
) -> tuple[int, int, list[int]]:
    """Stores and commits, with a second try where another writer was in the way or the day has no partition yet."""
    for last_try in (False, True):
        try:
            with ctx.transaction(), connection.wrap_database_errors:
                accepted, duplicates, conflicts, skew_ms = _store(ctx, table, groups, same, prices)
                if batch.producer is not None and batch.seq is not None:
                    counts = Counts(accepted, duplicates, rejected + len(conflicts), too_old, skew_ms)
                    arrived(storage.cursor(), ctx, batch.producer, batch.seq, counts, same["received_at"])
            return accepted, duplicates, conflicts
        except Error as error:
            state = getattr(error.__cause__, "sqlstate", None) or ""
            if last_try or not (state in _TRANSIENT or state == _NO_PARTITION):
                log.exception("telemetry.not_stored", table=table.name, sqlstate=state)
                raise problem("unavailable", "The batch could not be stored; send it again.", retry_after=RETRY_AFTER_S) from error
            if state == _NO_PARTITION:
                make_partitions()
    raise AssertionError("the last try returns or raises")


def _store(
    ctx: ActionContext, table: Table, groups: Groups, same: Mapping[str, Any], prices: PriceTable
) -> tuple[int, int, list[int], int]:
    """Settles every key against the ledger and writes what is new: accepted, duplicates, the places of conflicts, and how far the harness's clock
    was off, in milliseconds. `same` is what all rows have in common (BATCH_COLUMNS)."""
    if not groups:
        return 0, 0, [], 0
    cur = storage.cursor()
    judge = Judge(table, prices, same["received_at"])
    settled = {key: _judged(settle(groups[key], table.columns), judge) for key in sorted(groups)}
    storage.stage(cur, table, settled.values())
    new = storage.claim(cur, table, same)
    known = groups.keys() - new
    if new:
        storage.insert(cur, table, same, known=known)
    fresh = [found for key, found in settled.items() if key in new]
    # By day: the ids of rows that are final now, and of those that are not.
    ready, unfinished = {same["day"]: _ids(fresh, final=True)}, {same["day"]: _ids(fresh, final=False)}
    if known:
        _complete(cur, ctx, table, groups, settled, ready, unfinished, known, judge)
    if table is RUNS:
        for of_day, ids in ready.items():
            if ids:
                _await_score(cur, ctx, of_day, ids, same["received_at"])
    at = table.columns.index("created_at")
    for of_day in ready.keys() | unfinished.keys():
        if ready.get(of_day) or unfinished.get(of_day):
            moments = [found.values[at] for found in fresh if found.values] if of_day == same["day"] else ()
            await_roll_up(
                cur,
                ctx,
                table.kind,
                of_day,
                ready.get(of_day, []),
                open_ids=unfinished.get(of_day),
                moments=moments,
                now=same["received_at"],
            )
    conflicts = [index for found in settled.values() for index in found.conflicts]
    accepted, duplicates = sum(found.accepted for found in settled.values()), sum(found.duplicates for found in settled.values())
    return accepted, duplicates, conflicts, judge.skew_ms


def _judged(found: Settled, judge: Judge) -> Settled:
    assert found.values is not None
    values = judge.fresh(found.values)
    return found if values is found.values else found._replace(values=values)


def _complete(
    cur: Any,
    ctx: ActionContext,
    table: Table,
    groups: Groups,
    settled: dict[str, Settled],
    ready: dict[date, list[UUID]],
    unfinished: dict[date, list[UUID]],
    known: Collection[str],
    judge: Judge,
) -> None:
    """What becomes of keys that the ledger knew: duplicates, conflicts, and rows that are completed. Puts it into `settled`, and
    the ids of rows into `ready`, where they are final now, or `unfinished`."""
    completed: dict[str, Settled] = {}
    completing: dict[date, list[Settled]] = {}
    locked = storage.lock(cur, table, ctx.tenant_id, known)
    if len(locked) < len(known):
        # Forgotten since they were claimed: the second try finds them new.
        raise SerializationFailure("keys of the ledger were forgotten meanwhile")
    for key, stored in locked.items():
        found = settled[key] = settle(groups[key], table.columns, final=stored.final, hashes=stored.hashes)
        if found.values is None:
            continue
        completed[key] = found
        # The row that completes another goes under that one's id, which stands first.
        completing.setdefault(stored.day, []).append(found._replace(values=(stored.row_id, *found.values[1:])))
        (ready if found.final else unfinished).setdefault(stored.day, []).append(stored.row_id)
    if completed:
        storage.extend(cur, table, ctx.tenant_id, completed)
    for day, rows in completing.items():
        judged = judge.completing(cur, day, [found.values for found in rows if found.values is not None])
        storage.complete(cur, table, day, [found._replace(values=values) for found, values in zip(rows, judged, strict=True)])


def _ids(rows: Iterable[Settled], *, final: bool) -> list[UUID]:
    """The ids, which stand first, of new rows: a key's first delivery is always stored."""
    return [found.values[0] for found in rows if found.final is final and found.values is not None]


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
