"""Promotions move when their evidence or what is above them does."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import structlog
from celery import shared_task
from django.db import connection

from apps.core.context import EVERY_USER, ActionContext, in_tenant, system_context
from apps.core.errors import Problem
from apps.core.events import subscribe
from apps.core.jobs import enqueue
from apps.identity.selectors import platform_id
from apps.packs.models import Layer
from apps.promotions.models import OPEN_STATES
from apps.promotions.services.assessment import reassess
from apps.promotions.services.requests import collect, locked_promotion
from apps.promotions.services.tending import tend_promotion

log = structlog.get_logger(__name__)


@subscribe("evals.run_completed")
@subscribe("evals.run_failed")
def evaluation_ended(ctx: ActionContext, *, layer_id: UUID, **ids: Any) -> None:
    enqueue("promotions.reassess_layer", str(layer_id))


@shared_task(name="promotions.reassess_layer", acks_late=True)
def reassess_layer(layer_id: str) -> int:
    """Judges every open promotion of a layer anew; how many."""
    return _reassess("SELECT id, tenant_id FROM promotions_open() WHERE layer_id = %s ORDER BY id", [layer_id])


@shared_task(name="promotions.reassess_below", acks_late=True)
def reassess_below(layer_id: str, tenant_id: str) -> int:
    """Judges the open promotions that a moved champion of this tenant's layer may concern: those of its pack, or all for a policy; of its
    tenant, or of all tenants for the shared library."""
    with in_tenant(UUID(tenant_id), EVERY_USER):
        layer = Layer.objects.select_related("pack").get(pk=layer_id)
    pack = None if layer.pack.kind == "policy" else layer.pack_id
    tenant = None if layer.tenant_id == platform_id() else layer.tenant_id
    return _reassess(
        "SELECT id, tenant_id FROM promotions_open() WHERE pack_id = coalesce(%s, pack_id) AND tenant_id = coalesce(%s, tenant_id) ORDER BY id",
        [pack, tenant],
    )


@shared_task(name="promotions.reassess_due", acks_late=True)
def reassess_due() -> int:
    """Judges what a lost message left behind: open promotions with an evaluation completed, or a champion above them moved, since they
    were last judged."""
    return _reassess("SELECT id, tenant_id FROM promotions_open() WHERE due ORDER BY id", [])


def _reassess(question: str, parameters: list[Any]) -> int:
    """Each in a transaction of its own: one that cannot be judged costs no other."""
    judged = 0
    with connection.cursor() as cursor:
        cursor.execute(question, parameters)
        found = cursor.fetchall()
    for promotion_id, tenant_id in found:
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


@shared_task(name="promotions.tend", acks_late=True)
def tend() -> int:
    """What time brings to promotions that wait for approval or for their start: lapsed approvals are voided, demands expire, people are
    reminded. How many; each in a transaction of its own."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, tenant_id FROM promotions_waiting() ORDER BY tenant_id, id")
        waiting = cursor.fetchall()
    done = 0
    for promotion_id, tenant_id in waiting:
        try:
            done += bool(tend_promotion(ctx=system_context("promotions", tenant_id=tenant_id), promotion_id=promotion_id))
        except Problem as error:
            log.warning("promotions.not_tended", promotion=str(promotion_id), code=error.code, detail=error.detail)
    return done
