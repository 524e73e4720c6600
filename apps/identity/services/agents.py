"""Agents: made and described by tenant admins, suspended by operators as well."""

from __future__ import annotations

import re
from typing import Any

from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext, Topic
from apps.core.domain.canonical import check_json
from apps.core.errors import problem
from apps.core.events import publish
from apps.core.generations import bump
from apps.core.history import revise
from apps.identity.models import SLUG_PATTERN, Agent, AgentStatus, AgentToken
from apps.identity.permissions import require
from apps.identity.selectors import team_by_slug
from apps.identity.services.rows import assign, save, validate

FIELDS = ("name", "team", "domain", "autonomy", "harness_kind", "model_policy", "default_pack")


def create_agent(*, ctx: ActionContext, slug: str, team: str | None = None, **fields: Any) -> Agent:
    """An agent of the context's tenant, in one of its teams (its slug) or in none. `fields` are those of FIELDS. Publishes
    `identity.agent_saved`. Raises Problem `invalid`, `unknown_key`, `slug_taken`, `permission_denied`."""
    with ctx.transaction():
        found = team_by_slug(ctx, team)
        require(ctx, Action.MANAGE_TENANT, tenant_id=ctx.tenant_id, team_id=found.pk if found else None)
        agent = Agent(tenant_id=ctx.tenant_id, slug=slug, team=found)
        _assign(agent, fields)
        validate(agent, "slug")
        save(agent, taken={"identity_agent_slug": problem("slug_taken", f"The tenant has an agent '{slug}' already.", pointer="/slug")})
        record(
            ctx,
            "identity.agent_created",
            agent,
            data={"slug": slug, "team": agent.team_id, "domain": agent.domain, "autonomy": agent.autonomy},
        )
        _saved(ctx, agent)
        return agent


def update_agent(*, ctx: ActionContext, slug: str, **changes: Any) -> Agent:
    """Changes fields of FIELDS; a move to another team needs the right in both. Publishes `identity.agent_saved`.

    Raises Problem `not_found`, `permission_denied`, `invalid`, `unknown_key`, `wrong_state` (retired).
    """
    with ctx.transaction():
        agent = _locked(ctx, slug, Action.MANAGE_TENANT)
        if agent.status == AgentStatus.RETIRED:
            raise problem("wrong_state", f"The agent '{slug}' is retired; make a new one.")
        if "team" in changes:
            changes["team"] = team_by_slug(ctx, changes["team"])
            require(ctx, Action.MANAGE_TENANT, tenant_id=ctx.tenant_id, team_id=changes["team"].pk if changes["team"] else None)
        moved = _assign(agent, changes)
        if moved:
            save(agent, fields=[*moved], taken={})
            record(ctx, "identity.agent_changed", agent, data={"slug": slug, "changes": moved})
            _saved(ctx, agent)
        return agent


def suspend_agent(*, ctx: ActionContext, slug: str, reason: str = "") -> Agent:
    """Its tokens are refused until it is activated. Raises Problem `not_found`, `permission_denied`, `wrong_state`."""
    return _set_status(ctx, slug, AgentStatus.SUSPENDED, reason)


def activate_agent(*, ctx: ActionContext, slug: str, reason: str = "") -> Agent:
    """Lifts a suspension. Raises Problem `not_found`, `permission_denied`, `wrong_state`."""
    return _set_status(ctx, slug, AgentStatus.ACTIVE, reason)


def retire_agent(*, ctx: ActionContext, slug: str, reason: str = "") -> Agent:
    """For good: its tokens are revoked; its runs and versions stay. Raises Problem `not_found`, `permission_denied`, `wrong_state`."""
    return _set_status(ctx, slug, AgentStatus.RETIRED, reason)


_ACTS = {AgentStatus.SUSPENDED: "suspended", AgentStatus.ACTIVE: "activated", AgentStatus.RETIRED: "retired"}


def _set_status(ctx: ActionContext, slug: str, status: AgentStatus, reason: str) -> Agent:
    with ctx.transaction():
        agent = _locked(ctx, slug, Action.MANAGE_TENANT if status is AgentStatus.RETIRED else Action.OPERATE)
        if agent.status == status or agent.status == AgentStatus.RETIRED:
            raise problem("wrong_state", f"The agent '{slug}' is {agent.status} already.")
        before, agent.status = agent.status, status
        agent.save(update_fields=["status"])
        revoked = 0
        if status is AgentStatus.RETIRED:
            revoked = revise(AgentToken.objects.filter(agent=agent, revoked_at__isnull=True), revoked_at=timezone.now())
        data = {"slug": slug, "from": before, "to": status.value, "tokens_revoked": revoked}
        record(ctx, f"identity.agent_{_ACTS[status]}", agent, data=data, reason=reason)
        bump(ctx, Topic.TOKENS, agent.tenant_id)
        return agent


def _locked(ctx: ActionContext, slug: str, action: Action) -> Agent:
    agent: Agent = Agent.objects.select_for_update().visible(ctx, slug=slug, tenant_id=ctx.tenant_id)
    require(ctx, action, tenant_id=agent.tenant_id, team_id=agent.team_id, on=agent)
    return agent


def _saved(ctx: ActionContext, agent: Agent) -> None:
    publish(ctx, "identity.agent_saved", agent_id=agent.pk)
    bump(ctx, Topic.TOKENS, agent.tenant_id)


def _assign(agent: Agent, changes: dict[str, Any]) -> dict[str, dict[str, str | None]]:
    policy = changes.get("model_policy", {})
    if not isinstance(policy, dict):
        raise problem("invalid", "The model policy is an object.", pointer="/model_policy")
    check_json(policy)
    moved = assign(agent, changes, FIELDS)
    if agent.default_pack and not re.fullmatch(SLUG_PATTERN, agent.default_pack):
        raise problem("invalid", "The default pack is named by its slug.", pointer="/default_pack")
    if "model_policy" in moved:
        # Its content may be anything; the log says that it changed.
        moved["model_policy"] = {}
    return moved
