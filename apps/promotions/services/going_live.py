"""The moment a layer's champion changes: by promotion, by force, by retirement, by rollback, or for the first time."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.identity.permissions import require
from apps.packs.chains import Pictures, violations_of
from apps.packs.models import Layer, PackVersion, VersionStatus
from apps.packs.selectors import champion_of
from apps.packs.services.layers import locked_layer, set_champion
from apps.packs.services.versions import refuse_preset, refuse_violations
from apps.promotions.domain.rollback import choose
from apps.promotions.domain.transitions import TERMINAL, Event, State, next_state
from apps.promotions.models import Decision, DecisionKind, Invalid, Promotion
from apps.promotions.selectors import history_of
from apps.promotions.services.assessment import Assessment, reassess
from apps.promotions.services.decisions import after_champion_moved, decide, suspend_invalid
from apps.promotions.services.requests import locked_promotion
from apps.promotions.services.telling import tell_decided


def start_promotion(*, ctx: ActionContext, promotion_id: UUID, reason: str = "", force: bool = False) -> Promotion:
    """Promotes a `ready` promotion, everything checked once more under the locks of a decision.

    `force` (own permission, with a reason) sets aside soft rules: the promotion then waits for the approvals of one risk level higher, and
    a second start promotes it. Nothing sets aside a hard rule.
    Raises Problem `not_found`, `permission_denied`, `wrong_state`, `already_decided`, `approval_required`, `approval_stale`, `hard_rule`,
    `evidence_missing`.
    """
    with ctx.transaction():
        seen: Promotion = Promotion.objects.visible(ctx, pk=promotion_id)
        # Locks of a decision before the row of the promotion: everyone takes them in this order.
        layer = locked_layer(seen.layer_id)
        promotion = locked_promotion(ctx, promotion_id)
        promotion.layer = layer
        require(ctx, Action.PROMOTE, tenant_id=promotion.tenant_id, team_id=layer.team_id, on=promotion)
        if force and not promotion.forced:
            _force(ctx, promotion, reason)
        if promotion.state in TERMINAL or (promotion.state != State.READY and not promotion.forced):
            next_state(promotion.state, Event.START)
        found = _current(ctx, promotion, forcing=force)
        if promotion.state == State.AWAITING_APPROVAL and promotion.forced:
            return promotion
        _go(ctx, promotion, found, reason)
        return promotion


def _force(ctx: ActionContext, promotion: Promotion, reason: str) -> None:
    require(ctx, Action.FORCE, tenant_id=promotion.tenant_id, team_id=promotion.layer.team_id, on=promotion)
    if not reason.strip():
        raise problem("invalid", "Forcing needs a reason.", pointer="/reason")
    if promotion.state in (State.COLLECTING, State.BLOCKED):
        found = reassess(ctx, promotion)
        if found is not None and not found.verdict.forceable and promotion.state in (State.COLLECTING, State.BLOCKED):
            hard = found.verdict.hard_failures
            if hard:
                raise problem("hard_rule", "Nothing sets aside a hard rule: " + " ".join(rule.sentence for rule in hard))
            raise problem("evidence_missing", "Forcing needs one completed evaluation of the challenger and its champion.")
    if promotion.state in (State.COLLECTING, State.BLOCKED):
        promotion.forced = True
        promotion.state = next_state(promotion.state, Event.FORCE).value
        promotion.save(update_fields=["forced", "state"])
        record(ctx, "promotion.forced", promotion, reason=reason)


def _current(ctx: ActionContext, promotion: Promotion, *, forcing: bool) -> Assessment:
    """The assessment under the locks. Raises Problem with what no longer holds; the change is then undone with everything else."""
    given_before, state_before = promotion.binding, promotion.state
    found = reassess(ctx, promotion)
    if found is None:
        raise problem("already_decided", "The layer's champion has moved since; this promotion has expired. Make a new version on it.")
    if promotion.state == State.READY:
        return found
    failed = [rule for rule in found.verdict.rules if rule.outcome == "fail"]
    if any(rule.hard for rule in failed):
        raise problem("hard_rule", " ".join(rule.sentence for rule in failed if rule.hard))
    if state_before == State.READY and found.binding != given_before:
        raise problem(
            "approval_stale", "A champion at or above the layer, or the thresholds, changed since it was approved; approve it again."
        )
    if state_before == State.READY and found.voided:
        raise problem("approval_stale", f"An approval no longer counts: {' '.join(found.voided)} It has to be given again.")
    if promotion.state == State.AWAITING_APPROVAL:
        if forcing:
            return found
        raise problem("approval_required", " ".join(found.status.missing))
    raise problem("wrong_state", " ".join(rule.sentence for rule in failed) or "The evidence is no longer conclusive; evaluate again.")


def _go(ctx: ActionContext, promotion: Promotion, found: Assessment, reason: str) -> None:
    layer, old, new = promotion.layer, promotion.layer.champion, promotion.challenger
    kind = DecisionKind.RETIRE if promotion.retire else DecisionKind.FORCE if promotion.forced else DecisionKind.PROMOTE
    if promotion.invalid == Invalid.SUSPEND:
        suspend_invalid(ctx, found.invalid, because=layer, reason=reason or promotion.reason)
    set_champion(ctx, layer, new, archived_reason="retired" if promotion.retire else "replaced")
    promotion.state = next_state(next_state(promotion.state, Event.START), Event.COMPLETE).value
    promotion.closed_at = timezone.now()
    promotion.save(update_fields=["state", "closed_at"])
    decision = decide(ctx, layer, kind, champion=old, challenger=new, promotion=promotion, reason=reason or promotion.reason)
    tell_decided(ctx, promotion, promotion.state)
    after_champion_moved(ctx, layer, decision, kept=promotion)


def rollback_layer(*, ctx: ActionContext, layer_id: UUID, to_version: UUID | None = None, reason: str = "") -> Decision:
    """Takes a layer back to a former champion (by default the last), at once. Reversible by another rollback.

    Raises Problem `not_found`, `permission_denied`, `not_a_former_champion`, `quarantined`, `hard_rule`.
    """
    with ctx.transaction():
        seen: Layer = Layer.objects.select_related("pack").visible(ctx, pk=layer_id)
        require(ctx, Action.ROLL_BACK, tenant_id=seen.tenant_id, team_id=seen.team_id, on=seen)
        refuse_preset(seen.pack, seen.scope_type)
        layer = locked_layer(seen.pk)
        current = champion_of(layer)
        chosen = choose(history_of(layer, _broken_today(layer)), current.pk if current else None, to_version)
        version = layer.versions.select_for_update().get(pk=chosen)
        old = layer.champion
        # A suspension that is lifted takes nothing back: what was live before is nothing.
        decision = decide(ctx, layer, DecisionKind.ROLLBACK, champion=current, challenger=version, reason=reason)
        set_champion(ctx, layer, version, archived_reason="rolled_back", decision_id=decision.pk)
        if old is not None and old != version:
            _mark_rolled_back(ctx, layer, old)
        after_champion_moved(ctx, layer, decision)
        return decision


def _broken_today(layer: Layer) -> dict[UUID, tuple[str, ...]]:
    """What each version that was live would break of today's constraints."""
    broken = {}
    pictures = Pictures.of(layer.tenant_id)
    for version in layer.versions.exclude(status=VersionStatus.DRAFT):
        if version.was_live:
            broken[version.pk] = tuple(found.detail for found in violations_of(layer, version.content, pictures))
    return broken


