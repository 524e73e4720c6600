"""Tokens: issued once, with the secret in the answer only, and revoked everywhere within a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext, Topic
from apps.core.errors import problem
from apps.core.generations import bump
from apps.identity.domain.access import ANY_GRANTABLE
from apps.identity.domain.roles import ROLE_ACTIONS
from apps.identity.domain.tokens import DEFAULT_OVERLAP, end_of_overlap, expiry, same_life, scopes_within
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
        require(ctx, Action.VIEW, tenant_id=ctx.tenant_id)
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


def rotate_token(*, ctx: ActionContext, token_id: UUID | str, overlap: timedelta = DEFAULT_OVERLAP, reason: str = "") -> Issued:
    """Replaces a token by a new one of the same holder, name, scopes and length of life. The old one ends after `overlap` (seven days at
    most, with zero at once). For who may issue it, and for its holder by the token itself or a wider one.

    Raises Problem `not_found`, `permission_denied`, `invalid`, `wrong_state` (replaced, revoked or expired already; a retired agent).
    """
    with ctx.transaction():
        now = timezone.now()
        token = _lock_with_holder(ctx, token_id)
        _require_hand_on(ctx, token)
        ends = end_of_overlap(token.expires_at, overlap, now)
        if token.successor_id is not None:
            raise problem("wrong_state", f"This token was replaced already, by {token.successor}.")
        if token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= now):
            raise problem("wrong_state", "This token has ended; issue a new one.")
        prefix, secret, hashed = new_secret()
        successor = type(token)(
            tenant_id=token.tenant_id,
            name=token.name,
            scopes=token.scopes,
            prefix=prefix,
            hash=hashed,
            expires_at=same_life(token.created_at, token.expires_at, now),
            **{"agent": token.agent} if isinstance(token, AgentToken) else {"user": token.user},
        )
        successor.save(force_insert=True)
        token.successor = successor
        if overlap:
            token.expires_at = ends
        else:
            token.revoked_at = now
        token.save(update_fields=["successor", "expires_at", "revoked_at"])
        record(
            ctx, "identity.token_rotated", token,
            data={"prefix": token.prefix, "successor": successor.pk, "successor_prefix": prefix, "ends": ends.isoformat()}, reason=reason,
        )  # fmt: skip
        _issued(ctx, successor, {"agent": token.agent_id} if isinstance(token, AgentToken) else {"user": token.user_id})
        return Issued(successor, secret)


def _lock_with_holder(ctx: ActionContext, token_id: UUID | str) -> AgentToken | ApiToken:
    """The token, locked; its agent before it, as a retirement does. An agent sees its own tokens only. Raises Problem `not_found`,
    `wrong_state` (retired)."""
    if ctx.agent_id is not None:
        try:
            own = AgentToken.objects.filter(pk=token_id, agent_id=ctx.agent_id, tenant_id=ctx.tenant_id).first()
        except ValidationError:
            own = None
        if own is None:
            raise problem("not_found", "There is no such token.")
        _active_agent(own.agent_id)
        locked: AgentToken = AgentToken.objects.select_for_update(of=("self",)).select_related("agent", "successor").get(pk=own.pk)
        return locked
    token = visible_token(ctx, token_id)
    if isinstance(token, AgentToken):
        _active_agent(token.agent_id)
    return visible_token(ctx, token.pk, lock=True)


def _active_agent(agent_id: UUID) -> None:
    agent = Agent.objects.select_for_update().get(pk=agent_id)
    if agent.status == AgentStatus.RETIRED:
        raise problem("wrong_state", f"The agent '{agent.slug}' is retired and takes no new token.")


def _require_hand_on(ctx: ActionContext, token: AgentToken | ApiToken) -> None:
    """Raises Problem `permission_denied` where `ctx` would be shown a secret that does more than it may issue."""
    if ctx.actor.kind == "system":
        return
    if isinstance(token, AgentToken):
        own = token.agent_id == ctx.agent_id
    else:
        own = token.user_id == ctx.user_id
    if not own:
        team_id = token.agent.team_id if isinstance(token, AgentToken) else None
        require(ctx, Action.MANAGE_TOKENS, tenant_id=token.tenant_id, team_id=team_id)
    elif ctx.scopes is not None and "*" not in ctx.scopes and not (token.scopes and ctx.scopes.issuperset(token.scopes)):
        raise problem("permission_denied", "A token with fewer scopes does not replace a wider one.")
    if not own and isinstance(token, ApiToken):
        reach = set(token.scopes) or {action.value for action in actions_in(roles_of(token.user, token.tenant_id))}
        beyond = sorted(scope for scope in reach if scope == Action.APPROVE or not anywhere(ctx, Action(scope)))
        if beyond:
            names = ", ".join(beyond).replace("_", " ")
            raise problem("permission_denied", f"This token may do what you cannot hand on ({names}); its holder can rotate it.")


def _issued(ctx: ActionContext, token: AgentToken | ApiToken, holder: dict[str, UUID]) -> None:
    assert token.expires_at is not None
    data = {"prefix": token.prefix, "scopes": token.scopes, "expires_at": token.expires_at.isoformat(), **holder}
    record(ctx, "identity.token_issued", token, data=data)
    bump(ctx, Topic.TOKENS, token.tenant_id)


def _person(ctx: ActionContext, email: str) -> User:
    if not email:
        if ctx.user_id is None:
            raise problem("invalid", "Say whom the token is for.", pointer="/user")
        user = User.objects.filter(pk=ctx.user_id).first()
        if user is None:
            raise problem("invalid", "This person holds no role in the tenant; add them as a member first.", pointer="/user")
        return user
    here = Q(memberships__tenant_id=ctx.tenant_id) | Q(group_memberships__tenant_id=ctx.tenant_id)
    user = User.objects.filter(here, email=normal_email(email)).distinct().first()
    if user is None:
        raise problem("invalid", "The tenant has no member with this e-mail address.", pointer="/user")
    return user
