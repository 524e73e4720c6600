"""The demo's documents as chains for the fold, the way the portal will have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apps.core.domain.canonical import canonical_bytes, digest
from apps.demo import catalogue
from apps.packs.domain.content import parse_content
from apps.packs.domain.scopes import Scope, chain_for
from apps.packs.domain.values import VersionRef

TIERS = {tenant.slug: tenant.tier for tenant in catalogue.organisation().tenants}


def scopes_for(
    pack: catalogue.Pack, tenant: str, team: str | None = None, agent: str | None = None, user: str | None = None
) -> tuple[Scope, ...]:
    return chain_for(tier=TIERS[tenant], domain=pack.domain, tenant=tenant, team=team, agent=agent, user=user)


def version(layer: catalogue.Layer, content: Mapping[str, Any] | None = None, number: int = 1) -> VersionRef:
    pack = catalogue.pack(layer.pack)
    parsed = parse_content(dict(content or layer.content), kind=pack.kind)
    name = f"{layer.pack}@{layer.scope}#{number}"
    return VersionRef(Scope.parse(layer.scope), layer.pack, pack.kind, number, name, digest(canonical_bytes(parsed)), parsed)


def chain(slug: str, scopes: tuple[Scope, ...], swap: Mapping[str, Mapping[str, Any]] | None = None) -> list[VersionRef]:
    """The versions in fold order; `swap` puts another content (a challenger's) at a scope of the pack."""
    found = []
    for scope in scopes:
        for layer in (*catalogue.pack(catalogue.POLICY).layers, *catalogue.pack(slug).layers):
            if layer.scope == str(scope):
                other = (swap or {}).get(layer.scope) if layer.pack == slug else None
                found.append(version(layer, other, 2 if other else 1))
    return found


def prefix(slug: str, tenant: str | None, swap: Mapping[str, Mapping[str, Any]] | None = None) -> list[VersionRef]:
    """The chain cut after the tenant's layer: what evidence for a tenant's challenger is made on. Without a tenant: the global layer's."""
    if tenant is None:
        return chain(slug, (Scope.parse("global"),), swap)
    return chain(slug, scopes_for(catalogue.pack(slug), tenant), swap)
