"""Who may listen: tokens are asked of PostgreSQL by the owner's function, many in one statement, and asked again when something changed."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import structlog

from apps.core.domain.actions import Action
from apps.core.errors import Problem, problem
from apps.fleet.stream.hub import Hub
from apps.identity.domain.roles import actions_of

log = structlog.get_logger(__name__)

SHAPE = re.compile(r"mc_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")
# Tokens asked for in one statement, and requests that may wait for such an answer.
BATCH = 500
MAX_ASKING = 20_000
PATIENCE_S = 5.0
# Seconds between two questions what changed, and between two of every token.
POLL_S = 1.0
EVERY_TOKEN_S = 60.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0

_LOOK_UP = (
    "SELECT t.kind, t.hash, t.scopes, t.expires_at, t.tenant_id, t.holder_id, t.id, sought"
    " FROM unnest(%s::text[]) AS sought CROSS JOIN LATERAL identity_token(sought) AS t"
)
_CHANGES = "SELECT last, floor, generation, topic, tenant_id FROM core_changes(%s) ORDER BY generation"


@dataclass(frozen=True, slots=True)
class Token:
    """A live token, as far as the stream cares."""

    kind: str
    hash: bytes
    scopes: Sequence[str]
    expires_at: datetime | None
    tenant: UUID
    holder: UUID
    id: UUID


class Guard:
    """Answers for tokens, and ends the connections of those that are no longer good."""

    def __init__(self, hub: Hub, url: str) -> None:
        self.hub = hub
        self.connected = False
        self._url = url
        self._asked: dict[str, asyncio.Future[Token | None]] = {}
        self._wake = asyncio.Event()
        self._new: set[str] = set()
        self._seen = -1

    async def admit(self, header: str) -> tuple[str, Token]:
        """The prefix and token of an Authorization header. Raises Problem `not_authenticated`, `permission_denied`, `unavailable`."""
        scheme, _, sent = header.partition(" ")
        match = SHAPE.fullmatch(sent.strip())
        if scheme.lower() != "bearer" or match is None:
            raise _refused()
        prefix, secret = match.groups()
        token = await self._ask(prefix)
        if token is None or not hmac.compare_digest(token.hash, hashlib.sha256(secret.encode()).digest()):
            raise _refused()
        if token.kind != "agent":
            raise problem("permission_denied", "The stream is for agents: use an agent's token.")
        if Action.HEARTBEAT not in actions_of("agent") or (token.scopes and Action.HEARTBEAT.value not in token.scopes):
            raise problem("permission_denied", f"The token's scopes do not hold '{Action.HEARTBEAT.value}'.")
        return prefix, token

    def joined(self, prefix: str) -> None:
        """Its connection is in the hub now. What changed since its token was read is found at the next poll."""
        self._new.add(prefix)

    async def _ask(self, prefix: str) -> Token | None:
        if not self.connected or len(self._asked) >= MAX_ASKING:
            raise _away()
        future = self._asked.get(prefix)
        if future is None:
            future = self._asked[prefix] = asyncio.get_running_loop().create_future()
            self._wake.set()
        try:
            return await asyncio.wait_for(asyncio.shield(future), PATIENCE_S)
        except (TimeoutError, psycopg.Error):
            raise _away() from None

    # Work, for as long as the process lives.

    async def answer(self) -> None:
        """Looks up what `admit` asks for: whoever asks while a statement is on its way is in the next one."""
        await self._steadily("look_up", self._answer_on)

    async def watch(self) -> None:
        """Hears of changes by notification, and asks every second in any case."""
        await self._steadily("watch", self._watch_on)

    async def _steadily(self, name: str, work: Any) -> None:
        wait = _FIRST_WAIT_S
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                async with await psycopg.AsyncConnection.connect(self._url, autocommit=True, connect_timeout=5) as connection:
                    await connection.execute("SET statement_timeout = '10s'")
                    await work(connection)
            except (psycopg.Error, OSError) as error:
                log.warning("stream.database_lost", part=name, error=str(error)[:200])
            if asyncio.get_running_loop().time() - begun > _LONGEST_WAIT_S * 2:
                wait = _FIRST_WAIT_S
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_S)

    async def _answer_on(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.connected = True
        try:
            while True:
                # A question now and then finds a connection that is gone before somebody waits for it.
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), 5.0)
                self._wake.clear()
                if not self._asked:
                    await connection.execute("SELECT 1")
                while self._asked:
                    prefixes = list(self._asked)[:BATCH]
                    found = await look_up(connection, prefixes)
                    for prefix in prefixes:
                        future = self._asked.pop(prefix)
                        if not future.done():
                            future.set_result(found.get(prefix))
        finally:
            self.connected = False
            waiting, self._asked = self._asked, {}
            for future in waiting.values():
                if not future.done():
                    future.set_exception(psycopg.OperationalError("away"))
                    future.exception()  # perhaps nobody waits any more

    async def _watch_on(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute("LISTEN mc_changes")
        everything_due = 0.0
        while True:
            now = asyncio.get_running_loop().time()
            changed = await self._changed(connection)
            if changed is None or now >= everything_due:
                everything_due = now + EVERY_TOKEN_S
                self._new.clear()
                used = await self._check(connection, self.hub.prefixes())
                if used:
                    await connection.execute(
                        "SELECT identity_tokens_used(%s::uuid[], %s::timestamptz[])", [used, [datetime.now(UTC)] * len(used)]
                    )
            elif changed or self._new:
                prefixes = [*self._new, *self.hub.prefixes(changed)]
                self._new.clear()
                await self._check(connection, prefixes)
            async for _ in connection.notifies(timeout=POLL_S, stop_after=1):
                pass

    async def _changed(self, connection: psycopg.AsyncConnection[Any]) -> set[UUID] | None:
        """The tenants whose tokens or agents have changed since the last time; None where that is not known."""
        rows = await (await connection.execute(_CHANGES, [self._seen])).fetchall()
        last, floor = rows[0][:2]
        known = floor <= self._seen <= last
        self._seen = last
        return {tenant for _, _, _, topic, tenant in rows if topic == "tokens"} if known else None

    async def _check(self, connection: psycopg.AsyncConnection[Any], prefixes: list[str]) -> list[UUID]:
        """Ends the connections of tokens that are no longer good; the ids of the others."""
        good: list[UUID] = []
        for begin in range(0, len(prefixes), BATCH):
            asked = prefixes[begin : begin + BATCH]
            found = await look_up(connection, asked)
            for prefix in asked:
                token = found.get(prefix)
                for one in list(self.hub.of_token(prefix)):
                    if token is None or (token.hash, token.tenant, token.holder) != (one.hash, one.tenant, one.agent):
                        one.end()
                if token is not None:
                    good.append(token.id)
        return good


async def look_up(connection: psycopg.AsyncConnection[Any], prefixes: list[str]) -> dict[str, Token]:
    """The live tokens among these."""
    rows = await (await connection.execute(_LOOK_UP, [prefixes])).fetchall()
    return {row[7]: Token(row[0], bytes(row[1]), *row[2:7]) for row in rows}


def _refused() -> Problem:
    return problem("not_authenticated", "Send 'Authorization: Bearer mc_…' with an agent's token that is neither expired nor revoked.")


def _away() -> Problem:
    return problem("unavailable", "Tokens cannot be checked just now; connect again.", retry_after=2)
