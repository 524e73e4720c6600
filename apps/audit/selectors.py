"""Reads of the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet

from apps.audit.models import Event, Head
from apps.core.access import Action, demand, listed
from apps.core.context import ActionContext

# Longer than any transaction takes from a write to the log's entry of it.
TRANSACTION: Final = timedelta(hours=1)


def events(ctx: ActionContext) -> QuerySet[Event]:
    """The chain of the context's tenant with its texts (of the objects that are granted, for who may audit those alone). Raises Problem
    `permission_denied` for who may not audit."""
    if not listed(ctx, Action.AUDIT, Event):
        demand(ctx, Action.AUDIT)
    found: QuerySet[Event] = Event.objects.restrict(ctx, Action.AUDIT).select_related("text")
    return found


def search(rows: QuerySet[Event], words: str) -> QuerySet[Event]:
    """The events whose act, object, actor or reason contains `words`, whatever the case."""
    return rows.filter(
        Q(action__icontains=words)
        | Q(object_type__icontains=words)
        | Q(object_id__icontains=words)
        | Q(text__text__actor__icontains=words)
        | Q(text__text__reason__icontains=words)
    )


def reasons_of(ctx: ActionContext, written: Sequence[tuple[str, datetime]]) -> dict[tuple[str, datetime], list[str]]:
    """Why something was written: the reasons in the log of its transaction, for those who may audit. Each is known by its request and by
    when it was written; a caller may name several requests alike, so the events are those that follow next."""
    asked = Q(pk__in=[])
    for request_id, at in written:
        asked |= Q(request_id=request_id, at__gte=at, at__lt=at + TRANSACTION)
    rows = list(Event.objects.restrict(ctx, Action.AUDIT).filter(asked).select_related("text").order_by("seq"))
    found = {}
    for request_id, at in written:
        after = [event for event in rows if event.request_id == request_id and event.at >= at]
        texts = [_reason(event) for event in after if event.at == min(each.at for each in after)]
        found[request_id, at] = list(dict.fromkeys(text for text in texts if text))
    return found


def _reason(event: Event) -> str:
    text = getattr(event, "text", None)
    return "(erased)" if text is None else str((text.text or {}).get("reason") or "")


def head(ctx: ActionContext) -> Head | None:
    """Where the chain of the context's tenant ends; None before its first event."""
    return Head.objects.filter(tenant_id=ctx.tenant_id).first()


def chains() -> list[UUID]:
    """The tenants that have a chain, whoever asks: verification and the export of heads go through all of them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM audit_chains() ORDER BY tenant_id")
        return [tenant_id for (tenant_id,) in cursor.fetchall()]
