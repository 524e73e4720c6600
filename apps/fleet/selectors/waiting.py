"""For which agents a command waits, from memory: a heartbeat or a batch of telemetry asks it each time, and the answer is nearly always no."""

from __future__ import annotations

from uuid import UUID

from apps.core.cache import GenerationCache
from apps.core.context import Topic, in_tenant
from apps.fleet.domain.commands import OPEN
from apps.fleet.models import Delivery

MAX_TENANTS = 20_000
_waiting: GenerationCache[UUID, frozenset[UUID]] = GenerationCache(
    Topic.COMMANDS, tenant_of=lambda tenant_id, _: tenant_id, limit=MAX_TENANTS
)


def something_waits(tenant_id: UUID, agent_id: UUID) -> bool:
    """Whether a command waits for the agent. No query until a command of the tenant's is made or comes to its end. Whoever asks has
    authenticated a moment ago, so the process has heard of changes (`watcher.fresh`)."""
    return agent_id in _waiting.get(tenant_id, _read)


def _read(tenant_id: UUID) -> frozenset[UUID]:
    with in_tenant(tenant_id):
        return frozenset(Delivery.objects.filter(tenant_id=tenant_id, state__in=OPEN).values_list("agent_id", flat=True))
