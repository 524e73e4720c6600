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
from uuid import UUID

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from apps.core import limits
from apps.core.cache import GenerationCache
from apps.core.context import ActionContext, Actor, RoleGrant, Topic
from apps.core.errors import Problem, problem
from apps.core.generations import watcher
from apps.identity.models import AgentStatus, AgentToken, ApiToken, Membership, TenantStatus
from apps.identity.selectors import groups_of, roles_of

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
_used: dict[UUID, tuple[str, datetime]] = {}
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
    _used[principal.token_id] = ("agent" if principal.agent_id else "user", now)
    if time.monotonic() - _flushed > FLUSH_S:
        flush_last_used()
    return principal


def _refused() -> Problem:
    return problem("not_authenticated", "Send 'Authorization: Bearer mc_…' with a token that is neither expired nor revoked.")


def _look_up(prefix: str) -> Principal:
    now = timezone.now()
    live = Q(prefix=prefix, revoked_at__isnull=True, tenant__status=TenantStatus.ACTIVE) & (
        Q(expires_at__isnull=True) | Q(expires_at__gt=now)
    )
    token = AgentToken.objects.filter(live, agent__status=AgentStatus.ACTIVE).select_related("tenant", "agent__team").first()
    if token is not None:
        return _agent_principal(token)
    api_token = ApiToken.objects.filter(live, user__is_active=True).select_related("tenant", "user").first()
    if api_token is None:
        raise _refused()
    return _user_principal(api_token, now)


def _agent_principal(token: AgentToken) -> Principal:
    agent, tenant = token.agent, token.tenant
    return Principal(
        token_id=token.pk,
        hash=bytes(token.hash),
        actor=Actor("agent", agent.pk, f"{tenant.slug}/{agent.slug}"),
        tenant_id=tenant.pk,
        tenant=tenant.slug,
        tier=tenant.tier,
        roles=frozenset({RoleGrant("agent")}),
        scopes=frozenset(token.scopes) or None,
        valid_until=token.expires_at,
        agent_id=agent.pk,
        agent=agent.slug,
        team_id=agent.team_id,
        team=agent.team.slug if agent.team else "",
        default_pack=agent.default_pack,
    )


def _user_principal(token: ApiToken, now: datetime) -> Principal:
    ends = Membership.objects.filter(user=token.user, tenant=token.tenant, until__gt=now).values_list("until", flat=True)
    groups = [group for group in groups_of(token.user) if group.tenant_id == token.tenant.pk]
    limits = [end for end in [token.expires_at, *ends, *(group.until for group in groups)] if end is not None]
    return Principal(
        token_id=token.pk,
        hash=bytes(token.hash),
        actor=Actor("user", token.user.pk, token.user.email),
        tenant_id=token.tenant.pk,
        tenant=token.tenant.slug,
        tier=token.tenant.tier,
        roles=roles_of(token.user, token.tenant.pk),
        groups=frozenset(group.group_id for group in groups),
        scopes=frozenset(token.scopes) or None,
        valid_until=min(limits) if limits else None,
    )


# One statement however many were used. Another process that is just writing the same token knows it as well; nobody waits for anybody.
LAST_USED = """
UPDATE {table} SET last_used_at = used.at FROM (
    SELECT token.id, sent.at FROM {table} token JOIN unnest(%s::uuid[], %s::timestamptz[]) AS sent (id, at) USING (id)
    ORDER BY token.id FOR UPDATE OF token SKIP LOCKED
) used WHERE {table}.id = used.id
"""


def flush_last_used() -> None:
    """Writes when tokens were last used, at most once a minute."""
    global _flushed
    with _lock:
        _flushed = time.monotonic()
        pending = dict(_used)
        _used.clear()
    for kind, model in (("agent", AgentToken), ("user", ApiToken)):
        used = {token_id: used_at for token_id, (held_by, used_at) in pending.items() if held_by == kind}
        if used:
            with connection.cursor() as cursor:
                cursor.execute(LAST_USED.format(table=model._meta.db_table), [list(used), list(used.values())])
