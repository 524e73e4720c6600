"""The tokens with which the demo's processes act, over HTTP only: one for each agent, and one for each person of the story."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from apps.core.context import ActionContext
from apps.demo import catalogue
from apps.demo.cast import CAST
from apps.demo.places import Tokens
from apps.demo.services.seed import Known, context, known_tenants, rows_of
from apps.identity.models import Agent, AgentToken, ApiToken, Membership
from apps.identity.services import issue_agent_token, issue_api_token, revoke_token
from apps.identity.tokens import SHAPE

NAME = "demo fleet"
# A token that ends sooner is replaced.
SPARE = timedelta(days=7)


def renew_tokens(tokens: Tokens) -> tuple[Tokens, int]:
    """The tokens of those who exist, with new ones where one is missing, revoked, about to end or of another database; how many are new.

    Those that the new ones replace are revoked: whoever found a lost file can do nothing with it.
    """
    house = catalogue.organisation()
    tenants = known_tenants(house)
    tenant_of = {user.email: user.tenant for user in house.users}
    secrets = {match[1]: match for secret in (*tokens.agents.values(), *tokens.people.values()) if (match := SHAPE.fullmatch(secret))}
    lasting = {"prefix__in": secrets, "revoked_at__isnull": True, "expires_at__gt": timezone.now() + SPARE}
    known_agents, known_people, of_agents, of_people = rows_of(
        tenants,
        (Agent.objects.exclude(status="retired"), ("slug",)),
        (Membership.objects.all(), ("user__email",)),
        (AgentToken.objects.filter(**lasting), ("prefix", "hash", "agent__slug")),
        (ApiToken.objects.filter(**lasting), ("prefix", "hash", "user__email")),
    )
    live_agents = {secret: f"{tenant}/{agent}" for secret, tenant, agent in _live(secrets, of_agents)}
    live_people = {secret: email for secret, _, email in _live(secrets, of_people)}
    kept, new = Tokens(), 0
    for agent in house.agents:
        if agent.tenant not in tenants or (agent.tenant, agent.slug) not in known_agents:
            continue
        token = tokens.agents.get(agent.path, "")
        if live_agents.get(token) != f"{agent.tenant}/{agent.slug}":
            token, new = _issue_agent(context(tenants[agent.tenant]), agent.slug), new + 1
        kept.agents[agent.path] = token
    for email in sorted(set(CAST.values())):
        if tenant_of[email] not in tenants or (tenant_of[email], email) not in known_people:
            continue
        token = tokens.people.get(email, "")
        if live_people.get(token) != email:
            token, new = _issue_person(context(tenants[tenant_of[email]]), email), new + 1
        kept.people[email] = token
    return kept, new


def _live(secrets: Mapping[str, re.Match[str]], found: Known) -> Iterator[tuple[str, str, str]]:
    """Which of the secrets (by prefix) the database still takes, each with its tenant and holder."""
    for tenant, prefix, hashed, holder in found:
        if hmac.compare_digest(bytes(hashed), hashlib.sha256(secrets[prefix][2].encode()).digest()):
            yield secrets[prefix][0], tenant, holder


def _issue_agent(ctx: ActionContext, agent: str) -> str:
    with ctx.transaction():
        _revoke(
            ctx,
            AgentToken.objects.filter(tenant_id=ctx.tenant_id, agent__slug=agent, name=NAME, revoked_at=None).values_list("pk", flat=True),
        )
        return issue_agent_token(ctx=ctx, agent=agent, name=NAME).secret


def _issue_person(ctx: ActionContext, email: str) -> str:
    with ctx.transaction():
        _revoke(
            ctx,
            ApiToken.objects.filter(tenant_id=ctx.tenant_id, user__email=email, name=NAME, revoked_at=None).values_list("pk", flat=True),
        )
        return issue_api_token(ctx=ctx, email=email, name=NAME).secret


def _revoke(ctx: ActionContext, tokens: Iterable[UUID]) -> None:
    for token_id in list(tokens):
        revoke_token(ctx=ctx, token_id=token_id, reason="Replaced by a new one of the demo.")
