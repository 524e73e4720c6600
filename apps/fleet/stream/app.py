"""`GET /api/v1/stream`, as bare ASGI."""

from __future__ import annotations

import asyncio
import os
import random
import re
import resource
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import structlog

from apps.core.domain.buckets import Buckets
from apps.core.errors import PROBLEM_TYPE, Problem, problem
from apps.core.ids import new_id
from apps.core.refusals import problem_body
from apps.fleet.domain.frames import EventId, parse_id
from apps.fleet.stream.feed import Feed
from apps.fleet.stream.guard import Guard, Token
from apps.fleet.stream.hub import MAX_WAITING_BYTES, Connection, Hub, Send

log = structlog.get_logger(__name__)

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Scope = Mapping[str, Any]

PATH = "/api/v1/stream"
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    # nginx would hold events back until a buffer is full.
    (b"x-accel-buffering", b"no"),
]
# Milliseconds after which a reader that lost its connection comes back: each another, so that they do not come all at once.
RETRY_MS = (1_000, 5_000)
# Files and sockets that are not readers.
OTHER_FILES = 100


@dataclass(frozen=True, slots=True)
class Settings:
    """What the process is told; see `.env.example`."""

    database_url: str
    redis_url: str
    max_connections: int
    max_per_token: int
    failures_per_s: float
    trust_proxy: bool


class Stream:
    """The ASGI application."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.hub = Hub()
        self.feed = Feed(self.hub, settings.redis_url)
        self.guard = Guard(self.hub, settings.database_url)
        self._strangers: Buckets[str] = Buckets(burst_s=2.0, limit=50_000)
        self._tasks: list[asyncio.Task[None]] = []
        # Requests being answered or read from: what the limit is about.
        self._inside = 0
        self._most = settings.max_connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            request_id = _request_id(scope)
            try:
                await self._answer(scope, receive, send, request_id)
            except Problem as error:
                await _refuse(send, error, request_id)

    # Begin and end.

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def start(self) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if hard != resource.RLIM_INFINITY and hard < self._most + OTHER_FILES:
            self._most = hard - OTHER_FILES
            log.warning("stream.few_files", limit=hard, asked_for=self.settings.max_connections, max_connections=self._most)
        work = (self.feed.run(), self.guard.answer(), self.guard.watch(), self.hub.keep_alive())
        self._tasks = [asyncio.create_task(one) for one in work]
        for task in self._tasks:
            task.add_done_callback(_end_with)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for connection in self.hub.everyone():
            connection.end()
        await asyncio.sleep(0)

    # Requests.

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: bytes) -> None:
        if scope["path"] == "/healthz":
            await _respond(send, 200, b"text/plain; charset=utf-8", b"ok", [(b"x-request-id", request_id)])
            return
        if scope["path"] != PATH:
            raise problem("not_found", f"There is no such route; the stream is at {PATH}.")
        if scope["method"] != "GET":
            raise problem("method_not_allowed", "The stream answers GET.")
        if not self.feed.begun:
            raise problem("unavailable", "This process has not found Redis yet; connect again.", retry_after=2)
        if self._inside >= self._most:
            raise problem("unavailable", "This process has all the connections it can take; try again.", retry_after=5)
        self._inside += 1
        try:
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            prefix, token = await self._admit(headers, scope)
            last = _place(headers, scope["query_string"])
            if len(self.hub.of_token(prefix)) >= self.settings.max_per_token:
                words = f"This token has {self.settings.max_per_token} connections already; end one, or use another token."
                raise problem("rate_limited", words, retry_after=10)
            await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, (b"x-request-id", request_id)]})
            await self._serve(Connection(token.tenant, token.holder, prefix, token.hash, send), token, last, receive)
        finally:
            self._inside -= 1

    async def _admit(self, headers: Mapping[bytes, str], scope: Scope) -> tuple[str, Token]:
        try:
            return await self.guard.admit(headers.get(b"authorization", ""))
        except Problem as error:
            if error.code != "not_authenticated":
                raise
            address = scope["client"][0] if scope.get("client") else ""
            if self.settings.trust_proxy:
                address = headers.get(b"x-forwarded-for", "").rpartition(",")[2].strip()[:64] or address
            wait = self._strangers.take(address, self.settings.failures_per_s, asyncio.get_running_loop().time())
            if wait:
                raise problem("rate_limited", "Too many tokens from this address were refused.", retry_after=int(wait) + 1) from None
            raise

    async def _serve(self, connection: Connection, token: Token, last: EventId | None, receive: Receive) -> None:
        """Until either side ends it. The first that a reader hears is how long to wait before coming back, what it missed, and its place."""
        hub = self.hub
        missed = [] if last is None else hub.since(connection, last)
        if missed is None or sum(map(len, missed)) > MAX_WAITING_BYTES // 2:
            missed = [hub.resync()]
        hub.add(connection)
        self.guard.joined(connection.prefix)
        connection.offer(b"".join([b"retry: %d\n\n" % random.randint(*RETRY_MS), *missed, hub.ping()]))  # noqa: S311 -- only spreads them
        expiry = None
        if token.expires_at is not None:
            left = (token.expires_at - datetime.now(UTC)).total_seconds()
            expiry = asyncio.get_running_loop().call_later(max(left, 0.0), connection.end)
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            hub.remove(connection)
            if expiry is not None:
                expiry.cancel()


def _place(headers: Mapping[bytes, str], query: bytes) -> EventId | None:
    """Where the reader was, by its header, or else by its address. Raises Problem `invalid`, `unknown_key`."""
    sent = headers.get(b"last-event-id", "")
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name != "last_event_id":
            raise problem("unknown_key", f"The stream has no parameter '{name[:50]}'; it knows last_event_id.", pointer=f"/{name[:50]}")
        sent = sent or value
    if not sent:
        return None
    try:
        return parse_id(sent)
    except ValueError as error:
        raise problem("invalid", f"{error} Send the id of the last event as it came, or none.", pointer="/last_event_id") from None


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return bytes(value)
    return new_id().hex.encode()


async def _refuse(send: Send, error: Problem, request_id: bytes) -> None:
    headers = [(b"x-request-id", request_id), (b"cache-control", b"no-store")]
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if error.status == 405:
        headers.append((b"allow", b"GET"))
    if "retry_after" in error.extra:
        headers.append((b"retry-after", str(error.extra["retry_after"]).encode()))
    body = msgspec.json.encode(problem_body(error, request_id.decode()))
    await _respond(send, error.status, PROBLEM_TYPE.encode(), body, headers)


async def _respond(send: Send, status: int, content_type: bytes, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    described = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": described})
    with suppress(OSError):
        await send({"type": "http.response.body", "body": body, "more_body": False})


def _end_with(task: asyncio.Task[None]) -> None:
    """A part that failed takes the process down: whoever watches it starts it whole again."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("stream.failed", error=repr(error)[:500], exc_info=error)
        os._exit(70)
