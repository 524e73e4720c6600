"""Deliveries: claimed before they are sent, settled after, so that a worker that dies in between loses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.core.jobs import enqueue_on_commit
from apps.identity.models import Tenant
from apps.identity.permissions import require
from apps.notices.domain.mails import mail
from apps.notices.domain.retrying import MAX_ATTEMPTS, Outcome, delay_s, state_after
from apps.notices.domain.webhooks import payload
from apps.notices.models import DUE_STATES, Channel, Delivery, DeliveryState, Webhook
from apps.notices.sealing import Unreadable, unseal
from apps.notices.selectors import Target, email_on, portal_link
from apps.notices.sending import MailMessage, Message, WebhookMessage
from apps.notices.services.webhooks import set_enabled

# How long a claim holds: longer than a worker takes for what it claimed at once.
CLAIM = timedelta(seconds=120)
CLAIMED_AT_ONCE = 20
PREFERENCES = "/admin/notices/notice/act/my-emails/"
GONE = "The receiver answered 410: it wants nothing any more."


@dataclass(frozen=True, slots=True)
class Claimed:
    """`messages` are to be sent; `settled` are those about which there is nothing to try."""

    messages: list[Message]
    settled: list[tuple[UUID, Outcome]]


def claim(*, ctx: ActionContext, target: Target) -> Claimed:
    """Takes what is due at the target, the longest due first, and counts the attempt. Whoever dies now has the same messages sent again, under
    the same ids, when the claim has run out."""
    now = timezone.now()
    with ctx.transaction():
        here = Q(webhook_id=target.webhook_id) if target.webhook_id else Q(webhook__isnull=True)
        due = Delivery.objects.filter(here, tenant_id=ctx.tenant_id, state__in=DUE_STATES, next_attempt_at__lte=now)
        due = due.order_by("next_attempt_at", "id")
        related = ("notice", "webhook") if target.webhook_id else ("notice", "user")
        found = list(
            due.select_related(*related).defer("notice__recipients").select_for_update(skip_locked=True, of=("self",))[:CLAIMED_AT_ONCE]
        )
        for delivery in found:
            delivery.attempts += 1
            delivery.next_attempt_at = now + CLAIM
        Delivery.objects.bulk_update(found, ["attempts", "next_attempt_at"])
        tenant = Tenant.objects.get(pk=ctx.tenant_id).slug if found else ""
    claimed = Claimed([], [])
    for delivery in found:
        try:
            claimed.messages.append(_message(delivery, tenant, now))
        except _Untried as untried:
            claimed.settled.append((delivery.pk, untried.outcome))
    return claimed


class _Untried(Exception):  # noqa: N818
    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


def _message(delivery: Delivery, tenant: str, now: datetime) -> Message:
    if delivery.attempts > MAX_ATTEMPTS:
        raise _Untried(Outcome("refused", None, "Given up: nobody finished any of the attempts."))
    notice = delivery.notice
    link = portal_link(notice.path)
    if delivery.webhook is None:
        if not email_on() or delivery.user is None:
            raise _Untried(Outcome("retry", None, "E-mail is switched off: EMAIL_HOST is not set."))
        letter = mail(kind=notice.kind, title=notice.title, facts=notice.facts, link=link, preferences=portal_link(PREFERENCES))
        return MailMessage(delivery.pk, delivery.message_id, delivery.user.email, letter)
    body = payload(
        kind=notice.kind,
        at=notice.created_at.isoformat(),
        notice_id=str(notice.pk),
        tenant=tenant,
        subject_id=str(notice.subject_id),
        title=notice.title,
        path=notice.path,
        url=link if settings.PORTAL_URL else None,
        facts=notice.facts,
    )
    return WebhookMessage(delivery.pk, delivery.message_id, delivery.webhook.url, _secrets(delivery.webhook, now), body)


def _secrets(webhook: Webhook, now: datetime) -> tuple[str, ...]:
    if not webhook.enabled:
        raise _Untried(Outcome("refused", None, webhook.disabled_reason))
    overlapping = webhook.previous_secret and webhook.previous_until and webhook.previous_until > now
    try:
        return tuple(unseal(sealed, webhook.pk) for sealed in (webhook.secret, *([webhook.previous_secret] if overlapping else [])))
    except Unreadable as error:
        raise _Untried(Outcome("retry", None, f"Not signed: {error}; rotate it.")) from None


def settle(*, ctx: ActionContext, outcomes: Sequence[tuple[UUID, Outcome]]) -> None:
    """Writes what became of claimed deliveries. A receiver that answers 410 has its webhook switched off."""
    now = timezone.now()
    by_id = dict(outcomes)
    with ctx.transaction():
        rows = Delivery.objects.filter(tenant_id=ctx.tenant_id, pk__in=by_id, state__in=DUE_STATES).order_by("pk")
        found = list(rows.select_for_update())
        for delivery in found:
            _apply(delivery, by_id[delivery.pk], now)
        Delivery.objects.bulk_update(found, ["state", "attempts", "next_attempt_at", "last_status", "last_error", "sent_at"])
        for webhook_id in {delivery.webhook_id for delivery in found if by_id[delivery.pk].result == "gone"}:
            webhook = Webhook.objects.select_for_update().get(pk=webhook_id)
            if webhook.enabled:
                set_enabled(ctx, webhook, because=GONE)


def _apply(delivery: Delivery, outcome: Outcome, now: datetime) -> None:
    delivery.state = state_after(outcome, delivery.attempts)
    if outcome.result == "unsent":
        delivery.attempts -= 1
        delivery.next_attempt_at = now
        return
    delivery.last_status, delivery.last_error = outcome.status, outcome.error[:200]
    if outcome.result == "sent":
        delivery.sent_at = now
    elif delivery.state in DUE_STATES:
        delivery.next_attempt_at = now + timedelta(seconds=delay_s(delivery.pk, delivery.attempts))


def send_again(*, ctx: ActionContext, delivery_id: UUID | str, reason: str = "") -> Delivery:
    """A delivery that was given up, or waits for its next attempt, is tried at once and as often as a new one. Under the same message id: it was
    never received. Raises Problem `not_found`, `permission_denied`, `wrong_state`."""
    with ctx.transaction():
        delivery: Delivery = Delivery.objects.select_for_update(of=("self",)).visible(ctx, pk=delivery_id)
        require(ctx, Action.MANAGE_TENANT, tenant_id=delivery.tenant_id)
        if delivery.state not in (DeliveryState.DEAD, DeliveryState.FAILED):
            raise problem("wrong_state", f"The delivery is {delivery.state}; only one that failed is sent again.")
        if delivery.channel == Channel.EMAIL and not email_on():
            raise problem("wrong_state", "E-mail is switched off: EMAIL_HOST is not set.")
        if delivery.webhook is not None and not delivery.webhook.enabled:
            raise problem("wrong_state", "The webhook is switched off; switch it on first.")
        delivery.state, delivery.attempts, delivery.next_attempt_at = DeliveryState.PENDING, 0, timezone.now()
        delivery.save(update_fields=["state", "attempts", "next_attempt_at"])
        record(ctx, "notices.sent_again", delivery, data={"channel": delivery.channel, "notice": delivery.notice_id}, reason=reason)
        enqueue_on_commit(ctx, "notices.deliver")
        return delivery
