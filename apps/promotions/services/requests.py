"""Asking for a promotion, collecting its evidence, and taking it back."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Exists, OuterRef

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.errors import Problem, problem
from apps.evals.models import EvalCase, EvalSet, Split
from apps.evals.services.runs import ensure_paired_runs
from apps.identity.permissions import require
from apps.identity.selectors import platform_id
from apps.packs.domain.diff import three_way
from apps.packs.models import Layer, PackKind, PackVersion, VersionStatus
from apps.packs.selectors import champion_of
from apps.packs.services.layers import mark_challenger
from apps.packs.services.versions import refuse_preset, refuse_violations
from apps.promotions.domain.transitions import TERMINAL, Event, next_state
from apps.promotions.models import OPEN_STATES, Aim, Invalid, Promotion
from apps.promotions.selectors import promotion_rows
from apps.promotions.services.assessment import reassess
from apps.promotions.services.decisions import close

MAX_REASON = 10_000
UNSERVABLE = ("constraint_violation", "locked_section", "no_valid_pack", "no_champion")


def request_promotion(
    *,
    ctx: ActionContext,
    version_id: UUID | None = None,
    layer_id: UUID | None = None,
    retire: bool = False,
    aim: str = Aim.IMPROVE,
    plan: Sequence[int] | None = None,
    invalid: str = Invalid.WAIT,
    reason: str = "",
) -> Promotion:
    """Puts a draft (or, with `layer_id` and `retire`, the emptying of a layer) on its way to champion and starts its evaluation.

    `plan`: stages in percent; only [100] is available. `invalid`: what becomes of descendants that the change makes invalid.
    Raises Problem `not_found`, `permission_denied`, `invalid`, `not_available`, `wrong_state`, `stale_parent`, `promotion_in_progress`,
    `constraint_violation`, `locked_section`.
    """
    with ctx.transaction():
        if (version_id is None) != retire or (layer_id is None) == retire:
            raise problem("invalid", "Name a version, or a layer with retire: true.", pointer="/version")
        version = PackVersion.objects.visible(ctx, pk=version_id) if version_id else None
        layer = _layer(ctx, version.layer_id if version else layer_id)
        refuse_preset(layer.pack, layer.scope_type)
        _check(ctx, layer, aim, plan, invalid, reason)
        promotion = Promotion(
            tenant_id=layer.tenant_id,
            layer=layer,
            champion=layer.champion,
            retire=retire,
            aim=aim,
            invalid=invalid,
            plan=[100],
            reason=reason,
            requested_by_id=ctx.user_id,
        )
        if version is not None:
            promotion.challenger = _challenger(layer, version)
        elif layer.champion is None:
            raise problem("wrong_state", "The layer has no champion to retire.")
        elif Promotion.objects.filter(layer=layer, retire=True, state__in=OPEN_STATES).exists():
            raise problem("promotion_in_progress", "The retirement of this layer is already requested.")
        promotion.save(force_insert=True)
        facts = {"layer": str(layer.pk), "challenger": str(promotion.challenger_id or ""), "aim": aim, "retire": retire}
        record(ctx, "promotion.requested", promotion, data=facts, reason=reason)
        collect(ctx, promotion)
        reassess(ctx, promotion)
        return promotion


def _layer(ctx: ActionContext, layer_id: UUID | None) -> Layer:
    """Locked, so that two requests for one layer come one after the other. Raises Problem `not_found`, `permission_denied`."""
    seen: Layer = Layer.objects.visible(ctx, pk=layer_id)
    require(ctx, Action.REQUEST_PROMOTION, tenant_id=seen.tenant_id, team_id=seen.team_id, on=seen)
    rows = Layer.objects.select_related("pack", "tenant", "champion", "team", "agent__team").select_for_update(of=("self",))
    found: Layer = rows.get(pk=seen.pk)
    return found


def _check(ctx: ActionContext, layer: Layer, aim: str, plan: Sequence[int] | None, invalid: str, reason: str) -> None:
    if aim not in Aim.values:
        raise problem("invalid", f"Aims are {', '.join(Aim.values)}.", pointer="/aim")
    if layer.pack.kind == PackKind.POLICY and aim != Aim.POLICY:
        raise problem("invalid", "A policy pack answers nothing by itself, so its promotion's aim is 'policy'.", pointer="/aim")
    if plan is not None and list(plan) != [100]:
        raise problem("not_available", "A plan is one stage of 100 % for now; leave it out or send [100].", pointer="/plan")
    if invalid not in Invalid.values:
        raise problem("invalid", "Invalid descendants 'wait' or 'suspend'.", pointer="/invalid")
    if invalid == Invalid.SUSPEND:
        require(ctx, Action.SUSPEND, tenant_id=layer.tenant_id, team_id=layer.team_id, on=layer)
    if len(reason) > MAX_REASON:
        raise problem("invalid", f"A reason is at most {MAX_REASON} characters.", pointer="/reason")


def _challenger(layer: Layer, version: PackVersion) -> PackVersion:
    version = PackVersion.objects.select_for_update().get(pk=version.pk)
    champion = layer.champion
    if Promotion.objects.filter(challenger=version, state__in=OPEN_STATES).exists():
        raise problem("promotion_in_progress", f"Version {version.number} is already on its way; see its open promotion.")
    if version.status != VersionStatus.DRAFT:
        why = f" ({version.archived_reason})" if version.archived_reason else ""
        raise problem(
            "wrong_state", f"Version {version.number} is {version.status}{why}; only a draft can ask for promotion.", pointer="/version"
        )
    if version.parent_id != (champion.pk if champion else None):
        parent = version.parent
        raise problem(
            "stale_parent",
            f"Version {version.number} was made from {parent or 'no champion'}, and {champion or 'no version'} is champion now. "
            "Merge it onto the champion as a new version.",
            pointer="/version",
            three_way=three_way(parent.content if parent else {}, version.content, champion.content if champion else {}),
        )
    refuse_violations(layer, version.content)
    mark_challenger(version)
    return version


def collect(ctx: ActionContext, promotion: Promotion) -> None:
    """Sees to it that both arms are being evaluated on the pack's eval sets: the tenant's own or, where it has none, the shared ones. A
    challenger that cannot be served (any more) is not: the verdict says why."""
    if promotion.aim == Aim.POLICY and promotion.layer.pack.kind == PackKind.POLICY:
        return
    layer = promotion.layer
    cases = EvalCase.objects.filter(eval_set=OuterRef("pk"), split=Split.VALIDATION)
    sets = EvalSet.objects.filter(Exists(cases), pack=layer.pack)
    own = list(sets.filter(tenant_id=layer.tenant_id).order_by("id")) or list(sets.filter(tenant_id=platform_id()).order_by("id"))
    for eval_set in own:
        try:
            ensure_paired_runs(ctx=ctx, layer=layer, champion=champion_of(layer), challenger=promotion.challenger, eval_set=eval_set)
        except Problem as error:
            if error.code not in UNSERVABLE:
                raise
            return


def locked_promotion(ctx: ActionContext, promotion_id: UUID) -> Promotion:
    """The promotion, visible and its row held, its layer's row before it: everyone locks in this order, so that nobody waits in a ring.
    Raises Problem `not_found`."""
    seen: Promotion = Promotion.objects.visible(ctx, pk=promotion_id)
    Layer.objects.select_for_update().get(pk=seen.layer_id)
    found: Promotion = promotion_rows().select_for_update(of=("self",)).get(pk=promotion_id)
    return found


def evaluate_promotion(*, ctx: ActionContext, promotion_id: UUID) -> Promotion:
    """Runs the gate again on the evidence there is now, and starts what evaluation is missing. Raises Problem `already_decided`."""
    with ctx.transaction():
        promotion = locked_promotion(ctx, promotion_id)
        require(ctx, Action.EVALUATE, tenant_id=promotion.tenant_id, team_id=promotion.layer.team_id, on=promotion)
        if promotion.state in TERMINAL:
            next_state(promotion.state, Event.EVALUATED_PASS)
        if promotion.layer.champion_id == promotion.champion_id:
            collect(ctx, promotion)
        reassess(ctx, promotion)
        return promotion


def abort_promotion(*, ctx: ActionContext, promotion_id: UUID, reason: str = "") -> Promotion:
    """Takes an open promotion back; its requester may, and whoever may promote. Raises Problem `already_decided`, `permission_denied`."""
    with ctx.transaction():
        promotion = locked_promotion(ctx, promotion_id)
        mine = promotion.requested_by_id is not None and promotion.requested_by_id == ctx.user_id
        act = Action.REQUEST_PROMOTION if mine else Action.PROMOTE
        require(ctx, act, tenant_id=promotion.tenant_id, team_id=promotion.layer.team_id, on=promotion)
        close(ctx, promotion, Event.ABORT, archived_reason="aborted", reason=reason)
        return promotion


def hold_promotion(*, ctx: ActionContext, promotion_id: UUID, reason: str = "") -> Promotion:
    """Holds a running rollout. Raises Problem `wrong_state` where none runs."""
    with ctx.transaction():
        promotion = locked_promotion(ctx, promotion_id)
        require(ctx, Action.PROMOTE, tenant_id=promotion.tenant_id, team_id=promotion.layer.team_id, on=promotion)
        promotion.state = next_state(promotion.state, Event.HOLD).value
        promotion.save(update_fields=["state"])
        record(ctx, "promotion.held", promotion, reason=reason)
        return promotion


def advance_promotion(*, ctx: ActionContext, promotion_id: UUID, reason: str = "") -> Promotion:
    """Lets a held rollout go on. Raises Problem `wrong_state` where none is held."""
    with ctx.transaction():
        promotion = locked_promotion(ctx, promotion_id)
        require(ctx, Action.PROMOTE, tenant_id=promotion.tenant_id, team_id=promotion.layer.team_id, on=promotion)
        promotion.state = next_state(promotion.state, Event.RESUME).value
        promotion.save(update_fields=["state"])
        record(ctx, "promotion.resumed", promotion, reason=reason)
        return promotion
