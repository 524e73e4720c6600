"""Tokens: issued once, with the secret in the answer only, and revoked everywhere within a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext, Topic
from apps.core.errors import problem
from apps.core.generations import bump
from apps.identity.domain.access import ANY_GRANTABLE
from apps.identity.domain.roles import ROLE_ACTIONS
from apps.identity.domain.tokens import expiry, scopes_within
from apps.identity.models import Agent, AgentStatus, AgentToken, ApiToken, User
from apps.identity.permissions import anywhere, require
from apps.identity.selectors import actions_in, groups_of, roles_of, visible_token
from apps.identity.services.people import normal_email
from apps.identity.services.rows import validate
from apps.identity.tokens import new_secret


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token and its secret: the only time that the whole of it exists outside the holder's hands."""

    token: AgentToken | ApiToken
    secret: str


def issue_agent_token(
    *, ctx: ActionContext, agent: str, name: str = "", scopes: Sequence[str] = (), expires_at: datetime | None = None
) -> Issued:
    """A token for an agent (its slug) of the context's tenant; no scopes means all that an agent may. A year by default, two at most.

    Raises Problem `invalid` (an unknown agent too), `permission_denied`, `wrong_state` (retired).
    """
    with ctx.transaction():
        # The row's lock keeps a retirement from overtaking, which revokes the tokens that it finds.
        found: Agent | None = Agent.objects.select_for_update().restrict(ctx).filter(slug=agent, tenant_id=ctx.tenant_id).first()
        if found is None:
            raise problem("invalid", f"The tenant has no agent '{agent}'.", pointer="/agent")
        require(ctx, Action.MANAGE_TOKENS, tenant_id=found.tenant_id, team_id=found.team_id)
        if found.status == AgentStatus.RETIRED:
            raise problem("wrong_state", f"The agent '{agent}' is retired and takes no new token.")
        granted = scopes_within(scopes, ROLE_ACTIONS["agent"], narrowed=False)
        prefix, secret, hashed = new_secret()
        token = AgentToken(
            tenant_id=found.tenant_id,
            agent=found,
            name=name,
            scopes=granted,
            prefix=prefix,
            hash=hashed,
            expires_at=expiry(expires_at, timezone.now()),
        )
        validate(token, "name")
        token.save(force_insert=True)
        _issued(ctx, token, {"agent": found.pk})
        return Issued(token, secret)


def issue_api_token(
    *, ctx: ActionContext, email: str = "", name: str = "", scopes: Sequence[str] = (), expires_at: datetime | None = None
) -> Issued:
    """A token that acts as a person in the context's tenant: one's own, or with MANAGE_TOKENS another's (a service account's).

    Nobody hands on what they may not do themselves, and a token issued for somebody else never approves: two people would be one.
    Raises Problem `invalid` (a person without a role here too), `permission_denied`.
    """
    with ctx.transaction():
        user = _person(ctx, email)
        own = user.pk == ctx.user_id
        # A token with narrow scopes must not beget a wider one.
        if not own or ctx.scopes is not None:
            require(ctx, Action.MANAGE_TOKENS, tenant_id=ctx.tenant_id)
        held = roles_of(user, ctx.tenant_id)
        groups = [group for group in groups_of(user) if group.tenant_id == ctx.tenant_id]
        if not held and not groups:
            raise problem(
                "invalid", "This person holds no role in the tenant and is in none of its groups; add them first.", pointer="/user"
            )
        allowed = set(actions_in(held)) | (ANY_GRANTABLE if groups else set())
        if ctx.actor.kind != "system":
            allowed = {action for action in allowed if anywhere(ctx, action)}
            if not own:
                allowed.discard(Action.APPROVE)
        narrowed = ctx.actor.kind != "system" and (not own or ctx.scopes is not None)
        granted = scopes_within(scopes, allowed, narrowed=narrowed)
        prefix, secret, hashed = new_secret()
        token = ApiToken(
            tenant_id=ctx.tenant_id,
            user=user,
            name=name,
            scopes=granted,
            prefix=prefix,
            hash=hashed,
            expires_at=expiry(expires_at, timezone.now()),
        )
        validate(token, "name")
        token.save(force_insert=True)
        _issued(ctx, token, {"user": user.pk})
        return Issued(token, secret)


def revoke_token(*, ctx: ActionContext, token_id: UUID | str, reason: str = "") -> AgentToken | ApiToken:
    """Ends a token for good: one's own, or with MANAGE_TOKENS any of the tenant. Raises Problem `not_found`, `permission_denied`,
    `wrong_state` (revoked already)."""
    with ctx.transaction():
        token = visible_token(ctx, token_id, lock=True)
        own = isinstance(token, ApiToken) and token.user_id == ctx.user_id
        if not own:
            team_id = token.agent.team_id if isinstance(token, AgentToken) else None
            require(ctx, Action.MANAGE_TOKENS, tenant_id=token.tenant_id, team_id=team_id)
        if token.revoked_at is not None:
            raise problem("wrong_state", "This token is revoked already.")
        token.revoked_at = timezone.now()
        token.save(update_fields=["revoked_at"])
        record(ctx, "identity.token_revoked", token, data={"prefix": token.prefix}, reason=reason)
        bump(ctx, Topic.TOKENS, token.tenant_id)
        return token


def _issued(ctx: ActionContext, token: AgentToken | ApiToken, holder: dict[str, UUID]) -> None:
    assert token.expires_at is not None
    data = {"prefix": token.prefix, "scopes": token.scopes, "expires_at": token.expires_at.isoformat(), **holder}
    record(ctx, "identity.token_issued", token, data=data)
    bump(ctx, Topic.TOKENS, token.tenant_id)


def _person(ctx: ActionContext, email: str) -> User:
    if not email:
        if ctx.user_id is None:
            raise problem("invalid", "Say whom the token is for.", pointer="/user")
        return User.objects.get(pk=ctx.user_id)
    here = Q(memberships__tenant_id=ctx.tenant_id) | Q(group_memberships__tenant_id=ctx.tenant_id)
    user = User.objects.filter(here, email=normal_email(email)).distinct().first()
    if user is None:
        raise problem("invalid", "The tenant has no member with this e-mail address.", pointer="/user")
    return user
