"""Reads of the audit log."""

from __future__ import annotations

from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet

from apps.audit.models import Event, Head
from apps.core.access import Action, demand, listed
from apps.core.context import ActionContext


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


def head(ctx: ActionContext) -> Head | None:
    """Where the chain of the context's tenant ends; None before its first event."""
    return Head.objects.filter(tenant_id=ctx.tenant_id).first()


def chains() -> list[UUID]:
    """The tenants that have a chain, whoever asks: verification and the export of heads go through all of them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM audit_chains() ORDER BY tenant_id")
        return [tenant_id for (tenant_id,) in cursor.fetchall()]
