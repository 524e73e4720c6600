"""Webhooks: made with a secret that is shown once, rotated with an overlap, tried, switched on and off."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Model
from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.egress import EgressRefused, destination
from apps.core.errors import FieldError, problem
from apps.core.jobs import enqueue_on_commit
from apps.identity.permissions import require
from apps.identity.services.rows import save, validate
from apps.notices.domain.telling import SUBSCRIBED, Kind
from apps.notices.domain.webhooks import SECRET_BYTES, written_secret
from apps.notices.models import DUE_STATES, Channel, Delivery, DeliveryState, Notice, Webhook
from apps.notices.sealing import seal

OVERLAP = timedelta(hours=24)
# More would make each notice dear.
MAX_WEBHOOKS = 50
SWITCHED_OFF = "The webhook was switched off."


@dataclass(frozen=True, slots=True)
class Shown:
    """A webhook and its new secret: the only time that it leaves the portal."""

    webhook: Webhook
    secret: str


def create_webhook(*, ctx: ActionContext, name: str, url: str, events: Sequence[str]) -> Shown:
    """A webhook of the context's tenant. Raises Problem `permission_denied`, `invalid` (the address too, where the installation does not call
    it), `slug_taken`, `wrong_state` (there are as many as there may be)."""
    with ctx.transaction():
        require(ctx, Action.MANAGE_TENANT, tenant_id=ctx.tenant_id)
        if Webhook.objects.filter(tenant_id=ctx.tenant_id).count() >= MAX_WEBHOOKS:
            raise problem("wrong_state", f"The tenant has {MAX_WEBHOOKS} webhooks already; change one of them.")
        webhook = Webhook(tenant_id=ctx.tenant_id, name=name.strip(), url=url, events=_events(events))
        secret = _new_secret(webhook)
        _check(webhook)
        save(webhook, taken=_taken(webhook))
        record(ctx, "notices.webhook_created", webhook, data=_facts(webhook))
        return Shown(webhook, secret)


def update_webhook(*, ctx: ActionContext, webhook_id: UUID | str, changes: Mapping[str, Any]) -> Webhook:
    """Changes name, url or events. Raises Problem `not_found`, `permission_denied`, `invalid`, `unknown_key`, `slug_taken`."""
    with ctx.transaction():
        webhook = _locked(ctx, webhook_id)
        unknown = sorted(set(changes) - {"name", "url", "events"})
        if unknown:
            raise problem("unknown_key", f"'{unknown[0]}' cannot be changed; what can: name, url, events.", pointer=f"/{unknown[0]}")
        before = (webhook.name, webhook.url, webhook.events)
        webhook.name = str(changes.get("name", webhook.name)).strip()
        webhook.url = changes.get("url", webhook.url)
        webhook.events = _events(changes.get("events", webhook.events))
        if (webhook.name, webhook.url, webhook.events) != before:
            _check(webhook)
            save(webhook, taken=_taken(webhook), fields=["name", "url", "events", "updated_at"])
            record(ctx, "notices.webhook_changed", webhook, data={**_facts(webhook), "address_changed": webhook.url != before[1]})
        return webhook


def rotate_secret(*, ctx: ActionContext, webhook_id: UUID | str, reason: str = "") -> Shown:
    """A new secret; for 24 hours messages are signed with the one before as well. Raises Problem `not_found`, `permission_denied`."""
    with ctx.transaction():
        webhook = _locked(ctx, webhook_id)
        webhook.previous_secret, webhook.previous_until = webhook.secret, timezone.now() + OVERLAP
        secret = _new_secret(webhook)
        save(webhook, taken={}, fields=["secret", "previous_secret", "previous_until", "updated_at"])
        record(
            ctx, "notices.webhook_rotated", webhook, data={"name": webhook.name, "previous_until": webhook.previous_until}, reason=reason
        )
        return Shown(webhook, secret)


def switch_webhook(*, ctx: ActionContext, webhook_id: UUID | str, enabled: bool, reason: str = "") -> Webhook:
    """Off: nothing is sent to it, and what waits for it is given up. Raises Problem `not_found`, `permission_denied`."""
    with ctx.transaction():
        webhook = _locked(ctx, webhook_id)
        if webhook.enabled != enabled:
            set_enabled(ctx, webhook, because="" if enabled else SWITCHED_OFF, reason=reason)
        return webhook


def set_enabled(ctx: ActionContext, webhook: Webhook, *, because: str, reason: str = "") -> None:
    """On where `because` is empty. The caller has the right and the row's lock."""
    webhook.enabled, webhook.disabled_reason = not because, because
    save(webhook, taken={}, fields=["enabled", "disabled_reason", "updated_at"])
    if because:
        Delivery.objects.filter(tenant_id=webhook.tenant_id, webhook=webhook, state__in=DUE_STATES).update(
            state=DeliveryState.DEAD, last_error=because
        )
    data = {"name": webhook.name, **({"because": because} if because else {})}
    record(ctx, f"notices.webhook_{'disabled' if because else 'enabled'}", webhook, data=data, reason=reason)


