"""A layer's pointers, changed for the promotions room, which has decided and recorded why."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone

from apps.core.context import ActionContext, Topic
from apps.core.events import publish
from apps.core.generations import bump
from apps.packs.locks import lock_for_decision
from apps.packs.models import Layer, PackVersion, PointerChange, VersionStatus
from apps.packs.services.versions import archive


def locked_layer(layer_id: UUID) -> Layer:
    """The layer, with the advisory locks of a decision and its row held until the transaction ends."""
    lock_for_decision(Layer.objects.select_related("pack").get(pk=layer_id))
    found: Layer = (
        Layer.objects.select_for_update(of=("self",)).select_related("pack", "tenant", "champion", "team", "agent__team").get(pk=layer_id)
    )
    return found


def mark_challenger(version: PackVersion) -> None:
    """A draft that asks for promotion."""
    version.status = VersionStatus.CHALLENGER
    version.save(update_fields=["status"])


def set_champion(
    ctx: ActionContext, layer: Layer, version: PackVersion | None, *, archived_reason: str, decision_id: UUID | None = None
) -> None:
    """Makes `version` (None: nothing, the layer inherits) what the layer serves, and lifts a suspension. The old champion is archived.

    The caller holds `locked_layer`.
    """
    old: PackVersion | None = layer.champion
    if old is not None and old != version:
        archive(old, archived_reason)
    if version is not None and version.status != VersionStatus.CHAMPION:
        version.status, version.archived_reason = VersionStatus.CHAMPION, ""
        version.save(update_fields=["status", "archived_reason"])
    layer.champion, layer.suspended_by, layer.flagged_at = version, None, None
    layer.save(update_fields=["champion", "suspended_by", "flagged_at"])
    PointerChange.objects.create(tenant_id=layer.tenant_id, layer=layer, version=version)
    bump(ctx, Topic.PACKS, layer.tenant_id)
    publish(ctx, "packs.pointer_moved", layer=layer, because=archived_reason, decision_id=decision_id)


def suspend_layer(ctx: ActionContext, layer: Layer, *, decision_id: UUID) -> None:
    """The layer counts as having no champion until its next promotion or rollback; its agents inherit."""
    layer.suspended_by = decision_id
    layer.save(update_fields=["suspended_by"])
    PointerChange.objects.create(tenant_id=layer.tenant_id, layer=layer, version=None)
    bump(ctx, Topic.PACKS, layer.tenant_id)
    publish(ctx, "packs.pointer_moved", layer=layer, because="suspended", decision_id=decision_id)


def quarantine(version: PackVersion) -> None:
    """Marks a version that must not be rolled back to."""
    version.quarantined_at = timezone.now()
    version.save(update_fields=["quarantined_at"])
