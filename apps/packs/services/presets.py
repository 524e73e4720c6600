"""Tier presets and agents' own autonomy, kept as policy layers in the same transaction as the tenant or agent they belong to."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Max

from apps.audit.services import record
from apps.core.context import ActionContext
from apps.core.domain.canonical import canonical_bytes, digest
from apps.core.events import acting_in, publish, subscribe
from apps.core.ids import new_id
from apps.identity.models import Agent, Tenant
from apps.identity.selectors import platform_id
from apps.packs.domain.presets import PRESETS_PACK, TIER_PRESETS, agent_preset
from apps.packs.models import AuthorKind, Layer, Pack, PackVersion
from apps.packs.services.layers import locked_layer, set_champion


@subscribe("identity.tenant_saved")
def write_tier_preset(ctx: ActionContext, *, tenant_id: UUID) -> None:
    if tenant_id != platform_id():
        with acting_in(ctx, tenant_id) as inside:
            tenant = Tenant.objects.get(pk=tenant_id)
            _write(inside, tenant, f"tenant:{tenant.slug}", TIER_PRESETS[tenant.tier], scope_type="tenant", agent=None)


@subscribe("identity.agent_saved")
def write_agent_preset(ctx: ActionContext, *, agent_id: UUID) -> None:
    agent = Agent.objects.select_related("tenant").get(pk=agent_id)
    scope = f"agent:{agent.tenant.slug}/{agent.slug}"
    with acting_in(ctx, agent.tenant_id) as inside:
        _write(inside, agent.tenant, scope, agent_preset(agent.autonomy), scope_type="agent", agent=agent)


def _write(ctx: ActionContext, tenant: Tenant, scope: str, content: dict[str, Any], *, scope_type: str, agent: Agent | None) -> None:
    """Puts the preset live in its layer, unless it is so already. It follows a change of tier or autonomy, which was allowed and recorded."""
    pack = Pack.objects.get(tenant_id=platform_id(), slug=PRESETS_PACK)
    made, _ = Layer.objects.get_or_create(
        tenant_id=tenant.pk, pack=pack, scope=scope, defaults={"scope_type": scope_type, "agent": agent, "team": None}
    )
    layer = locked_layer(made.pk)
    raw = canonical_bytes(content)
    if layer.champion is not None and layer.champion.digest == digest(raw):
        return
    version = PackVersion(
        id=new_id(),
        tenant_id=tenant.pk,
        layer=layer,
        number=(layer.versions.aggregate(last=Max("number"))["last"] or 0) + 1,
        content=content,
        canonical=raw,
        digest=digest(raw),
        parent=layer.champion,
        author_kind=AuthorKind.IMPORT,
        notes="Written from the tenant's tier." if agent is None else "Written from the agent's autonomy.",
        created_by_id=ctx.user_id,
    )
    version.save(force_insert=True)
    old = layer.champion
    set_champion(ctx, layer, version, archived_reason="replaced")
    record(ctx, "preset.written", version, data={"scope": scope, "digest": version.digest})
    publish(ctx, "packs.preset_written", layer_id=layer.pk, version_id=version.pk, **({"champion_id": old.pk} if old else {}))
