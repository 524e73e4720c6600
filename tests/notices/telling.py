"""What promotions publish, as tests publish it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from apps.core.events import _subscribers
from apps.core.ids import new_id
from apps.identity.models import Tenant, User
from apps.notices.models import Delivery, Notice
from tests import factories as make

KIND = "promotions.approval_requested"


def told(tenant: Tenant, *people: User, kind: str = KIND, **more: Any) -> Notice:
    """Publishes an event as `apps.core.events.publish` does, and gives the notice that it left."""
    ctx = make.system(tenant.pk)
    subject: UUID = more.pop("subject_id", new_id())
    said = {
        "title": "desk v2 at tenant:acme",
        "path": f"/admin/promotions/promotion/{subject}/change/",
        "facts": {"pack": "desk", "scope": "tenant:acme", "risk": "high"},
        **more,
    }
    with ctx.transaction():
        for subscriber in _subscribers[kind]:
            subscriber(ctx, tenant_id=tenant.pk, subject_id=subject, recipients=tuple(person.pk for person in people), **said)
    return Notice.objects.get(tenant=tenant, subject_id=subject, kind=kind)


def states(tenant: Tenant) -> list[str]:
    return list(Delivery.objects.filter(tenant=tenant).order_by("id").values_list("state", flat=True))
