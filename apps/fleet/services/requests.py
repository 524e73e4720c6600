"""Asking for one use of a tool, answering, and using the answer once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.domain.redaction import redact_text
from apps.core.errors import Problem, problem
from apps.core.events import publish
from apps.fleet.domain import requests as rules
from apps.fleet.domain.requests import Event, State, next_state
from apps.fleet.models import ActionRequest
from apps.fleet.push import push
from apps.identity.domain.roles import allows
from apps.identity.models import Agent
from apps.identity.permissions import require
from apps.identity.selectors import roles_in
from apps.packs.domain.names import TOOL_NAME
from apps.packs.effective import content_for_agent
from apps.telemetry.selectors.rules import redactor_of

MAX_TOOL = 200


def request_action(
    *,
    ctx: ActionContext,
    tool: str,
    arguments: dict[str, Any] | None = None,
    reason: str = "",
    pack: str = "",
    run_id: str = "",
    expires_in_s: int | None = None,
) -> ActionRequest:
    """Asks for one use of a tool, for the agent of `ctx`; `pack` is its default one when left out. Secrets in the arguments, the reason and
    the run's id are replaced.

    Raises Problem `permission_denied` (no agent, or the effective pack does not let it ask), `invalid`, `too_large`, `rate_limited`
    (too many requests wait), and what resolve raises for the pack.
    """
    require(ctx, Action.REQUEST_ACTION, tenant_id=ctx.tenant_id, team_id=ctx.team_id)
    if ctx.agent_id is None:
        raise problem("permission_denied", "Only an agent asks for the use of a tool, with its own token.")
    if not 0 < len(tool) <= MAX_TOOL or not TOOL_NAME.fullmatch(tool) or tool.endswith(".*") or redact_text(tool)[1]:
        raise problem("invalid", f"A tool's exact name, at most {MAX_TOOL} characters.", pointer="/tool")
    kept = rules.KEPT if expires_in_s is None else timedelta(seconds=expires_in_s)
    if not rules.SHORTEST_S <= kept.total_seconds() <= rules.LONGEST_S:
        raise problem("invalid", f"A request waits {rules.SHORTEST_S} to {rules.LONGEST_S} seconds.", pointer="/expires_in_s")
    redactor = redactor_of(ctx.tenant_id)
    stored, fired = redactor.redact_json(arguments or {})
    (reason, of_reason), (run_id, of_run) = redactor.redact_text(reason), redactor.redact_text(run_id)
    if len(msgspec.json.encode(stored)) > rules.MAX_ARGUMENT_BYTES:
        raise problem("too_large", f"The arguments are over {rules.MAX_ARGUMENT_BYTES} bytes as JSON.", pointer="/arguments")
    with ctx.transaction():
        agent = Agent.objects.select_related("tenant", "team").get(pk=ctx.agent_id)
        pack = pack or agent.default_pack
        if not pack:
            raise problem("invalid", "Name a pack: the agent has no default pack.", pointer="/pack")
        found = rules.ruling(content_for_agent(agent, pack), agent.autonomy, tool)
        if found.refused:
            raise problem("permission_denied", found.refused)
        if not found.must_ask:
            raise problem("invalid", f"'{tool}' is of low risk and not in `ask`: the agent uses it without a question.", pointer="/tool")
        now = timezone.now()
        _room(agent, now)
        made = ActionRequest.objects.create(
            tenant_id=ctx.tenant_id,
            agent=agent,
            pack=pack,
            tool=tool,
            arguments=stored,
            reason=reason,
            run_id=run_id[:200],
            risk=found.risk,
            level=found.level,
            redactions=sorted({*fired, *of_reason, *of_run}),
            created_at=now,
            expires_at=now + kept,
        )
        record(ctx, "action.requested", made, data={"agent": str(agent), "tool": tool, "risk": found.risk, "pack": pack})
        _tell(ctx, made)
        return made


def answer_request(*, ctx: ActionContext, request_id: UUID | str, approve: bool, comment: str = "") -> ActionRequest:
    """A manager's yes or no. A yes is for what the effective pack lets the agent ask for now.

    Raises Problem `not_found`, `permission_denied`, `already_decided`, `wrong_state`, `constraint_violation` (denied by the pack meanwhile).
    """
    with ctx.transaction():
        seen: ActionRequest = ActionRequest.objects.visible(ctx, pk=request_id)
        require(ctx, Action.APPROVE, tenant_id=seen.tenant_id, team_id=seen.agent.team_id, on=seen)
        found = _locked(seen.pk)
        now = timezone.now()
        _refuse_expired(found, now)
        state = next_state(found.state, Event.APPROVE if approve else Event.DENY)
        if approve:
            _refuse_unpermitted(found)
        found.state, found.comment = state.value, redactor_of(seen.tenant_id).redact_text(comment)[0][: rules.MAX_REASON]
        found.decided_at, found.decided_by_id = now, ctx.user_id
        found.save(update_fields=["state", "comment", "decided_at", "decided_by"])
        record(ctx, f"action.{state}", found, data={"agent": str(found.agent), "tool": found.tool}, reason=found.comment)
        told = {"action_request": str(found.pk), "state": state.value}
        ctx.on_commit(lambda: push(tenant_id=found.tenant_id, agent_ids=[found.agent_id], event="control", data=told))
        return found


def use_request(*, ctx: ActionContext, request_id: UUID | str) -> ActionRequest:
    """The agent uses what it was allowed, once: of two at one moment the second is refused.

    Raises Problem `not_found` (another agent's too), `already_decided`, `wrong_state`, `constraint_violation` (denied by the pack meanwhile).
    """
    with ctx.transaction():
        seen = visible_request(ctx, request_id)
        require(ctx, Action.REQUEST_ACTION, tenant_id=seen.tenant_id, team_id=seen.agent.team_id)
        found = _locked(seen.pk)
        now = timezone.now()
        _refuse_expired(found, now)
        state = next_state(found.state, Event.USE)
        _refuse_unpermitted(found)
        found.state, found.used_at = state.value, now
        found.save(update_fields=["state", "used_at"])
        record(ctx, "action.used", found, data={"agent": str(found.agent), "tool": found.tool})
        return found


def visible_request(ctx: ActionContext, request_id: UUID | str) -> ActionRequest:
    """An agent sees its own, a person those of the tenant. Raises Problem `not_found`."""
    rows = ActionRequest.objects.select_related("agent", "decided_by")
    if ctx.agent_id is None:
        seen: ActionRequest = rows.visible(ctx, pk=request_id)
        return seen
    try:
        own: ActionRequest | None = rows.filter(tenant_id=ctx.tenant_id, agent_id=ctx.agent_id, pk=UUID(str(request_id))).first()
    except ValueError:
        own = None
    if own is None:
        raise problem("not_found", "There is no such action request.")
    return own


def _tell(ctx: ActionContext, made: ActionRequest) -> None:
    """Those who may answer it, by their role: in the transaction of the request, names and never arguments."""
    agent = made.agent
    recipients = [
        person
        for person, roles in sorted(roles_in(agent.tenant_id, services=False).items())
        if any(
            allows(grant.role, Action.APPROVE, delegated=grant.via is not None) and grant.team_id in (None, agent.team_id)
            for grant in roles
        )
    ]
    publish(
        ctx,
        "fleet.action_requested",
        tenant_id=made.tenant_id,
        subject_id=made.pk,
        recipients=tuple(recipients),
        title=f"{agent.slug} asks to use {made.tool}",
        path=reverse("admin:fleet_actionrequest_change", args=[made.pk]),
        facts={
            "agent": agent.slug,
            "tool": made.tool,
            "pack": made.pack,
            "risk": made.risk,
            "requested_at": made.created_at.isoformat(),
            "expires_at": made.expires_at.isoformat(),
        },
    )


def _locked(key: UUID) -> ActionRequest:
    rows = ActionRequest.objects.select_for_update(of=("self",)).select_related("agent__tenant", "agent__team", "decided_by")
    found: ActionRequest = rows.get(pk=key)
    return found


def _refuse_expired(found: ActionRequest, now: datetime) -> None:
    """What has run out is so, whether or not the sweep has come by."""
    if found.state in rules.OPEN and found.expires_at <= now:
        raise problem("already_decided", "The request has expired; make a new one.", state=State.EXPIRED.value)


def _refuse_unpermitted(found: ActionRequest) -> None:
    try:
        content = content_for_agent(found.agent, found.pack)
    except Problem as error:
        raise problem("constraint_violation", f"Nothing is live for '{found.pack}' any more: {error.detail}") from None
    refused = rules.ruling(content, found.agent.autonomy, found.tool).refused
    if refused:
        raise problem("constraint_violation", refused)


def _room(agent: Agent, now: datetime) -> None:
    """Raises Problem `rate_limited` where too many of the agent's requests wait; asked one at a time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"fleet:requests:{agent.pk}"])
    waiting = ActionRequest.objects.filter(tenant_id=agent.tenant_id, agent=agent, state=State.PENDING, expires_at__gt=now)
    if waiting.count() >= rules.MAX_WAITING:
        raise problem("rate_limited", f"{rules.MAX_WAITING} requests of this agent wait for an answer; ask again later.", retry_after=60)
