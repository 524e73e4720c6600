"""Notices: written with the change that they tell of, spread to webhooks and people afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

import structlog
from django.db.models import Q
from django.utils import timezone

from apps.core.context import ActionContext
from apps.core.events import acting_in
from apps.core.jobs import enqueue_on_commit
from apps.identity.models import Membership
from apps.notices.domain.telling import Kind, inner_path, one_line, told_facts
from apps.notices.models import Channel, Delivery, Notice, NoticePreference, Webhook
from apps.notices.selectors import email_on

log = structlog.get_logger(__name__)
# Rows of one INSERT.
BATCH = 2000


def notify(
    ctx: ActionContext,
    *,
    kind: str,
    tenant_id: UUID,
    subject_id: UUID,
    recipients: Iterable[UUID],
    title: str,
    path: str,
    facts: Mapping[str, str],
) -> Notice:
    """Writes a notice in the caller's transaction: it is delivered when that is durable, and never when it is taken back. One INSERT, however
    many the recipients.

    Of `facts` only those in `FACTS` are kept; the others are left out, and their keys logged. Raises ValueError for an unknown kind.
    """
    told, left_out = told_facts(facts)
    if left_out:
        log.info("notices.facts_left_out", kind=kind, keys=left_out)
    with acting_in(ctx, tenant_id):
        notice = Notice.objects.create(
            tenant_id=tenant_id,
            kind=Kind(kind).value,
            subject_id=subject_id,
            title=one_line(title),
            path=inner_path(path),
            facts=told,
            recipients=list(dict.fromkeys(recipients)),
        )
    enqueue_on_commit(ctx, "notices.deliver")
    return notice


def spread_waiting(*, ctx: ActionContext, limit: int = 20) -> int:
    """Makes the deliveries of the tenant's notices that wait for it, oldest first; how many notices. Whoever else is at one leaves it alone."""
    now = timezone.now()
    with ctx.transaction():
        waiting = Notice.objects.filter(tenant_id=ctx.tenant_id, spread_at__isnull=True).order_by("id")
        notices = list(waiting.select_for_update(skip_locked=True)[:limit])
        for notice in notices:
            Delivery.objects.bulk_create(_deliveries(notice, now), batch_size=BATCH)
            notice.spread_at = now
            notice.save(update_fields=["spread_at"])
    return len(notices)


def _deliveries(notice: Notice, now: datetime) -> list[Delivery]:
    common = {"tenant_id": notice.tenant_id, "notice": notice, "next_attempt_at": now}
    hooks = Webhook.objects.filter(tenant_id=notice.tenant_id, enabled=True, events__contains=[notice.kind])
    made = [Delivery(**common, channel=Channel.WEBHOOK, webhook_id=pk) for pk in hooks.values_list("pk", flat=True)]
    if email_on():
        made += [Delivery(**common, channel=Channel.EMAIL, user_id=pk) for pk in _reached(notice, now)]
    return made


def _reached(notice: Notice, now: datetime) -> list[UUID]:
    """The recipients who are members of the tenant still, and want e-mail of this kind."""
    members = Membership.objects.filter(
        Q(until__isnull=True) | Q(until__gt=now), tenant_id=notice.tenant_id, user__is_active=True, user_id__in=notice.recipients
    )
    unwilling = NoticePreference.objects.filter(tenant_id=notice.tenant_id, kind=notice.kind, email=False)
    return list(members.exclude(user_id__in=unwilling.values("user_id")).order_by("user_id").values_list("user_id", flat=True).distinct())