def try_webhook(*, ctx: ActionContext, webhook_id: UUID | str) -> Delivery:
    """Sends a message of kind `notices.test` to this webhook alone; how it went stands in the delivery. Raises Problem `not_found`,
    `permission_denied`, `wrong_state` (it is switched off)."""
    with ctx.transaction():
        webhook = _locked(ctx, webhook_id)
        if not webhook.enabled:
            raise problem("wrong_state", "The webhook is switched off; switch it on to try it.")
        now = timezone.now()
        common = {"tenant_id": webhook.tenant_id}
        notice = Notice.objects.create(
            **common, kind=Kind.TEST, subject_id=webhook.pk, title=f"Test of {webhook.name}", path=page_of(webhook), spread_at=now
        )
        delivery = Delivery.objects.create(**common, notice=notice, channel=Channel.WEBHOOK, webhook=webhook, next_attempt_at=now)
        record(ctx, "notices.webhook_tested", webhook, data={"name": webhook.name, "delivery": delivery.pk})
        enqueue_on_commit(ctx, "notices.deliver")
        return delivery


def page_of(obj: Model) -> str:
    """The path of an object's page in the admin."""
    return f"/admin/{obj._meta.app_label}/{obj._meta.model_name}/{obj.pk}/change/"


def _locked(ctx: ActionContext, webhook_id: UUID | str) -> Webhook:
    webhook: Webhook = Webhook.objects.select_for_update().visible(ctx, pk=webhook_id)
    require(ctx, Action.MANAGE_TENANT, tenant_id=webhook.tenant_id)
    return webhook


def _new_secret(webhook: Webhook) -> str:
    secret = written_secret(os.urandom(SECRET_BYTES))
    webhook.secret = seal(secret, webhook.pk)
    return secret


def _events(events: Sequence[str]) -> list[str]:
    known = [kind.value for kind in SUBSCRIBED]
    if not isinstance(events, list | tuple) or not events:
        raise problem("invalid", f"Choose one event or more: {', '.join(known)}.", pointer="/events")
    found = [
        FieldError(f"/events/{index}", "invalid", f"There is no such event; there are: {', '.join(known)}.")
        for index, event in enumerate(events)
        if event not in known
    ]
    if found:
        raise problem("invalid", found[0].detail, errors=found)
    return [event for event in known if event in events]


def _check(webhook: Webhook) -> None:
    validate(webhook, "name", "url")
    try:
        destination(webhook.url)
    except EgressRefused as refused:
        raise problem("invalid", refused.detail, pointer="/url") from None


def _taken(webhook: Webhook) -> dict[str, Any]:
    return {"notices_webhook_name": problem("slug_taken", f"There is a webhook '{webhook.name}' already.", pointer="/name")}


def _facts(webhook: Webhook) -> dict[str, Any]:
    return {"name": webhook.name, "host": webhook.host, "events": webhook.events}
