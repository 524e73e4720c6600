"""What promotions publish, as tests publish it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone

from apps.core.events import publish
from apps.core.ids import new_id
from apps.identity.models import Tenant, User
from apps.notices.models import Delivery, Notice
from tests import factories as make

KIND = "promotions.approval_requested"


def told(tenant: Tenant, *people: User, kind: str = KIND, **more: Any) -> Notice:
    """Publishes an event, and gives the notice that it left."""
    ctx = make.system(tenant.pk)
    subject: UUID = more.pop("subject_id", new_id())
    said = {
        "title": "desk v2 at tenant:acme",
        "path": f"/admin/promotions/promotion/{subject}/change/",
        "facts": {"pack": "desk", "scope": "tenant:acme", "risk": "high"},
        **more,
    }
    with ctx.transaction():
        publish(ctx, kind, tenant_id=tenant.pk, subject_id=subject, recipients=tuple(person.pk for person in people), **said)
    return Notice.objects.get(tenant=tenant, subject_id=subject, kind=kind)


def due_now(tenant: Tenant) -> None:
    """As if the time to the next attempt had passed."""
    Delivery.objects.filter(tenant=tenant, state__in=["pending", "failed"]).update(next_attempt_at=timezone.now())


def states(tenant: Tenant) -> list[str]:
    return list(Delivery.objects.filter(tenant=tenant).order_by("id").values_list("state", flat=True))
