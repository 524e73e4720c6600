"""Resolve: the effective pack of a harness, from memory when warm.

Three memories, outermost first: a tenant's answers (by agent, pack and user), dropped with its pointers; the folded packs, by the tuple of
(scope, pack, kind, version), which never go stale; and the versions. The folded packs are bounded in bytes; answers only point at them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from uuid import UUID

import msgspec
import structlog
from django.conf import settings
from django.db import connection
from django.db.transaction import on_commit

from apps.core.context import EVERY_USER, in_tenant, one_user
from apps.core.errors import problem
from apps.core.generations import watcher
from apps.core.ids import new_id
from apps.core.leases import lease_check
from apps.identity.selectors import platform_id
from apps.identity.tokens import Principal
from apps.packs.domain.render import render
from apps.packs.domain.scopes import Scope
from apps.packs.domain.validate import resolve_chain
from apps.packs.domain.values import Effective, Violation
from apps.packs.pointers import Entry, PackFacts, find_pack, pointers_of, references, scopes_of, version_ids

log = structlog.get_logger(__name__)

MAX_FOLDED_BYTES = 64 * 1024 * 1024
MAX_SERVED = 200_000
Key = tuple[tuple[str, str, str, UUID], ...]


@dataclass(slots=True, weakref_slot=True, eq=False)
class Folded:
    """An effective pack as the parts of its answer, each encoded once. The whole is joined for each request: copying 20 KiB takes a
    microsecond or two, and keeping it would double the memory."""

    parts: dict[str, bytes]
    size: int
    digest: str
    etags: dict[tuple[bool, bool], str] = field(default_factory=dict)

    def etag(self, *, origins: bool, rendered: bool) -> str:
        """The hash of everything in the answer but the etag itself."""
        found = self.etags.get((origins, rendered))
        if found is None:
            found = hashlib.sha256(self._rest(origins, rendered)).hexdigest()[:32]
            self.etags[origins, rendered] = found
        return found

    def body(self, *, origins: bool, rendered: bool) -> bytes:
        etag = self.etag(origins=origins, rendered=rendered)
        return b'{"etag":"' + etag.encode() + b'",' + self._rest(origins, rendered) + b"}"

    def _rest(self, origins: bool, rendered: bool) -> bytes:
        names = ["head", "lineage", "content", *(["origins"] if origins else []), *(["rendered"] if rendered else []), "violations"]
        return b",".join([self.parts[name] for name in names])


_folded: OrderedDict[Key, Folded] = OrderedDict()
_folded_bytes = 0
# (tenant, effective digest) that stand in `packs_servedpack`; a row that is there stays.
_served: set[tuple[UUID, str]] = set()
_lock = Lock()


def resolve(principal: Principal, *, pack: str, user: str | None, version: str | None = None) -> Folded:
    """The effective pack for an agent. No query when warm.

    Raises Problem `not_found` (unknown, or not subscribed), `no_champion`, `no_valid_pack`, `lease_expired`.
    """
    watcher.fresh()
    own = pointers_of(principal.tenant_id)
    if version is not None:
        with in_tenant(principal.tenant_id, EVERY_USER):
            return _leased(principal, pack, user, version)
    # A user without a layer of their own gets what everyone gets, whatever the reference looks like.
    user = user if user and f"user:{principal.tenant}/{user}" in own.users else None
    key = (principal.agent_id, pack, user)
    found: Folded | None = own.answers.get(key)
    if found is None:
        shared = pointers_of(platform_id())
        facts = find_pack(shared, own, pack)
        if facts is None or facts.kind == "policy":
            raise problem("not_found", f"There is no pack '{pack}' here, or the tenant is not subscribed to it.")
        entries = version_ids(shared, own, facts, agent_scopes(principal, facts, user))
        found = fold_entries(facts, entries, tenant_id=principal.tenant_id, users=one_user(user))
        own.answers[key] = found
    return found


def agent_scopes(principal: Principal, pack: PackFacts, user: str | None) -> tuple[Scope, ...]:
    return scopes_of(
        pack, tier=principal.tier, tenant=principal.tenant, team=principal.team or None, agent=principal.agent or None, user=user
    )


def _leased(principal: Principal, pack: str, user: str | None, version: str) -> Folded:
    """Exactly the version that is under evaluation: the chain cut after its layer, for the holder of a lease."""
    if principal.agent_id is None:
        raise problem("permission_denied", "A version is resolved by an agent that holds an evaluation lease on it.")
    lease = lease_check(principal.agent_id, version)
    if lease is None:
        raise problem("lease_expired", "You hold no live lease on an evaluation of this version; lease cases again.")
    entries = lease.entries()
    facts = lease.pack()
    if facts.slug != pack:
        raise problem("not_found", f"The version under evaluation is not one of the pack '{pack}'.")
    return fold_entries(facts, entries, tenant_id=principal.tenant_id, users=EVERY_USER)


def fold_entries(pack: PackFacts, entries: Sequence[Entry], *, tenant_id: UUID, users: str) -> Folded:
    """The folded pack of a chain, memoised by the chain itself: tenants with the same chain share it. What is not in memory is read in a
    transaction of the tenant's that reaches the content of `users`."""
    if not any(kind == "domain" for _, _, kind, _ in entries):
        raise problem("no_champion", f"Nothing is live for the pack '{pack.slug}' on this chain; promote a version first.")
    key = tuple((str(scope), slug, kind, version) for scope, slug, kind, version in entries)
    found = _folded.get(key)
    if found is not None and (tenant_id, found.digest) in _served:
        return found
    with in_tenant(tenant_id, users):
        if found is None:
            effective, violations = resolve_chain(references(entries))
            found = _assemble(pack.slug, effective, violations)
            _remember(key, found)
            if violations:
                _flag(violations)
        _keep_digest(tenant_id, pack.slug, found)
    return found


