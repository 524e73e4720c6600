"""Writing down what was decided, and what every decision about a layer brings with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.utils import timezone

from apps.audit.services import record
from apps.core.context import EVERY_USER, ActionContext, in_tenant
from apps.core.events import publish_on_commit, subscribe
from apps.core.jobs import enqueue_on_commit
from apps.packs.domain.values import VersionRef
from apps.packs.models import Layer, PackVersion
from apps.packs.selectors import layers_serving
from apps.packs.services.layers import suspend_layer
from apps.packs.services.versions import archive
from apps.promotions.domain.transitions import Event, next_state
from apps.promotions.models import OPEN_STATES, Approval, Decision, DecisionKind, Promotion
from apps.promotions.services.telling import tell_decided


def decide(
    ctx: ActionContext,
    layer: Layer,
    kind: str,
    *,
    champion: PackVersion | None,
    challenger: PackVersion | None,
    promotion: Promotion | None = None,
    reason: str = "",
) -> Decision:
    """Appends a decision and its audit event. `champion` is what was live before, `challenger` what it is about."""
    given = Approval.objects.filter(promotion=promotion, voided_at__isnull=True).select_related("user") if promotion else ()
    decision = Decision.objects.create(
        tenant_id=layer.tenant_id,
        layer=layer,
        promotion=promotion,
        scope_type=layer.scope_type,
        scope_id=layer.scope,
        champion_version=champion,
        challenger_version=challenger,
        decision=kind,
        reason=reason,
        verdict=promotion.verdict if promotion else {},
        approvals=[_approval(row) for row in given],
        decided_by_id=ctx.user_id,
        actor_label=ctx.actor.label,
    )
    facts = {
        "pack": layer.pack.slug,
        "scope": layer.scope,
        "champion": champion.number if champion else None,
        "challenger": challenger.number if challenger else None,
        "promotion": str(promotion.pk) if promotion else None,
    }
    record(ctx, f"decision.{kind}", decision, data=facts, reason=reason)
    return decision


def _approval(row: Approval) -> dict[str, Any]:
    behalf = {"on_behalf_of": str(row.on_behalf_of_id)} if row.on_behalf_of_id else {}
    return {"user": str(row.user_id), "roles": row.roles, "approved": row.approved, "at": row.created_at.isoformat(), **behalf}


def after_champion_moved(ctx: ActionContext, layer: Layer, decision: Decision, *, kept: Promotion | None = None) -> None:
    """The layer's other open promotions expire; those below are assessed anew; whoever listens is told once it is durable."""
    others = Promotion.objects.select_for_update().filter(layer=layer, state__in=OPEN_STATES)
    for promotion in others.exclude(pk=kept.pk) if kept else others:
        close(ctx, promotion, Event.EXPIRE, archived_reason="expired", reason="The layer's champion moved.")
    publish_on_commit(ctx, "promotions.champion_moved", layer_id=layer.pk, decision_id=decision.pk, tenant_id=layer.tenant_id)
    enqueue_on_commit(ctx, "promotions.reassess_below", str(layer.pk), str(layer.tenant_id))


def close(ctx: ActionContext, promotion: Promotion, event: Event, *, archived_reason: str, reason: str = "") -> None:
    """Ends a promotion without a promotion; its challenger leaves the running."""
    promotion.state = next_state(promotion.state, event).value
    promotion.closed_at, promotion.awaiting_since = timezone.now(), None
    if event is Event.EXPIRE:
        promotion.expired_because = reason
    promotion.save(update_fields=["state", "closed_at", "awaiting_since", "expired_because"])
    if event in (Event.EXPIRE, Event.REJECT):
        tell_decided(ctx, promotion, promotion.state, because=promotion.expired_because)
    if promotion.challenger is not None:
        archive(promotion.challenger, archived_reason)
    record(ctx, f"promotion.{promotion.state}", promotion, data={"layer": str(promotion.layer_id)}, reason=reason)


def suspend_invalid(ctx: ActionContext, versions: Iterable[VersionRef], *, because: Layer, reason: str) -> list[Decision]:
    """Suspends the layers whose champions the change makes invalid, each with its own decision, in the same transaction."""
    made = []
    broken = [UUID(version.version_id) for version in versions]
    why = f"{reason} It breaks what {because} now demands.".strip()
    for layer_id, tenant_id in layers_serving(broken, of=because):
        if layer_id == because.pk:
            continue
        # The shared library's change reaches layers of tenants: what is written there is written as that tenant, by the same actor.
        with in_tenant(tenant_id, EVERY_USER):
            rows = Layer.objects.select_related("pack", "tenant", "champion").select_for_update(of=("self",))
            layer = rows.filter(pk=layer_id, champion_id__in=broken).first()
            if layer is not None:
                decision = decide(ctx, layer, DecisionKind.SUSPEND, champion=layer.champion, challenger=None, reason=why)
                suspend_layer(ctx, layer, decision_id=decision.pk)
                made.append(decision)
    return made


@subscribe("packs.preset_written")
def decide_preset(ctx: ActionContext, *, layer_id: UUID, version_id: UUID, champion_id: UUID | None = None) -> None:
    """A preset follows a change of tier or autonomy; like every champion it is one by a decision."""
    layer = Layer.objects.select_related("pack").get(pk=layer_id)
    versions = PackVersion.objects.in_bulk([key for key in (version_id, champion_id) if key])
    champion = versions.get(champion_id) if champion_id else None
    decide(ctx, layer, DecisionKind.PROMOTE, champion=champion, challenger=versions[version_id], reason="preset")
