"""Chains as the present transaction sees them: for checks, evaluation, blast radius and pages. Resolve has its own, cached way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from apps.core.errors import problem
from apps.identity.models import Agent
from apps.identity.selectors import platform_id
from apps.packs.domain.scopes import Scope, ScopeType, segment_of
from apps.packs.domain.validate import Violation, check_against
from apps.packs.domain.values import VersionRef
from apps.packs.models import Layer, PackVersion
from apps.packs.pointers import Entry, PackFacts, Pointers, load_pointers, references, version_ids

# Stands where a version that has no row yet will stand.
PLACEHOLDER = UUID(int=0)


@dataclass(slots=True)
class Pictures:
    """The pointers of the shared library and of one tenant, read once."""

    shared: Pointers
    own: Pointers

    @classmethod
    def of(cls, tenant_id: UUID, *, as_of: datetime | None = None) -> Pictures:
        shared = load_pointers(platform_id(), as_of=as_of)
        return cls(shared, shared if tenant_id == platform_id() else load_pointers(tenant_id, as_of=as_of))


def facts_of(layer: Layer) -> PackFacts:
    pack = layer.pack
    return PackFacts(pack.pk, pack.slug, "policy" if pack.kind == "policy" else "domain", pack.domain, pack.tenant_id)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a layer stands: its scope, its pack's domain ("" for a policy), and of a layer at or below tenant scope the tenant's slug and tier.
    `team` is the slug of the team of the agent whose scope it is."""

    scope: Scope
    domain: str
    tenant: str = ""
    tier: str = ""
    team: str | None = None


def place_of(layer: Layer) -> Place:
    scope = Scope.parse(layer.scope)
    if scope.type.above_tenant:
        return Place(scope, layer.pack.domain)
    agent: Agent | None = layer.agent if scope.type is ScopeType.AGENT else None
    team = agent.team.slug if agent is not None and agent.team else None
    return Place(scope, layer.pack.domain, layer.tenant.slug, layer.tenant.tier, team)


AgentPlace = tuple[str, str | None]


def prefixes(layer: Layer) -> Iterator[tuple[Scope, ...]]:
    """Every possible chain down to the layer, its own scope last; the agents above a user's are those that the tenant has now."""
    place = place_of(layer)
    agents: Iterable[AgentPlace] = ()
    if place.scope.type is ScopeType.USER:
        agents = Agent.objects.filter(tenant_id=layer.tenant_id).values_list("slug", "team__slug").iterator()
    return chains_to(place, agents)


def chains_to(place: Place, agents: Iterable[AgentPlace]) -> Iterator[tuple[Scope, ...]]:
    """Chains differ in the segment above a domain layer, and in the team and agent above a user's: of all `agents` (slug, slug of the team)
    of the tenant."""
    own = place.scope
    top = Scope(ScopeType.GLOBAL, "")
    if own.type is ScopeType.GLOBAL:
        yield (top,)
        return
    if own.type is ScopeType.SEGMENT:
        yield (top, own)
        return
    domain = (Scope(ScopeType.DOMAIN, place.domain),) if place.domain else ()
    if own.type is ScopeType.DOMAIN:
        # Platform's agents, who evaluate these layers, are of the enterprise segment: that chain comes first.
        for segment in ("enterprise", "individual"):
            yield (top, Scope(ScopeType.SEGMENT, segment), own)
        return
    upper = (top, Scope(ScopeType.SEGMENT, segment_of(place.tier)), *domain, Scope(ScopeType.TENANT, place.tenant))
    if own.type is ScopeType.TENANT:
        yield upper
    elif own.type is ScopeType.TEAM:
        yield (*upper, own)
    elif own.type is ScopeType.AGENT:
        team = (Scope(ScopeType.TEAM, f"{place.tenant}/{place.team}"),) if place.team else ()
        yield (*upper, *team, own)
    else:
        yield (*upper, own)
        for slug, name in agents:
            above = (Scope(ScopeType.TEAM, f"{place.tenant}/{name}"),) if name else ()
            yield (*upper, *above, Scope(ScopeType.AGENT, f"{place.tenant}/{slug}"), own)


def prefix_entries(layer: Layer, version: PackVersion | None, pictures: Pictures | None = None) -> list[Entry]:
    """The chain cut after the layer, with `version` in its place (None: without the layer): what a lease resolves."""
    pictures = pictures or Pictures.of(layer.tenant_id)
    return _cut(layer, next(prefixes(layer)), version.pk if version else None, pictures)


def prefix_chain(layer: Layer, version: PackVersion | None) -> list[VersionRef]:
    """As `prefix_entries`, with content. Raises Problem `no_champion` when nothing is left."""
    entries = prefix_entries(layer, version)
    if not entries:
        raise problem("no_champion", f"Nothing is live for '{layer.pack.slug}' above {layer.scope}.")
    return list(references(entries))


def _cut(layer: Layer, scopes: tuple[Scope, ...], version: UUID | None, pictures: Pictures) -> list[Entry]:
    replace = {(layer.pack_id, layer.scope): version}
    entries = version_ids(pictures.shared, pictures.own, facts_of(layer), scopes, replace=replace)
    if version is None:
        return entries
    return entries[: 1 + max(index for index, entry in enumerate(entries) if entry[3] == version)]


def ancestors(layer: Layer, scopes: tuple[Scope, ...], pictures: Pictures) -> tuple[VersionRef, ...]:
    """The versions before the layer on one chain."""
    return references(_cut(layer, scopes, PLACEHOLDER, pictures)[:-1])


def violations_of(layer: Layer, content: dict[str, object], pictures: Pictures | None = None) -> list[Violation]:
    """What `content`, put into the layer, would break of its ancestors on any possible chain; each finding once."""
    pictures = pictures or Pictures.of(layer.tenant_id)
    found: dict[tuple[str, str, int, str, str], Violation] = {}
    seen: set[tuple[tuple[str, str, str], ...]] = set()
    for scopes in prefixes(layer):
        chain = ancestors(layer, scopes, pictures)
        # Hundreds of agents say the same four things; one of each is enough.
        key = tuple((ref.scope.type.value, ref.pack, ref.digest) for ref in chain)
        if key in seen:
            continue
        seen.add(key)
        for violation in check_against(chain, content, facts_of(layer).kind):
            found[violation.scope, violation.pack, violation.version, violation.pointer, violation.detail] = violation
    return list(found.values())


def ancestor_digests(layer: Layer, pictures: Pictures | None = None) -> dict[str, str | None]:
    """The digests of all champions at or above the layer, the layer's own included, by `pack@scope`: what an approval is bound to."""
    pictures = pictures or Pictures.of(layer.tenant_id)
    found: dict[str, str | None] = {
        f"{ref.pack}@{ref.scope}": ref.digest for scopes in prefixes(layer) for ref in ancestors(layer, scopes, pictures)
    }
    found[f"{layer.pack.slug}@{layer.scope}"] = layer.champion.digest if layer.champion else None
    return found
