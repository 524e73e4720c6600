"""The heads of the chains, kept where whoever can rewrite a chain in the database cannot reach: an object each, never written over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from django.core.cache import cache

from apps.audit.models import Event, ExportedHead, Head
from apps.audit.selectors import chains
from apps.audit.signing import check, signed
from apps.core.context import in_tenant
from apps.core.storage import Storage, StorageError, open_storage

# How the last run went, for the readiness page: it is of all tenants.
RUN = "audit.heads_run"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """The first exported head of a tenant that its chain does not bear out, and why."""

    tenant_id: UUID
    seq: int
    reason: str


def export_all(*, now: datetime) -> int:
    """Writes each head that moved since it was last written to AUDIT_HEADS_STORE; how many that were. Raises StorageError when the storage
    refuses or is away; what was not written is written by the next run."""
    written = 0
    try:
        storage = open_storage(settings.AUDIT_HEADS_STORE)
        for tenant_id in chains():
            written += _export(storage, tenant_id, now)
    except StorageError as error:
        cache.set(RUN, {"at": now.isoformat(timespec="seconds"), "failure": str(error)}, timeout=None)
        raise
    cache.set(RUN, {"at": now.isoformat(timespec="seconds"), "failure": ""}, timeout=None)
    return written


def _export(storage: Storage, tenant_id: UUID, now: datetime) -> bool:
    with in_tenant(tenant_id):
        head = Head.objects.get(tenant_id=tenant_id)
        before = ExportedHead.objects.filter(tenant_id=tenant_id, store=storage.address).first()
    digest = bytes(head.hash).hex()
    if before is not None and (before.seq, bytes(before.hash)) == (head.seq, bytes(head.hash)):
        return False
    path = path_of(tenant_id, head.seq, digest)
    statement = {"tenant_id": str(tenant_id), "seq": head.seq, "hash": digest, "at": now.isoformat(timespec="seconds")}
    if not storage.put_new(path, msgspec.json.encode(signed(statement)) + b"\n"):
        found = _read(storage.get(path))
        if found is None or (found.get("tenant_id"), found.get("seq"), found.get("hash")) != (str(tenant_id), head.seq, digest):
            raise StorageError(f"{storage.address}: {path} holds something else than this head")
    with in_tenant(tenant_id):
        row = {"store": storage.address, "seq": head.seq, "hash": bytes(head.hash), "at": now}
        ExportedHead.objects.update_or_create(tenant_id=tenant_id, defaults=row)
    return True


def path_of(tenant_id: UUID, seq: int, digest: str) -> str:
    """Where a head is kept. A chain that is written anew has other hashes, and so never the same places."""
    return f"{tenant_id}/{seq:012d}-{digest[:16]}.json"


def failure() -> str:
    """Why the last run of the export came to nothing, or ''."""
    run: dict[str, str] = cache.get(RUN) or {}
    return f"{run['at']}: {run['failure']}" if settings.AUDIT_HEADS_STORE and run.get("failure") else ""


def disagreements(
    storage: Storage, *, tenant_id: UUID | None = None, trusted: str | None = None
) -> Iterator[tuple[UUID, int, Disagreement | None]]:
    """For each tenant with exported heads: how many there are, and the first that its chain does not bear out. `trusted` is the public key,
    in hex, that must have signed them. Raises StorageError."""
    kept: dict[UUID, list[str]] = defaultdict(list)
    for stored in storage.list(str(tenant_id) if tenant_id else ""):
        owner = _uuid(stored.path.partition("/")[0])
        if owner is not None and stored.path.endswith(".json"):
            kept[owner].append(stored.path)
    known = set(chains())
    for owner in sorted(kept):
        paths = sorted(kept[owner])
        yield owner, len(paths), _first_wrong(storage, owner, paths, trusted, gone=owner not in known)


def _first_wrong(storage: Storage, tenant_id: UUID, paths: list[str], trusted: str | None, *, gone: bool) -> Disagreement | None:
    if gone and not _was_purged(tenant_id):
        return Disagreement(tenant_id, 1, "its whole chain is gone, and no record says that the tenant was purged")
    if gone:
        return None
    with in_tenant(tenant_id):
        numbers = [number for path in paths if (number := _number(path)) is not None]
        chain = {
            seq: bytes(found).hex() for seq, found in Event.objects.filter(tenant_id=tenant_id, seq__in=numbers).values_list("seq", "hash")
        }
    for path in paths:
        number = _number(path)
        statement = _read(storage.get(path))
        if number is None or statement is None:
            return Disagreement(tenant_id, number or 0, f"{path} is no exported head")
        reason = check(statement, trusted=trusted)
        if reason is not None:
            return Disagreement(tenant_id, number, f"the exported head does not hold: {reason}")
        digest = str(statement.get("hash"))
        if path != path_of(tenant_id, number, digest) or statement.get("tenant_id") != str(tenant_id) or statement.get("seq") != number:
            return Disagreement(tenant_id, number, f"{path} holds the head of another place")
        if number not in chain:
            return Disagreement(tenant_id, number, f"the chain has no such event; at {statement.get('at')} its hash was {digest}")
        if chain[number] != digest:
            return Disagreement(tenant_id, number, f"its hash was {digest} at {statement.get('at')}, and is {chain[number]} now")
    return None


def _was_purged(tenant_id: UUID) -> bool:
    for chain in chains():
        with in_tenant(chain):
            rows = Event.objects.filter(tenant_id=chain, object_type="identity.tenant", object_id=str(tenant_id))
            if rows.filter(action="identity.tenant_purged").exists():
                return True
    return False


def _number(path: str) -> int | None:
    digits = path.partition("/")[2].partition("-")[0]
    return int(digits) if digits.isdecimal() else None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _read(data: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None
