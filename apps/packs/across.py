"""What is live in all tenants, for whoever changes the shared library: read as `platform`, through functions of the database's owner that
give names, ids and digests; content is read in each tenant's own binding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from apps.core.context import EVERY_USER, set_tenant
from apps.identity.selectors import platform_id
from apps.packs.chains import Place
from apps.packs.domain.scopes import Scope
from apps.packs.models import PackVersion
from apps.packs.pointers import PackFacts, Pointers, Stored, picture


@dataclass(frozen=True, slots=True)
class TenantFacts:
    id: UUID
    slug: str
    tier: str


@dataclass(frozen=True, slots=True)
class LiveLayer:
    """A layer that serves `version`."""

    id: UUID
    tenant_id: UUID
    pack: PackFacts
    place: Place
    version: UUID


AgentRow = tuple[UUID, str, str | None]


@dataclass(slots=True)
class Living:
    """Everything that is live in the tenants concerned, read once. `agents`: tenant, slug, slug of the team."""

    shared: Pointers
    pictures: defaultdict[UUID, Pointers]
    tenants: dict[UUID, TenantFacts]
    agents: list[AgentRow]
    layers: list[LiveLayer]
    versions: dict[UUID, Stored]


def living_everywhere(pack: PackFacts) -> Living:
    """Of all active tenants what a change of this shared pack can concern. Raises DatabaseError for anybody but `platform`."""
    only = None if pack.kind == "policy" else pack.id
    tenants = {row[0]: TenantFacts(*row) for row in _rows("packs_reached_tenants()")}
    packs, live, subscriptions = _grouped("packs", only), _rows("packs_reached_layers(%s)", only), _grouped("subscriptions", only)
    pointers: dict[UUID, list[Any]] = defaultdict(list)
    layers, wanted = [], {}
    for key, tenant_id, pack_id, slug, kind, domain, owner, scope, team, version, number, digest in live:
        pointers[tenant_id].append((pack_id, slug, kind, scope, version))
        wanted[version] = (tenant_id, number, digest)
        facts = PackFacts(pack_id, slug, kind, domain, owner)
        layers.append(LiveLayer(key, tenant_id, facts, _place(scope, domain, tenants[tenant_id], team), version))
    pictures: defaultdict[UUID, Pointers] = defaultdict(Pointers)
    for tenant_id in {*packs, *pointers, *subscriptions}:
        own = (PackFacts(*row) for row in packs[tenant_id])
        pictures[tenant_id] = picture(own, pointers[tenant_id], (row[1:] for row in subscriptions[tenant_id]))
    agents = _rows("packs_reached_agents()")
    return Living(pictures[platform_id()], pictures, tenants, agents, layers, _contents(wanted, pictures.values()))


def serving_everywhere(versions: Iterable[UUID]) -> list[tuple[UUID, UUID]]:
    """The layers of all tenants that serve one of these versions, with their tenants, in order. Raises as `living_everywhere` does."""
    wanted = list(versions)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, tenant_id FROM packs_reached_layers(NULL) WHERE champion_id = ANY(%s::uuid[]) ORDER BY id", [wanted])
        return cursor.fetchall()


def _place(scope: str, domain: str, tenant: TenantFacts, team: str | None) -> Place:
    parsed = Scope.parse(scope)
    return Place(parsed, domain) if parsed.type.above_tenant else Place(parsed, domain, tenant.slug, tenant.tier, team)


def _rows(function: str, *arguments: UUID | None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {function}", arguments)  # noqa: S608 -- names of this module
        return cursor.fetchall()


def _grouped(what: str, only: UUID | None) -> defaultdict[UUID, list[tuple[Any, ...]]]:
    found: defaultdict[UUID, list[tuple[Any, ...]]] = defaultdict(list)
    for row in _rows(f"packs_reached_{what}(%s)", only):
        found[row[4] if what == "packs" else row[0]].append(row)
    return found


def _contents(live: dict[UUID, tuple[UUID, int, str]], pictures: Iterable[Pointers]) -> dict[UUID, Stored]:
    """The versions with their content. One of each digest is read, tenant by tenant, as that tenant; presets make most of them equal."""
    shared_first = sorted(live, key=lambda version: live[version][0] != platform_id())
    one_of = {live[version][2]: version for version in reversed(shared_first)}
    by_tenant: dict[UUID, list[UUID]] = defaultdict(list)
    for version in one_of.values():
        by_tenant[live[version][0]].append(version)
    # Pinned versions are the shared library's, and may have been live before.
    pinned = {version for found in pictures for version in found.pinned} - live.keys()
    by_tenant[platform_id()] += sorted(pinned)
    content: dict[str, Any] = {}
    numbers = {version: (number, digest) for version, (_, number, digest) in live.items()}
    with transaction.atomic():
        before = set_tenant(platform_id())
        for tenant_id, versions in by_tenant.items():
            set_tenant(tenant_id, EVERY_USER)
            for version, number, digest, said in PackVersion.objects.filter(pk__in=versions).values_list(
                "pk", "number", "digest", "content"
            ):
                numbers[version], content[digest] = (number, digest), said
        set_tenant(before)
    return {version: (number, digest, content[digest], 0) for version, (number, digest) in numbers.items()}
