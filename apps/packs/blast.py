"""Everyone whom a layer's change can reach: the targets of the blast radius, by a handful of queries however many there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from apps.identity.models import Agent, AgentStatus, Tenant, TenantStatus
from apps.identity.selectors import platform_id
from apps.packs.chains import PLACEHOLDER, facts_of, prefixes
from apps.packs.domain.blast import Slot, Target
from apps.packs.domain.scopes import Scope
from apps.packs.models import Layer
from apps.packs.pointers import PackFacts, Pointers, Stored, load_many, reference, scopes_of, stored_versions, version_ids


def layer_key(pack: str, scope: str) -> str:
    return f"{pack}@{scope}"


def blast_targets(layer: Layer, *, only_tenant: UUID | None) -> Iterator[Target]:
    """The agents and live layers whose chain holds `layer`. `only_tenant` limits them to one tenant; a layer below platform always is."""
    tenant_id = only_tenant or (None if layer.tenant_id == platform_id() else layer.tenant_id)
    pictures = load_many(None if tenant_id is None else [platform_id(), tenant_id])
    shared = pictures[platform_id()]
    facts = facts_of(layer)
    tenants = {tenant.pk: tenant for tenant in Tenant.objects.filter(status=TenantStatus.ACTIVE) if tenant_id in (None, tenant.pk)}
    agents = list(Agent.objects.filter(tenant_id__in=tenants, status=AgentStatus.ACTIVE).values_list("tenant_id", "slug", "team__slug"))
    world = _World(layer, facts, shared, pictures, tenants, agents, stored_versions(list(_live_ids(pictures.values()))))
    yield from _agents(world)
    yield from _layers(world)


AgentRow = tuple[UUID, str, str | None]


@dataclass(slots=True)
class _World:
    """Everything that is live in the tenants concerned, read once."""

    layer: Layer
    facts: PackFacts
    shared: Pointers
    pictures: dict[UUID, Pointers]
    tenants: dict[UUID, Tenant]
    agents: list[AgentRow]
    versions: dict[UUID, Stored]


def _live_ids(pictures: Iterable[Pointers]) -> Iterator[UUID]:
    for picture in pictures:
        yield from picture.champions.values()
        yield from (version for entries in picture.policies.values() for _, version in entries)
        yield from picture.pinned


def _agents(world: _World) -> Iterator[Target]:
    tenants, pictures = world.tenants, world.pictures
    for tenant_id, slug, team in world.agents:
        tenant, own = tenants[tenant_id], pictures[tenant_id]
        for pack in _packs(world.facts, world.shared, own):
            scopes = scopes_of(pack, tier=tenant.tier, tenant=tenant.slug, team=team, agent=slug)
            chain = _chain(world, own, pack, scopes)
            if chain is not None:
                yield Target("agent", f"{tenant.slug}/{slug}", tenant.slug, chain)


def _layers(world: _World) -> Iterator[Target]:
    tenants = world.tenants
    agents: dict[tuple[UUID, UUID], list[tuple[str, str | None]]] = {}
    below = Layer.objects.filter(tenant_id__in=tenants, champion__isnull=False, suspended_by__isnull=True).exclude(pk=world.layer.pk)
    if world.facts.kind == "domain":
        below = below.filter(pack_id=world.facts.id)
    for other in below.select_related("pack", "tenant", "agent__team"):
        own = world.pictures[other.tenant_id]
        pack = facts_of(other)
        if pack.kind == "policy":
            continue
        tenant = None if other.tenant_id == platform_id() else tenants[other.tenant_id].slug
        # By its own chains: a user's differ in the agent, a domain's in the segment.
        key = (other.tenant_id, pack.id)
        if other.scope_type == "user" and key not in agents:
            agents[key] = _agents_above(world, own, pack, tenants[other.tenant_id])
        chains = (_chain(world, own, pack, scopes) for scopes in prefixes(other, agents=agents.get(key, ())))
        for chain in dict.fromkeys(chain for chain in chains if chain is not None):
            yield Target("layer", layer_key(pack.slug, other.scope), tenant, chain)


def _agents_above(world: _World, own: Pointers, pack: PackFacts, tenant: Tenant) -> list[tuple[str, str | None]]:
    """The agents that make a difference to the chains of the tenant's users: one of those at whom, and at whose team, the same is live."""
    found: dict[tuple[str, ...], tuple[str, str | None]] = {}
    for tenant_id, slug, team in world.agents:
        if tenant_id == tenant.pk:
            scopes = [f"team:{tenant.slug}/{team}", f"agent:{tenant.slug}/{slug}"]
            found.setdefault(tuple(text for scope in scopes for text in _live_at(world, own, pack, scope)), (slug, team))
    return list(found.values())


def _live_at(world: _World, own: Pointers, pack: PackFacts, scope: str) -> Iterator[str]:
    yield scope if scope == world.layer.scope else ""
    versions = [version for _, version in own.policies.get(scope, ())]
    if (champion := own.champions.get((pack.id, scope))) is not None:
        versions.append(champion)
    yield from (world.versions[version][1] for version in versions)


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
    layer, shared = world.layer, world.shared
    if layer.scope not in [str(scope) for scope in scopes]:
        return None
    pinned = own.subscriptions.get(pack.id)
    if world.facts.kind == "domain" and pinned is not None and own.pinned.get(pinned) == layer.scope:
        # Pinned at this very layer: its champion does not reach this tenant.
        return None
    now = version_ids(shared, own, pack, scopes)
    present = {(entry[1], str(entry[0])): reference(entry, world.versions.get(entry[3])) for entry in now}
    slots = version_ids(shared, own, pack, scopes, replace={(layer.pack_id, layer.scope): PLACEHOLDER})
    return tuple(Slot(layer_key(slug, str(scope)), present.get((slug, str(scope)))) for scope, slug, _, _ in slots)
