"""`record` is the only way into the audit log; verification reads it back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection
from django.db.models import Model, Subquery
from django.db.models.functions import Coalesce

from apps.audit.domain.chain import GENESIS, Break, Link, event_hash, text_hash, verify
from apps.audit.models import Event, EventText, Head
from apps.core.context import ActionContext, before_commit, set_tenant
from apps.core.ids import new_id


@dataclass(frozen=True, slots=True)
class Entry:
    """A buffered event and the chains that it goes to."""

    action: str
    object_type: str
    object_id: str
    data: Mapping[str, Any]
    reason: str
    chains: frozenset[UUID]


def record(
    ctx: ActionContext, action: str, obj: Model, *, data: Mapping[str, Any] | None = None, reason: str = "", tenants: Iterable[UUID] = ()
) -> None:
    """Buffers an event on the context; the outermost transaction writes it, or fails with it.

    `data` holds ids, names and figures that may stay for ever (no content, no personal data); `reason` goes into the erasable side
    table. Chains: the actor's tenant, the object's, and `tenants`.
    """
    chains = {ctx.tenant_id, *tenants}
    owner = getattr(obj, "tenant_id", None)
    if owner is not None:
        chains.add(owner)
    plain = msgspec.json.decode(msgspec.json.encode(data or {}, enc_hook=str))
    ctx.pending.append(Entry(action, obj._meta.label_lower, str(obj.pk), plain, reason or ctx.reason, frozenset(chains)))


def write_events(ctx: ActionContext) -> None:
    """Writes what is buffered, one chain after the other in the order of tenant ids, so that two writers cannot deadlock."""
    entries: list[Entry] = [entry for entry in ctx.pending if isinstance(entry, Entry)]
    if not entries:
        return
    now = datetime.now(UTC)
    chains = sorted({chain for entry in entries for chain in entry.chains})
    for tenant_id in chains:
        # Each chain is written as its tenant. The transaction is nearly over; it ends as its own.
        if len(chains) > 1 or tenant_id != ctx.tenant_id:
            set_tenant(tenant_id)
        _write_chain(ctx, tenant_id, [entry for entry in entries if tenant_id in entry.chains], now)
    if chains[-1] != ctx.tenant_id:
        set_tenant(ctx.tenant_id)


def _write_chain(ctx: ActionContext, tenant_id: UUID, entries: Iterable[Entry], now: datetime) -> None:
    events: list[Event] = []
    texts: list[EventText] = []
    seq, previous = _lock_head(tenant_id)
    for entry in entries:
        seq += 1
        event, text = _event(ctx, entry, tenant_id, seq, previous, now)
        previous = bytes(event.hash)
        events.append(event)
        texts.append(text)
    Head.objects.filter(tenant_id=tenant_id).update(seq=seq, hash=previous)
    Event.objects.bulk_create(events)
    EventText.objects.bulk_create(texts)


def _lock_head(tenant_id: UUID) -> tuple[int, bytes]:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_head (tenant_id, seq, hash) VALUES (%s, 0, %s) ON CONFLICT (tenant_id) DO NOTHING", [tenant_id, GENESIS]
        )
    head = Head.objects.select_for_update().get(tenant_id=tenant_id)
    return head.seq, bytes(head.hash)


def _event(ctx: ActionContext, entry: Entry, tenant_id: UUID, seq: int, previous: bytes, now: datetime) -> tuple[Event, EventText]:
    salt = os.urandom(16)
    text = {"actor": ctx.actor.label, "reason": entry.reason}
    event = Event(
        id=new_id(),
        tenant_id=tenant_id,
        seq=seq,
        action=entry.action,
        actor_kind=ctx.actor.kind,
        actor_id=ctx.actor.id,
        channel=ctx.channel,
        request_id=ctx.request_id,
        object_type=entry.object_type,
        object_id=entry.object_id,
        data=entry.data,
        text_hash=text_hash(salt, text_of(text)),
        at=now,
        previous=previous,
    )
    event.hash = event_hash(content_of(event), previous)
    return event, EventText(event_id=event.id, tenant_id=tenant_id, salt=salt, text=text)


def text_of(text: Mapping[str, str]) -> str:
    return msgspec.json.encode(text, order="sorted").decode()


def content_of(event: Event) -> dict[str, Any]:
    """What the hash covers: every column but the hashes themselves."""
    return {
        "id": str(event.id),
        "tenant_id": str(event.tenant_id),
        "seq": event.seq,
        "action": event.action,
        "actor_kind": event.actor_kind,
        "actor_id": str(event.actor_id) if event.actor_id else None,
        "channel": event.channel,
        "request_id": event.request_id,
        "object_type": event.object_type,
        "object_id": event.object_id,
        "data": event.data,
        "text_hash": bytes(event.text_hash or b"").hex(),
        "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
    }


def verify_tenant(tenant_id: UUID) -> Break | None:
    """The first broken event of a tenant's chain (its texts included), or None. Events that arrive meanwhile are left for the next time."""
    head = Head.objects.filter(tenant_id=tenant_id).first()
    seq, head_hash = (head.seq, bytes(head.hash)) if head else (0, GENESIS)
    found = verify(_links(tenant_id, seq), head_seq=seq, head_hash=head_hash)
    if found is not None:
        return found
    # One statement, so one moment: an event beyond the head is one that did not come in through `record`.
    reached = Coalesce(Subquery(Head.objects.filter(tenant_id=tenant_id).values("seq")), 0)
    beyond = Event.objects.filter(tenant_id=tenant_id, seq__gt=reached).order_by("seq").values_list("seq", flat=True).first()
    return None if beyond is None else Break(beyond, "it stands beyond the head of the chain")


def _links(tenant_id: UUID, upto: int) -> Iterator[Link]:
    events = Event.objects.filter(tenant_id=tenant_id, seq__lte=upto).order_by("seq").select_related("text")
    for event in events.iterator(chunk_size=2000):
        content = content_of(event)
        text: EventText | None = getattr(event, "text", None)
        if text is not None and text_hash(bytes(text.salt), text_of(text.text)) != bytes(event.text_hash or b""):
            content["text_hash"] = "the text was changed"
        yield Link(event.seq, content, bytes(event.previous), bytes(event.hash))


before_commit(write_events, order=50)
