"""What other rooms publish that people and receivers are told of."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from apps.core.context import ActionContext
from apps.core.events import Subscriber, subscribe
from apps.notices.domain.telling import SUBSCRIBED
from apps.notices.services.notifying import notify


def _telling(kind: str) -> Subscriber:
    def told(
        ctx: ActionContext,
        *,
        tenant_id: UUID,
        subject_id: UUID,
        recipients: tuple[UUID, ...],
        title: str,
        path: str,
        facts: Mapping[str, str],
    ) -> None:
        notify(ctx, kind=kind, tenant_id=tenant_id, subject_id=subject_id, recipients=recipients, title=title, path=path, facts=facts)

    return told


for _kind in SUBSCRIBED:
    subscribe(_kind.value)(_telling(_kind.value))
