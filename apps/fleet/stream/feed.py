"""From Redis to the hub: one blocking read at a time, of all tenants' events."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from apps.fleet.domain.frames import EventId, frame, parse_id
from apps.fleet.domain.wire import KEPT, STREAM, agents_of, resync
from apps.fleet.stream.hub import MAX_KEPT, Entry, Hub

log = structlog.get_logger(__name__)

BLOCK_MS = 5_000
COUNT = 500
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0

Fields = dict[bytes, bytes]


class Feed:
    """Follows the stream for as long as the process lives; `connected` tells whether it does so just now, `begun` whether it ever did."""

    def __init__(self, hub: Hub, url: str) -> None:
        self.hub = hub
        self.connected = False
        self._url = url
        self.begun = False

    async def run(self) -> None:
        wait = _FIRST_WAIT_S
        while True:
            # A time-out beyond that of the read finds a server that is there and says nothing; a silent second try would hide a loss.
            client = redis.asyncio.Redis.from_url(
                self._url, socket_timeout=BLOCK_MS / 1000 + 5, socket_connect_timeout=5, retry=Retry(NoBackoff(), 0)
            )
            try:
                last = await self._begin(client)
                self.connected = True
                wait = _FIRST_WAIT_S
                while True:
                    last = await self._read(client, last)
            except (RedisError, OSError) as error:
                if self.connected or not self.begun:
                    log.warning("stream.redis_lost", error=str(error)[:200])
                self.connected = False
            finally:
                await client.aclose(close_connection_pool=True)
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_S)

    async def _begin(self, client: Any) -> EventId:
        """Reads what there is. After an interruption everybody is told to ask again: what was pushed meanwhile may never have arrived."""
        seconds, micros = await client.time()
        newest: list[tuple[bytes, Fields]] = await client.xrevrange(STREAM, count=MAX_KEPT)
        entries = [entry for entry in map(_entry, reversed(newest)) if entry is not None]
        # Of an empty stream it is not known what it held: it begins now, by the clock that makes the ids.
        floor = entries[0].id if entries else EventId(seconds * 1000 + micros // 1000 - 1, 0)
        known = self.hub.head
        self.hub.start_with([entry for entry in entries if not self.begun or entry.id <= known], floor)
        if self.begun:
            for entry in entries:
                if entry.id > known:
                    await self.hub.publish(entry)
            await client.xadd(STREAM, resync("redis_lost"), maxlen=KEPT, approximate=True)
            log.info("stream.redis_found")
        self.begun = True
        return parse_id(newest[0][0].decode()) if newest else self.hub.head

    async def _read(self, client: Any, last: EventId) -> EventId:
        answer = await client.xread({STREAM: str(last)}, count=COUNT, block=BLOCK_MS)
        for _, entries in answer.items() if isinstance(answer, dict) else answer or ():
            for identity, fields in entries:
                last = parse_id(identity.decode())
                if (entry := _entry((identity, fields))) is not None:
                    await self.hub.publish(entry)
        return last


def _entry(found: tuple[bytes, Fields]) -> Entry | None:
    """None, and a line in the log, for what `push` did not write."""
    identity, fields = found
    try:
        event_id = parse_id(identity.decode())
        tenant = fields[b"tenant"].decode()
        return Entry(
            event_id,
            UUID(tenant) if tenant else None,
            agents_of(fields[b"agents"]),
            frame(event_id, fields[b"event"].decode(), fields[b"data"]),
        )
    except (KeyError, ValueError) as error:
        log.warning("stream.unreadable", entry=identity.decode(errors="replace"), error=repr(error)[:200])
        return None
