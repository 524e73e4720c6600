"""Who listens, and what was said lately: all in memory, all on one event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from apps.fleet.domain.frames import START, EventId, frame

Send = Callable[[dict[str, Any]], Awaitable[None]]

# What may wait for one reader. Who is further behind is disconnected, and resumes from where it was.
MAX_WAITING_BYTES = 256 * 1024
# Events kept for those who resume, and the agents that these name.
MAX_KEPT = 20_000
MAX_KEPT_NAMES = 500_000
# Each connection is pinged once in so many seconds, a share of them every second.
PING_S = 15
# Connections that are handed an event before the loop gets to do something else.
SLICE = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as it goes out. `tenant` None: for everyone; `agents` None: for all of the tenant's."""

    id: EventId
    tenant: UUID | None
    agents: frozenset[UUID] | None
    frame: bytes

    def reaches(self, agent: UUID) -> bool:
        return self.agents is None or agent in self.agents


@dataclass(eq=False, slots=True)
class Connection:
    """One reader: a token's, and so one agent's of one tenant."""

    tenant: UUID
    agent: UUID
    prefix: str
    hash: bytes
    send: Send
    slot: int = 0
    closed: bool = False
    waiting: list[bytes] = field(default_factory=list)
    waiting_bytes: int = 0
    writer: asyncio.Task[None] | None = None
    pings_missed: int = 0

    def offer(self, data: bytes) -> None:
        """Puts bytes on their way; ends the connection when too many wait."""
        if self.closed:
            return
        self.waiting.append(data)
        self.waiting_bytes += len(data)
        if self.waiting_bytes > MAX_WAITING_BYTES:
            self.end()
        elif self.writer is None:
            self.writer = asyncio.ensure_future(self._write())

    def ping(self, data: bytes) -> None:
        """Keeps the connection alive; ends it when it took nothing since the ping before the last one."""
        if self.writer is None:
            self.pings_missed = 0
            self.offer(data)
        elif (missed := self.pings_missed + 1) < 2:
            self.pings_missed = missed
        else:
            self.end()

    def end(self) -> None:
        """Closes the response; the server then says `http.disconnect` to whoever handles the request."""
        if self.closed:
            return
        self.closed = True
        self.waiting.clear()
        if self.writer is not None:
            self.writer.cancel()
        self.writer = asyncio.ensure_future(self._finish())

    async def _write(self) -> None:
        try:
            while self.waiting:
                data = self.waiting[0] if len(self.waiting) == 1 else b"".join(self.waiting)
                self.waiting.clear()
                self.waiting_bytes = 0
                await self.send({"type": "http.response.body", "body": data, "more_body": True})
        except OSError:
            self.waiting.clear()  # the reader has gone; its request hears of it by itself
        finally:
            if not self.closed:
                self.writer = None

    async def _finish(self) -> None:
        with suppress(OSError):
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})


