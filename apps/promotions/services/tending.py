"""What time does to a promotion that waits: approvals lapse, the demand expires, people are reminded."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone

from apps.audit.services import record
from apps.core.context import ActionContext
from apps.promotions.deciders import deciders, limits
from apps.promotions.domain.expiry import Reminder, days, is_over, reminder_due
from apps.promotions.domain.transitions import Event
from apps.promotions.models import ApprovalReminder, Promotion, State
from apps.promotions.selectors import promotion_rows
from apps.promotions.services.assessment import lapsed, reassess
from apps.promotions.services.decisions import close
from apps.promotions.services.requests import locked_promotion
from apps.promotions.services.telling import tell_reminder

WAITING = (State.AWAITING_APPROVAL, State.READY)


def tend_promotion(*, ctx: ActionContext, promotion_id: UUID) -> str:
    """Does what is due by now, once however often it is called: `expired`, `voided`, `reminded`, or "" where nothing was."""
    with ctx.transaction():
        seen = promotion_rows().restrict(ctx).filter(pk=promotion_id, state__in=WAITING).first()
        if seen is None or not _is_due(seen):
            return ""
        promotion = locked_promotion(ctx, promotion_id)
        if promotion.state not in WAITING:
            return ""
        if promotion.awaiting_since and is_over(promotion.awaiting_since, timezone.now(), limits()):
            expire(ctx, promotion)
            return "expired"
        if lapsed(promotion):
            reassess(ctx, promotion)
            return "voided"
        return "reminded" if _remind(ctx, promotion) else ""


def expire(ctx: ActionContext, promotion: Promotion) -> None:
    """Ends a demand that nobody met in time (its row locked by the caller)."""
    why = f"It waited {days(limits().demand)} for approval and was not decided."
    close(ctx, promotion, Event.EXPIRE, archived_reason="expired", reason=why)


def _is_due(promotion: Promotion) -> bool:
    since = promotion.awaiting_since
    over = since is not None and is_over(since, timezone.now(), limits())
    return over or _reminder(promotion) is not None or bool(lapsed(promotion))


def _reminder(promotion: Promotion) -> Reminder | None:
    since = promotion.awaiting_since
    if since is None:
        return None
    sent = list(ApprovalReminder.objects.filter(promotion=promotion, since=since).values_list("kind", flat=True))
    return reminder_due(since, timezone.now(), limits(), sent)


def _remind(ctx: ActionContext, promotion: Promotion) -> bool:
    """The row comes with the event, in one transaction: no restart repeats it, and none loses it."""
    kind = _reminder(promotion)
    since = promotion.awaiting_since
    if kind is None or since is None:
        return False
    people = sorted(deciders(promotion))
    made = ApprovalReminder.objects.create(
        tenant_id=promotion.tenant_id,
        promotion=promotion,
        kind=kind.value,
        since=since,
        recipients=[str(person) for person in people],
    )
    record(ctx, "promotion.reminded", promotion, data={"kind": made.kind, "people": len(people)})
    tell_reminder(ctx, promotion, people, made.kind)
    return True
