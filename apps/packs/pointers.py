"""The process's picture of what is live: champion pointers of a tenant, and the versions they name.

Pointers are dropped when their tenant's generation moves (`core.generations`); versions never change and are kept until room is needed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any, Literal
from uuid import UUID
from weakref import WeakValueDictionary

from django.db.models import Func, IntegerField

from apps.core.cache import GenerationCache
from apps.core.context import EVERY_USER, Topic, in_tenant
from apps.identity.selectors import platform_id
from apps.packs.domain.scopes import Scope, chain_for
from apps.packs.domain.values import VersionRef
from apps.packs.models import Layer, Pack, PackVersion, PointerChange, Subscription

MAX_TENANTS = 20_000
MAX_VERSION_BYTES = 32 * 1024 * 1024
SIZE = Func("canonical", function="octet_length", output_field=IntegerField())

# A version's number, digest, content, and the bytes of its canonical form.
Stored = tuple[int, str, dict[str, Any], int]


@dataclass(frozen=True, slots=True)
class PackFacts:
    id: UUID
    slug: str
    kind: Literal["domain", "policy"]
    domain: str
    tenant_id: UUID


@dataclass(slots=True)
class Pointers:
    """What one tenant (or `platform`) owns and has live."""

    packs: dict[str, PackFacts] = field(default_factory=dict)
    # (pack id, scope) -> version id
    champions: dict[tuple[UUID, str], UUID] = field(default_factory=dict)
    # scope -> policy champions by slug
    policies: dict[str, list[tuple[str, UUID]]] = field(default_factory=dict)
    # pack id -> pinned version, or None to follow the shared champion
    subscriptions: dict[UUID, UUID | None] = field(default_factory=dict)
    # pinned version -> its scope
    pinned: dict[UUID, str] = field(default_factory=dict)
    # Scopes of users that have a layer of their own.
    users: set[str] = field(default_factory=set)
    # Answers of resolve, dropped together with the pointers they were made of; the memory of folded packs decides how long they live.
    answers: WeakValueDictionary[tuple[Any, ...], Any] = field(default_factory=WeakValueDictionary)


_pointers: GenerationCache[UUID, Pointers] = GenerationCache(
    Topic.PACKS, Topic.TOKENS, tenant_of=lambda tenant_id, _: tenant_id, limit=MAX_TENANTS, root=platform_id()
)
_versions: OrderedDict[UUID, Stored] = OrderedDict()
_version_bytes = 0
_lock = Lock()


def pointers_of(tenant_id: UUID) -> Pointers:
    """A tenant's picture, from memory; what is not there is read in a transaction of that tenant's, for all its users: a picture holds
    names and ids, and no content. A change of `platform`'s drops every tenant's: answers are made of both.

    For readers only: inside a transaction that has changed pointers, `load_pointers` (what this would keep may yet be rolled back).
    """
    return _pointers.get(tenant_id, _read)


def _read(tenant_id: UUID) -> Pointers:
    with in_tenant(tenant_id, EVERY_USER):
        return load_pointers(tenant_id)


def load_pointers(tenant_id: UUID, *, as_of: datetime | None = None) -> Pointers:
    """A tenant's picture as this transaction sees it, or as it was at a time (packs and subscriptions: as they are now), by three queries."""
    packs = Pack.objects.filter(tenant_id=tenant_id).values_list("id", "slug", "kind", "domain", "tenant_id")
    subscriptions = Subscription.objects.filter(tenant_id=tenant_id).values_list("pack_id", "pinned_id", "pinned__layer__scope")
    return picture((PackFacts(*pack) for pack in packs), _live(tenant_id, as_of), subscriptions)


def picture(
    packs: Iterable[PackFacts], live: Iterable[tuple[UUID, str, str, str, UUID]], subscriptions: Iterable[tuple[UUID, UUID | None, str]]
) -> Pointers:
    """Of one tenant's packs, what is live in its layers (pack, its slug and kind, scope, version), and its subscriptions (pack, pinned version
    and that one's scope)."""
    found = Pointers(packs={pack.slug: pack for pack in packs})
    for pack_id, slug, kind, scope, version in live:
        if scope.startswith("user:"):
            found.users.add(scope)
        if kind == "policy":
            found.policies.setdefault(scope, []).append((slug, version))
        else:
            found.champions[pack_id, scope] = version
    for entries in found.policies.values():
        entries.sort()
    for pack_id, pinned, scope in subscriptions:
        found.subscriptions[pack_id] = pinned
        if pinned is not None:
            found.pinned[pinned] = scope
    return found