class Hub:
    """The index tenant -> agent -> connections, and the latest events by tenant."""

    def __init__(self) -> None:
        # Open now, and ever.
        self.count = self.joined = 0
        self.head = START
        # Events up to here may be gone; a connection that resumes from before it has to ask again.
        self.floor = START
        self._tenants: dict[UUID, dict[UUID, set[Connection]]] = {}
        self._by_prefix: dict[str, set[Connection]] = {}
        self._slots: list[set[Connection]] = [set() for _ in range(PING_S)]
        self._kept: deque[Entry] = deque()
        self._kept_names = 0
        self._kept_of: dict[UUID | None, deque[Entry]] = {}

    # Connections.

    def add(self, connection: Connection) -> None:
        self._tenants.setdefault(connection.tenant, {}).setdefault(connection.agent, set()).add(connection)
        self._by_prefix.setdefault(connection.prefix, set()).add(connection)
        connection.slot = self.joined % PING_S
        self._slots[connection.slot].add(connection)
        self.joined += 1
        self.count += 1

    def remove(self, connection: Connection) -> None:
        connection.closed = True
        connection.waiting.clear()
        agents = self._tenants[connection.tenant]
        agents[connection.agent].discard(connection)
        if not agents[connection.agent]:
            del agents[connection.agent]
            if not agents:
                del self._tenants[connection.tenant]
        same = self._by_prefix[connection.prefix]
        same.discard(connection)
        if not same:
            del self._by_prefix[connection.prefix]
        self._slots[connection.slot].discard(connection)
        self.count -= 1

    def of_token(self, prefix: str) -> set[Connection]:
        return self._by_prefix.get(prefix, set())

    def prefixes(self, tenants: Iterable[UUID] | None = None) -> list[str]:
        """The tokens by which these tenants' agents (or all) are connected."""
        if tenants is None:
            return list(self._by_prefix)
        found = {one.prefix for tenant in tenants for ones in self._tenants.get(tenant, {}).values() for one in ones}
        return list(found)

    def everyone(self) -> list[Connection]:
        return [connection for same in self._by_prefix.values() for connection in same]

    # Events.

    async def publish(self, entry: Entry) -> None:
        """Keeps an event and hands it to its readers, a slice of them at a time. One at a time, in the order of ids."""
        self._keep(entry)
        # Who comes from here on is no reader of this one: it is before what they begin with.
        readers = list(self._readers(entry))
        for begin in range(0, len(readers), SLICE):
            for connection in readers[begin : begin + SLICE]:
                connection.offer(entry.frame)
            await asyncio.sleep(0)

    def _readers(self, entry: Entry) -> Iterator[Connection]:
        for tenant in list(self._tenants) if entry.tenant is None else [entry.tenant]:
            agents = self._tenants.get(tenant, {})
            if entry.agents is None:
                for ones in agents.values():
                    yield from ones
            else:
                for agent in entry.agents if len(entry.agents) < len(agents) else agents.keys() & entry.agents:
                    yield from agents.get(agent, ())

    def start_with(self, entries: list[Entry], floor: EventId) -> None:
        """Takes what the stream holds, in order, for all that is known of it: what was before `floor` may be gone."""
        self._kept.clear()
        self._kept_of.clear()
        self._kept_names = 0
        self.head = self.floor = floor
        for entry in entries:
            self._keep(entry)

    def since(self, connection: Connection, last: EventId) -> list[bytes] | None:
        """What the connection has missed since the event `last`; None where that cannot be told any more."""
        if not self.floor <= last <= self.head:
            return None
        found = [
            entry
            for tenant in (connection.tenant, None)
            for entry in _after(self._kept_of.get(tenant, deque()), last)
            if entry.reaches(connection.agent)
        ]
        found.sort(key=lambda entry: entry.id)
        return [entry.frame for entry in found]

    def ping(self) -> bytes:
        """Its id is that of the newest event there is, so that who heard nothing for long still resumes from near."""
        return frame(self.head, "ping", b"{}")

    def resync(self) -> bytes:
        """For a reader whose place is not in what is kept."""
        return frame(self.head, "resync", b'{"reason":"gap"}')

    async def keep_alive(self) -> None:
        """Pings, for as long as the process lives."""
        turn = 0
        while True:
            await asyncio.sleep(1)
            turn = (turn + 1) % PING_S
            ping = self.ping()
            for connection in list(self._slots[turn]):
                connection.ping(ping)

    def _keep(self, entry: Entry) -> None:
        self.head = entry.id
        self._kept.append(entry)
        self._kept_of.setdefault(entry.tenant, deque()).append(entry)
        self._kept_names += len(entry.agents or ())
        while len(self._kept) > MAX_KEPT or self._kept_names > MAX_KEPT_NAMES:
            oldest = self._kept.popleft()
            self.floor = oldest.id
            self._kept_names -= len(oldest.agents or ())
            same = self._kept_of[oldest.tenant]
            same.popleft()
            if not same:
                del self._kept_of[oldest.tenant]


def _after(entries: deque[Entry], last: EventId) -> Iterator[Entry]:
    """Those with a later id, newest first: who resumes is mostly a few behind."""
    for entry in reversed(entries):
        if entry.id <= last:
            return
        yield entry
