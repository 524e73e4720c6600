"""Into the push stream: what harnesses are told at once, not at their next question.

A push is a hint, never the only way: what it says stands in the database, and a harness that missed it reads it at its next resolve or
heartbeat. So a push that fails costs time and nothing else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from typing import Any
from uuid import UUID

import redis
import structlog
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from apps.fleet.domain.wire import KEPT, STREAM, fields_of, resync

log = structlog.get_logger(__name__)

# Seconds that a request, which has committed already, waits for Redis at the most; and for which Redis is then left alone.
TIMEOUT_S = 1.0

_redis: redis.Redis | None = None
_lost = threading.Event()
_spared_until = float("-inf")


def push(*, tenant_id: UUID | None, agent_ids: Collection[UUID] | None, event: str, data: dict[str, Any]) -> None:
    """Tells the harnesses that listen, within milliseconds. Called after the commit; never raises: a failure is logged.

    `agent_ids` None: every agent of the tenant; `tenant_id` None: everyone's harnesses. `data` is what each of them reads: it holds nothing
    that not all of them may know. After a failure the next push that succeeds is preceded by a `resync` for everyone.
    """
    global _spared_until
    if agent_ids is not None and not agent_ids:
        return
    try:
        fields = fields_of(tenant_id, agent_ids, event, data)
        if time.monotonic() < _spared_until:
            raise redis.ConnectionError("Redis did not answer a moment ago.")
        with _client().pipeline(transaction=False) as pipe:
            if _lost.is_set():
                pipe.xadd(STREAM, resync("push_failed"), maxlen=KEPT, approximate=True)
            pipe.xadd(STREAM, fields, maxlen=KEPT, approximate=True)
            pipe.execute()
        _lost.clear()
    except (ValueError, TypeError) as error:
        log.error("push.refused", pushed=event, tenant=str(tenant_id), error=str(error)[:200])
    except (redis.RedisError, OSError) as error:
        if time.monotonic() >= _spared_until:
            _spared_until = time.monotonic() + TIMEOUT_S
        _lost.set()
        log.warning("push.failed", pushed=event, tenant=str(tenant_id), error=str(error)[:200])


def _client() -> redis.Redis:
    """One pool a process. Nothing is tried twice: a push that waits holds up an answer."""
    global _redis
    if _redis is None:
        _redis = redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        )
    return _redis