def _live(tenant_id: UUID, as_of: datetime | None) -> Iterable[tuple[Any, ...]]:
    if as_of is None:
        live = Layer.objects.filter(tenant_id=tenant_id, champion__isnull=False, suspended_by__isnull=True)
        return live.values_list("pack_id", "pack__slug", "pack__kind", "scope", "champion_id")
    changes = PointerChange.objects.filter(tenant_id=tenant_id, at__lte=as_of).order_by("layer_id", "-at", "-id").distinct("layer_id")
    rows = changes.values_list("layer__pack_id", "layer__pack__slug", "layer__pack__kind", "layer__scope", "version_id")
    return [row for row in rows if row[-1] is not None]


def find_pack(shared: Pointers, own: Pointers, slug: str) -> PackFacts | None:
    """The tenant's own pack of this slug, or the shared one when the tenant is subscribed; policy packs need no subscription."""
    if (pack := own.packs.get(slug)) is not None:
        return pack
    found = shared.packs.get(slug)
    if found is not None and (found.kind == "policy" or found.id in own.subscriptions):
        return found
    return None


Entry = tuple[Scope, str, Literal["domain", "policy"], UUID]
Replacement = Mapping[tuple[UUID, str], UUID | None]


def version_ids(
    shared: Pointers, own: Pointers, pack: PackFacts, scopes: Sequence[Scope], *, replace: Replacement | None = None
) -> list[Entry]:
    """(scope, pack slug, kind, version id) along a chain, weakest first: at each scope the policies by slug, then the pack.

    `replace` puts another version (None: nothing) at (id of a policy pack or of `pack`, scope), whether one is live there or not.
    """
    pinned = own.subscriptions.get(pack.id)
    found: list[Entry] = []
    for scope in scopes:
        name = str(scope)
        picture = shared if scope.type.above_tenant else own
        policies = picture.policies.get(name, [])
        if replace:
            policies = _replaced_policies(shared, own, policies, name, replace)
        found += [(scope, slug, "policy", version) for slug, version in policies]
        if pack.kind == "policy":
            continue
        champion = picture.champions.get((pack.id, name))
        if pinned is not None and own.pinned.get(pinned) == name:
            champion = pinned
        if replace and (pack.id, name) in replace:
            champion = replace[pack.id, name]
        if champion is not None:
            found.append((scope, pack.slug, "domain", champion))
    return found


def _replaced_policies(
    shared: Pointers, own: Pointers, policies: list[tuple[str, UUID]], scope: str, replace: Replacement
) -> list[tuple[str, UUID]]:
    slugs = {pack.id: pack.slug for picture in (shared, own) for pack in picture.packs.values() if pack.kind == "policy"}
    changed = {slugs[pack_id]: version for (pack_id, at), version in replace.items() if at == scope and pack_id in slugs}
    kept = [(slug, version) for slug, version in policies if slug not in changed]
    return sorted(kept + [(slug, version) for slug, version in changed.items() if version is not None])


def references(entries: Sequence[Entry]) -> tuple[VersionRef, ...]:
    """The versions of a chain with their content: from memory, the missing ones by one query."""
    found = {version: _versions.get(version) for *_, version in entries}
    missing = [version for version, stored in found.items() if stored is None]
    if missing:
        loaded = stored_versions(missing)
        found |= loaded
        _keep(loaded)
    return tuple(reference(entry, found[entry[3]]) for entry in entries)


def _keep(loaded: Mapping[UUID, Stored]) -> None:
    """In memory, the oldest making room."""
    global _version_bytes
    with _lock:
        for version, stored in loaded.items():
            if version not in _versions:
                _versions[version] = stored
                _version_bytes += stored[3]
        while _version_bytes > MAX_VERSION_BYTES:
            _version_bytes -= _versions.popitem(last=False)[1][3]


def reference(entry: Entry, stored: Stored | None) -> VersionRef:
    scope, slug, kind, version = entry
    if stored is None:
        raise LookupError(f"version {version} is live and not there")
    number, digest, content, _ = stored
    return VersionRef(scope, slug, kind, number, str(version), digest, content)


def stored_versions(ids: Sequence[UUID]) -> dict[UUID, Stored]:
    """Number, digest and content of versions, by one query for each thousand."""
    found: dict[UUID, Stored] = {}
    for start in range(0, len(ids), 1000):
        rows = PackVersion.objects.filter(pk__in=ids[start : start + 1000]).annotate(size=SIZE)
        found.update({pk: (number, *rest) for pk, number, *rest in rows.values_list("pk", "number", "digest", "content", "size")})
    return found


def scopes_of(
    pack: PackFacts, *, tier: str, tenant: str, team: str | None = None, agent: str | None = None, user: str | None = None
) -> tuple[Scope, ...]:
    """The chain of a run of `pack`. A policy pack has no domain of its own."""
    scopes = chain_for(tier=tier, domain=pack.domain or "any", tenant=tenant, team=team, agent=agent, user=user)
    return scopes if pack.domain else tuple(scope for scope in scopes if scope.type.value != "domain")
