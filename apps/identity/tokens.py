"""Bearer tokens: `mc_<prefix>_<secret>`. One indexed read, then remembered in the process until the tenant's tokens change."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from apps.core import limits
from apps.core.access import Action
from apps.core.cache import GenerationCache
from apps.core.context import ActionContext, Actor, RoleGrant, Topic
from apps.core.errors import Problem, problem
from apps.core.generations import watcher
from apps.identity.models import User
from apps.identity.selectors import groups_of, role_ends, roles_of

SHAPE = re.compile(r"mc_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
MAX_REMEMBERED = 50_000
FLUSH_S = 60.0


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a token stands for, and everything a harness request needs to know of it."""

    token_id: UUID
    hash: bytes
    actor: Actor
    tenant_id: UUID
    tenant: str
    tier: str
    roles: frozenset[RoleGrant]
    scopes: frozenset[str] | None
    valid_until: datetime | None
    agent_id: UUID | None = None
    agent: str = ""
    team_id: UUID | None = None
    team: str = ""
    default_pack: str = ""
    groups: frozenset[int] = frozenset()

    def context(self, request_id: str) -> ActionContext:
        return ActionContext(
            actor=self.actor,
            tenant_id=self.tenant_id,
            channel="api",
            roles=self.roles,
            groups=self.groups,
            request_id=request_id,
            agent_id=self.agent_id,
            team_id=self.team_id,
            scopes=self.scopes,
        )


def new_secret() -> tuple[str, str, bytes]:
    """A prefix, the whole token to show once, and the hash to store. 256 random bits need no slow hash."""
    prefix = "".join(secrets.choice(ALPHABET) for _ in range(12))
    secret = secrets.token_urlsafe(32)
    return prefix, f"mc_{prefix}_{secret}", hashlib.sha256(secret.encode()).digest()


_known: GenerationCache[str, Principal] = GenerationCache(
    Topic.TOKENS, tenant_of=lambda _, principal: principal.tenant_id, limit=MAX_REMEMBERED
)
_used: dict[UUID, datetime] = {}
_lock = threading.Lock()
_flushed = time.monotonic()


def authenticate(header: str, address: str = "") -> Principal:
    """The principal of an Authorization header that came from `address`, its request counted. Raises Problem `not_authenticated`, or
    `rate_limited`: too many requests of the token or the tenant, too many refused tokens from the address. A token that this process
    knows is never refused for what others at its address do."""
    try:
        principal = _recognise(header, address)
    except Problem as error:
        if error.code == "not_authenticated":
            limits.count_failure(address)
        raise
    limits.charge(principal.token_id, principal.tenant_id, harness=principal.agent_id is not None)
    return principal


def _recognise(header: str, address: str) -> Principal:
    def look_up(prefix: str) -> Principal:
        limits.refuse_guessing(address)
        return _look_up(prefix)

    scheme, _, sent = header.partition(" ")
    match = SHAPE.fullmatch(sent.strip())
    if scheme.lower() != "bearer" or match is None:
        raise _refused()
    prefix, secret = match.groups()
    watcher.fresh()
    principal = _known.get(prefix, look_up)
    now = datetime.now(UTC)
    if principal.valid_until is not None and principal.valid_until <= now:
        _known.drop(prefix)
        principal = _known.get(prefix, look_up)
    if not hmac.compare_digest(principal.hash, hashlib.sha256(secret.encode()).digest()):
        raise _refused()
    _used[principal.token_id] = now
    if time.monotonic() - _flushed > FLUSH_S:
        flush_last_used()
    return principal


def _refused() -> Problem:
    return problem("not_authenticated", "Send 'Authorization: Bearer mc_…' with a token that is neither expired nor revoked.")


def _look_up(prefix: str) -> Principal:
    """By one function of the owner: the token gives the tenant, so there is none to ask in yet."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM identity_token(%s)", [prefix])
        found = cursor.fetchone()
    if found is None:
        raise _refused()
    row = TokenRow(*found)
    return _agent_principal(row) if row.kind == "agent" else _user_principal(row)


class TokenRow(NamedTuple):
    """What the function answers: a live token with its holder, an agent (its slug, team and default pack) or a person (their e-mail address)."""

    kind: str
    id: UUID
    hash: bytes
    scopes: list[str]
    expires_at: datetime | None
    tenant_id: UUID
    tenant: str
    tier: str
    holder_id: UUID
    holder: str
    team_id: UUID | None
    team: str | None
    default_pack: str
    service: bool


def _agent_principal(token: TokenRow) -> Principal:
    return Principal(
        token_id=token.id,
        hash=bytes(token.hash),
        actor=Actor("agent", token.holder_id, f"{token.tenant}/{token.holder}"),
        tenant_id=token.tenant_id,
        tenant=token.tenant,
        tier=token.tier,
        roles=frozenset({RoleGrant("agent")}),
        scopes=frozenset(token.scopes) or None,
        valid_until=token.expires_at,
        agent_id=token.holder_id,
        agent=token.holder,
        team_id=token.team_id,
        team=token.team or "",
        default_pack=token.default_pack,
    )


def _user_principal(token: TokenRow) -> Principal:
    holder = User(pk=token.holder_id)
    groups = [group for group in groups_of(holder) if group.tenant_id == token.tenant_id]
    ends = [token.expires_at, *role_ends(holder, token.tenant_id), *(group.until for group in groups)]
    limits = [end for end in ends if end is not None]
    roles = roles_of(holder, token.tenant_id)
    scopes = frozenset(token.scopes) or None
    if token.service:
        # Four eyes are people's.
        scopes = (scopes or frozenset(action.value for action in Action)) - {Action.APPROVE.value}
    return Principal(
        token_id=token.id,
        hash=bytes(token.hash),
        actor=Actor("user", token.holder_id, token.holder),
        tenant_id=token.tenant_id,
        tenant=token.tenant,
        tier=token.tier,
        roles=roles,
        groups=frozenset(group.group_id for group in groups),
        scopes=scopes,
        valid_until=min(limits) if limits else None,
    )


def flush_last_used() -> None:
    """Writes when tokens were last used, at most once a minute: one statement, however many and whosever they are."""
    global _flushed
    with _lock:
        _flushed = time.monotonic()
        pending = dict(_used)
        _used.clear()
    if pending:
        with connection.cursor() as cursor:
            cursor.execute("SELECT identity_tokens_used(%s::uuid[], %s::timestamptz[])", [list(pending), list(pending.values())])
