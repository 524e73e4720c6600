"""Reads of notices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import connection

from apps.core.context import ActionContext
from apps.notices.domain.telling import SUBSCRIBED
from apps.notices.models import NoticePreference


@dataclass(frozen=True, slots=True)
class Target:
    """Where deliveries are due: one webhook, or the mail server for one tenant."""

    tenant_id: UUID
    webhook_id: UUID | None


def email_on() -> bool:
    return bool(settings.EMAIL_HOST)


def portal_link(path: str) -> str:
    """The address of a page; its path alone where the portal does not know its own address (PORTAL_URL)."""
    return f"{settings.PORTAL_URL}{path}"


def tenants_waiting() -> list[UUID]:
    """Active tenants with notices that have not become deliveries yet."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM notices_waiting()")
        return [tenant_id for (tenant_id,) in cursor.fetchall()]


def targets_due(at: datetime) -> list[Target]:
    """Where something is due, the longest waiting first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id, webhook_id FROM notices_due(%s) ORDER BY since, tenant_id", [at])
        return [Target(*row) for row in cursor.fetchall()]


def email_choices(ctx: ActionContext) -> dict[str, bool]:
    """Kind -> whether the person of the context wants e-mail of it, in the context's tenant."""
    choices = {kind.value: True for kind in SUBSCRIBED}
    if ctx.user_id is not None:
        choices.update(NoticePreference.objects.filter(tenant_id=ctx.tenant_id, user_id=ctx.user_id).values_list("kind", "email"))
    return choices
