"""Promotions move when their evidence or what is above them does."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import structlog
from celery import shared_task
from django.db.models import Exists, OuterRef, Q

from apps.core.context import ActionContext, system_context
from apps.core.errors import Problem
from apps.core.events import subscribe
from apps.core.jobs import enqueue
from apps.evals.models import EvalRun
from apps.identity.selectors import platform_id
from apps.packs.models import Layer
from apps.promotions.models import OPEN_STATES, Decision, DecisionKind, Promotion
from apps.promotions.services.assessment import reassess
from apps.promotions.services.requests import collect, locked_promotion

log = structlog.get_logger(__name__)


@subscribe("evals.run_completed")
@subscribe("evals.run_failed")
def evaluation_ended(ctx: ActionContext, *, layer_id: UUID, **ids: Any) -> None:
    enqueue("promotions.reassess_layer", str(layer_id))


@shared_task(name="promotions.reassess_layer", acks_late=True)
def reassess_layer(layer_id: str) -> int:
    """Judges every open promotion of a layer anew; how many."""
    return _reassess(Promotion.objects.filter(layer_id=layer_id, state__in=OPEN_STATES))


@shared_task(name="promotions.reassess_below", acks_late=True)
def reassess_below(layer_id: str) -> int:
    """Judges the open promotions that a moved champion may concern: those of its pack, or all for a policy; of its tenant, or of all
    tenants for the shared library."""
    layer = Layer.objects.select_related("pack").get(pk=layer_id)
    concerned = Promotion.objects.filter(state__in=OPEN_STATES)
    if layer.pack.kind != "policy":
        concerned = concerned.filter(layer__pack_id=layer.pack_id)
    if layer.tenant_id != platform_id():
        concerned = concerned.filter(tenant_id=layer.tenant_id)
    return _reassess(concerned)


@shared_task(name="promotions.reassess_due", acks_late=True)
def reassess_due() -> int:
    """Judges what a lost message left behind: open promotions with an evaluation completed, or a champion above them moved, since they
    were last judged."""
    completed = EvalRun.objects.filter(layer_id=OuterRef("layer_id"), completed_at__gt=OuterRef("evaluated_at"))
    moved = Decision.objects.filter(created_at__gt=OuterRef("evaluated_at")).exclude(decision=DecisionKind.REJECT)
    moved = moved.filter(Q(tenant_id=OuterRef("tenant_id")) | Q(tenant_id=platform_id()))
    return _reassess(Promotion.objects.filter(Exists(completed) | Exists(moved), state__in=OPEN_STATES))


def _reassess(promotions: Any) -> int:
    """Each in a transaction of its own: one that cannot be judged costs no other."""
    judged = 0
    for promotion_id, tenant_id in promotions.order_by("id").values_list("id", "tenant_id"):
        ctx = system_context("promotions", tenant_id=tenant_id)
        try:
            with ctx.transaction():
                promotion = locked_promotion(ctx, promotion_id)
                if promotion.state in OPEN_STATES:
                    if promotion.layer.champion_id == promotion.champion_id:
                        collect(ctx, promotion)
                    reassess(ctx, promotion)
                    judged += 1
        except Problem as error:
            log.warning("promotions.not_judged", promotion=str(promotion_id), code=error.code, detail=error.detail)
    return judged
