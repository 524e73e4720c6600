"""The push stream's way in: an event goes to Redis, from which the stream's own process gives it to those connected."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any
from uuid import UUID

import msgspec
import redis
import structlog
from django.conf import settings

log = structlog.get_logger(__name__)
STREAM = "mc:stream"
MAX_KEPT = 100_000


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)


def push(*, tenant_id: UUID | None, agent_ids: Collection[UUID] | None, event: str, data: dict[str, Any]) -> None:
    """Tells the connected harnesses of these agents (None: of all the tenant's; no tenant: of all tenants). Called once the change is
    durable. Never raises: who misses it hears by the next heartbeat or resolve."""
    fields = {
        "tenant": str(tenant_id or ""),
        "agents": "" if agent_ids is None else ",".join(str(agent_id) for agent_id in agent_ids),
        "event": event,
        "data": msgspec.json.encode(data),
    }
    if agent_ids is not None and not agent_ids:
        return
    try:
        _client().xadd(STREAM, fields, maxlen=MAX_KEPT, approximate=True)  # type: ignore[arg-type]
    except (redis.RedisError, OSError) as error:
        log.warning("fleet.push_lost", stream_event=event, error=str(error))