def _assemble(pack: str, effective: Effective, violations: list[Violation]) -> Folded:
    head = {"pack": pack, "digest": effective.digest, "arm": "champion", "rollout": None, "ttl_s": settings.RESOLVE_TTL_S}
    parts = {
        "head": msgspec.json.encode(head)[1:-1],
        "lineage": b'"lineage":' + msgspec.json.encode(effective.lineage),
        "content": b'"content":' + msgspec.json.encode(effective.content),
        "origins": b'"origins":' + msgspec.json.encode(effective.origins),
        "rendered": b'"rendered":' + msgspec.json.encode(render(effective.content)),
        "violations": b'"violations":' + msgspec.json.encode([violation.as_json() for violation in violations]),
    }
    return Folded(parts, sum(len(part) for part in parts.values()), effective.digest)


def _remember(key: Key, folded: Folded) -> None:
    global _folded_bytes
    with _lock:
        if key in _folded:
            return
        _folded[key] = folded
        _folded_bytes += folded.size
        while _folded_bytes > MAX_FOLDED_BYTES and len(_folded) > 1:
            _, gone = _folded.popitem(last=False)
            _folded_bytes -= gone.size


def _keep_digest(tenant_id: UUID, pack: str, folded: Folded) -> None:
    """A run of the tenant's that names this digest later can be traced to the versions it stands for."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO packs_servedpack (id, tenant_id, digest, pack, lineage, created_at) VALUES (%s, %s, %s, %s, %s, now())"
            " ON CONFLICT (tenant_id, digest) DO NOTHING",
            [new_id(), tenant_id, folded.digest, pack, folded.parts["lineage"].removeprefix(b'"lineage":').decode()],
        )
    on_commit(partial(_kept, (tenant_id, folded.digest)))


def _kept(served: tuple[UUID, str]) -> None:
    with _lock:
        if len(_served) >= MAX_SERVED:
            _served.clear()
        _served.add(served)


def _flag(violations: list[Violation]) -> None:
    """A layer that had to be skipped is flagged, and said aloud; resolve itself goes on. It may be the shared library's, which a tenant
    cannot write otherwise."""
    skipped = {violation.layer.version_id for violation in violations if violation.layer is not None}
    with connection.cursor() as cursor:
        cursor.execute("SELECT packs_flag_skipped(%s::uuid[])", [sorted(skipped)])
    for violation in violations:
        log.error("resolve.layer_skipped", **{key: value for key, value in violation.as_json().items() if key != "detail"})
