"""Many tenants with packs and tokens, written in bulk: what resolve is measured on."""

from __future__ import annotations

import random
from typing import Any

from django.db import transaction

from apps.core.context import system_context
from apps.core.domain.canonical import canonical_bytes, digest
from apps.core.ids import new_id
from apps.core.owner import as_owner
from apps.identity.models import Agent, AgentToken, Organisation, Team, Tenant
from apps.identity.selectors import platform_id
from apps.identity.tokens import new_secret
from apps.packs.models import Layer, Pack, PackVersion, Subscription
from apps.packs.services.layers import locked_layer, set_champion
from apps.packs.services.packs import create_pack
from apps.packs.services.versions import create_version

PACK = "bench-pack"


def shared_pack(slug: str = PACK, *, body_bytes: int, above_tenant: int = 1) -> Pack:
    """A shared pack whose resolved body is about `body_bytes`, live at `above_tenant` of the three scopes above tenant."""
    ctx = system_context("benchmark", tenant_id=platform_id())
    pack = create_pack(ctx=ctx, slug=slug, kind="domain", title="Benchmark", domain="bench")
    scopes = ["domain:bench", "segment:enterprise", "global"][:above_tenant]
    # A section's text stands twice in the answer: in content and rendered.
    for position, scope in enumerate(reversed(scopes)):
        size = (body_bytes - 2500) // 2 // above_tenant
        sections = {f"part-{position}-{n}": _section(n, size // 8) for n in range(8)}
        version = create_version(ctx=ctx, pack_slug=slug, scope=scope, content={"sections": sections, "tools": {"deny": ["shell.exec"]}})
        with ctx.transaction():
            set_champion(ctx, locked_layer(version.layer_id), version, archived_reason="replaced")
    return pack


def _section(number: int, size: int) -> dict[str, Any]:
    words = random.Random(number).choices(
        ["policy", "answer", "employee", "leave", "request", "cite", "the", "source", "and", "when"], k=size
    )
    return {"text": " ".join(words)[:size], "order": number, "file": "AGENTS", "mode": "append"}


def a_tenant(slug: str) -> Tenant:
    """With an organisation of its own. As the owner."""
    organisation = Organisation.objects.create(slug=slug, name=slug)
    return Tenant.objects.create(organisation=organisation, slug=slug, name=slug, tier="enterprise")


def tenants(pack: Pack, count: int, *, layered_every: int = 10, scopes: tuple[str, ...] = ("tenant",)) -> list[str]:
    """Subscribed tenants with one agent and token each; one in `layered_every` has layers of its own, at `scopes`. Gives the tokens.
    Written as the owner: rows of so many tenants at once are nobody else's to write."""
    with as_owner():
        return _tenants(pack, count, layered_every, scopes)


def _tenants(pack: Pack, count: int, layered_every: int, scopes: tuple[str, ...]) -> list[str]:
    organisation = Organisation.objects.create(slug=f"bench-{new_id().hex[:12]}", name="Benchmark")
    made = [Tenant(organisation=organisation, slug=f"t-{new_id().hex[-16:]}", name="T", tier="enterprise") for _ in range(count)]
    Tenant.objects.bulk_create(made, batch_size=2000)
    teams = [Team(tenant=tenant, slug="team", name="Team") for tenant in made]
    Team.objects.bulk_create(teams, batch_size=2000)
    agents = [Agent(tenant=tenant, team=team, slug="agent", domain="bench") for tenant, team in zip(made, teams, strict=True)]
    Agent.objects.bulk_create(agents, batch_size=2000)
    Subscription.objects.bulk_create([Subscription(tenant=tenant, pack=pack) for tenant in made], batch_size=2000)
    secrets = [new_secret() for _ in made]
    AgentToken.objects.bulk_create(
        [
            AgentToken(tenant=tenant, agent=agent, prefix=secret[0], hash=secret[2])
            for tenant, agent, secret in zip(made, agents, secrets, strict=True)
        ],
        batch_size=2000,
    )
    _layers(pack, made, teams, agents, layered_every, scopes)
    return [secret[1] for secret in secrets]


def _layers(pack: Pack, made: list[Tenant], teams: list[Team], agents: list[Agent], every: int, scopes: tuple[str, ...]) -> None:
    layers: list[Layer] = []
    versions: list[PackVersion] = []
    for index, (tenant, team, agent) in enumerate(zip(made, teams, agents, strict=True)):
        known: dict[str, tuple[str, dict[str, Any]]] = {
            "tenant": (f"tenant:{tenant.slug}", {}),
            "team": (f"team:{tenant.slug}/team", {"team": team}),
            "agent": (f"agent:{tenant.slug}/agent", {"agent": agent}),
            "user": (f"user:{tenant.slug}/u-1", {}),
        }
        for kind in scopes if index % every == 0 else ():
            scope, links = known[kind]
            content = {"sections": {f"own-{kind}": {"text": f"Own text of {scope}.", "order": 90, "file": "AGENTS", "mode": "append"}}}
            raw = canonical_bytes(content)
            layer = Layer(id=new_id(), tenant=tenant, pack=pack, scope_type=kind, scope=scope, **links)
            version = PackVersion(
                id=new_id(), tenant=tenant, layer=layer, number=1, content=content, canonical=raw, digest=digest(raw), status="champion"
            )
            layer.champion = version
            layers.append(layer)
            versions.append(version)
    with transaction.atomic():
        Layer.objects.bulk_create(layers, batch_size=2000)
        PackVersion.objects.bulk_create(versions, batch_size=2000)


def zipf(tokens: list[str], draws: int, *, exponent: float = 1.0, seed: int = 7) -> list[str]:
    """Draws of tokens with Zipf's law over all of them (weight 1 / rank^exponent), so that some tenants are busy and most are rare."""
    weights = [1 / (rank + 1) ** exponent for rank in range(len(tokens))]
    return random.Random(seed).choices(tokens, weights=weights, k=draws)