def _mark_rolled_back(ctx: ActionContext, layer: Layer, version: PackVersion) -> None:
    promoted = (
        Promotion.objects.select_for_update().filter(layer=layer, challenger=version, state=State.PROMOTED).order_by("-closed_at").first()
    )
    if promoted is not None:
        promoted.state = next_state(promoted.state, Event.ROLL_BACK).value
        promoted.save(update_fields=["state"])
        record(ctx, "promotion.rolled_back", promoted, data={"layer": str(layer.pk)})
        tell_decided(ctx, promoted, promoted.state)


def bootstrap(*, ctx: ActionContext, version_id: UUID) -> Decision:
    """Puts the first version of a layer live without the gate: seeds and imports, by the system or who may force.

    Raises Problem `wrong_state` where the layer has had a champion, or the version is no draft (any more).
    """
    with ctx.transaction():
        version: PackVersion = PackVersion.objects.visible(ctx, pk=version_id)
        require(ctx, Action.FORCE, tenant_id=version.tenant_id, on=version)
        layer = locked_layer(version.layer_id)
        if layer.champion is not None or Decision.objects.filter(layer=layer).exists():
            raise problem("wrong_state", "Only the first version of a layer is put live without the gate; request its promotion.")
        version = PackVersion.objects.select_for_update().get(pk=version.pk)
        if version.status != VersionStatus.DRAFT:
            raise problem(
                "wrong_state", f"Version {version.number} is {version.status}; a draft is put live without the gate, and nothing else."
            )
        refuse_violations(layer, version.content)
        set_champion(ctx, layer, version, archived_reason="replaced")
        decision = decide(ctx, layer, DecisionKind.PROMOTE, champion=None, challenger=version, reason="bootstrap")
        after_champion_moved(ctx, layer, decision)
        return decision
