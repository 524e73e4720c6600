"""Everyone whom a layer's change can reach: the targets of the blast radius, by a handful of queries however many there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from apps.identity.models import Agent, AgentStatus, Tenant, TenantStatus
from apps.identity.selectors import platform_id
from apps.packs.across import LiveLayer, Living, TenantFacts, living_everywhere
from apps.packs.chains import PLACEHOLDER, Pictures, chains_to, facts_of, place_of
from apps.packs.domain.blast import Slot, Target
from apps.packs.domain.scopes import Scope, ScopeType
from apps.packs.models import Layer
from apps.packs.pointers import PackFacts, Pointers, reference, scopes_of, stored_versions, version_ids


def layer_key(pack: str, scope: str) -> str:
    return f"{pack}@{scope}"


def blast_targets(layer: Layer, *, only_tenant: UUID | None) -> Iterator[Target]:
    """The agents and live layers whose chain holds `layer`. `only_tenant`, in whose transaction this is called, limits them to one tenant; a
    layer below platform always is. Without it, it is called as `platform`."""
    tenant_id = only_tenant or (None if layer.tenant_id == platform_id() else layer.tenant_id)
    facts = facts_of(layer)
    world = _World(layer, facts, living_everywhere(facts) if tenant_id is None else _living_in(tenant_id))
    yield from _agents(world)
    yield from _layers(world)


def _living_in(tenant_id: UUID) -> Living:
    """What is live in one tenant and in the shared library above it."""
    both = Pictures.of(tenant_id)
    pictures = defaultdict(Pointers, {platform_id(): both.shared, tenant_id: both.own})
    tenants = {
        row[0]: TenantFacts(*row)
        for row in Tenant.objects.filter(status=TenantStatus.ACTIVE, pk=tenant_id).values_list("pk", "slug", "tier")
    }
    agents = Agent.objects.filter(tenant_id__in=tenants, status=AgentStatus.ACTIVE).values_list("tenant_id", "slug", "team__slug")
    rows = Layer.objects.filter(tenant_id__in=tenants, champion__isnull=False, suspended_by__isnull=True)
    layers = [
        LiveLayer(row.pk, row.tenant_id, facts_of(row), place_of(row), row.champion_id)
        for row in rows.select_related("pack", "tenant", "agent__team")
    ]
    live = {
        version
        for found in (both.shared, both.own)
        for version in (*found.champions.values(), *(key for entries in found.policies.values() for _, key in entries), *found.pinned)
    }
    return Living(both.shared, pictures, tenants, list(agents), layers, stored_versions(sorted(live)))


@dataclass(slots=True)
class _World:
    """The layer that changes, among what is live."""

    layer: Layer
    facts: PackFacts
    living: Living


def _agents(world: _World) -> Iterator[Target]:
    living = world.living
    for tenant_id, slug, team in living.agents:
        tenant, own = living.tenants[tenant_id], living.pictures[tenant_id]
        for pack in _packs(world.facts, living.shared, own):
            scopes = scopes_of(pack, tier=tenant.tier, tenant=tenant.slug, team=team, agent=slug)
            chain = _chain(world, own, pack, scopes)
            if chain is not None:
                yield Target("agent", f"{tenant.slug}/{slug}", tenant.slug, chain)


def _layers(world: _World) -> Iterator[Target]:
    living = world.living
    agents: dict[tuple[UUID, UUID], list[tuple[str, str | None]]] = {}
    for other in living.layers:
        pack = other.pack
        if other.id == world.layer.pk or pack.kind == "policy" or (world.facts.kind == "domain" and pack.id != world.facts.id):
            continue
        own = living.pictures[other.tenant_id]
        tenant = None if other.tenant_id == platform_id() else living.tenants[other.tenant_id].slug
        # By its own chains: a user's differ in the agent, a domain's in the segment.
        key = (other.tenant_id, pack.id)
        if other.place.scope.type is ScopeType.USER and key not in agents:
            agents[key] = _agents_above(world, own, pack, living.tenants[other.tenant_id])
        chains = (_chain(world, own, pack, scopes) for scopes in chains_to(other.place, agents.get(key, ())))
        for chain in dict.fromkeys(chain for chain in chains if chain is not None):
            yield Target("layer", layer_key(pack.slug, str(other.place.scope)), tenant, chain)


def _agents_above(world: _World, own: Pointers, pack: PackFacts, tenant: TenantFacts) -> list[tuple[str, str | None]]:
    """The agents that make a difference to the chains of the tenant's users: one of those at whom, and at whose team, the same is live."""
    found: dict[tuple[str, ...], tuple[str, str | None]] = {}
    for tenant_id, slug, team in world.living.agents:
        if tenant_id == tenant.id:
            scopes = [f"team:{tenant.slug}/{team}", f"agent:{tenant.slug}/{slug}"]
            found.setdefault(tuple(text for scope in scopes for text in _live_at(world, own, pack, scope)), (slug, team))
    return list(found.values())


def _live_at(world: _World, own: Pointers, pack: PackFacts, scope: str) -> Iterator[str]:
    yield scope if scope == world.layer.scope else ""
    versions = [version for _, version in own.policies.get(scope, ())]
    if (champion := own.champions.get((pack.id, scope))) is not None:
        versions.append(champion)
    yield from (world.living.versions[version][1] for version in versions)


def _packs(facts: PackFacts, shared: Pointers, own: Pointers) -> Iterator[PackFacts]:
    """The packs of a tenant that the change can reach: the layer's own, or all for a policy."""
    if facts.kind == "domain":
        if facts.id in own.subscriptions or own.packs.get(facts.slug) == facts:
            yield facts
        return
    yield from (pack for pack in own.packs.values() if pack.kind == "domain")
    yield from (pack for pack in shared.packs.values() if pack.kind == "domain" and pack.id in own.subscriptions)


def _chain(world: _World, own: Pointers, pack: PackFacts, scopes: tuple[Scope, ...]) -> tuple[Slot, ...] | None:
    """The slots of a chain, the layer's own among them even when nothing is live there; None when the chain does not pass the layer."""
    layer, shared = world.layer, world.living.shared
    if layer.scope not in [str(scope) for scope in scopes]:
        return None
    pinned = own.subscriptions.get(pack.id)
    if world.facts.kind == "domain" and pinned is not None and own.pinned.get(pinned) == layer.scope:
        # Pinned at this very layer: its champion does not reach this tenant.
        return None
    now = version_ids(shared, own, pack, scopes)
    present = {(entry[1], str(entry[0])): reference(entry, world.living.versions.get(entry[3])) for entry in now}
    slots = version_ids(shared, own, pack, scopes, replace={(layer.pack_id, layer.scope): PLACEHOLDER})
    return tuple(Slot(layer_key(slug, str(scope)), present.get((slug, str(scope)))) for scope, slug, _, _ in slots)
