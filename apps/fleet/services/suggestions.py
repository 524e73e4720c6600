"""A harness proposes a draft; people decide what becomes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.domain.canonical import canonical_bytes
from apps.core.domain.redaction import Redactor
from apps.core.errors import problem
from apps.core.events import acting_in
from apps.fleet.models import Suggestion
from apps.identity.models import Agent
from apps.identity.permissions import require
from apps.packs.domain.scopes import Scope, ScopeType
from apps.packs.models import AuthorKind, VersionStatus
from apps.packs.services.versions import create_version
from apps.telemetry.selectors.rules import redactor_of

MAX_BYTES = 64 * 1024
# Of one agent: proposals in a day, and proposals that nobody has decided on.
MAX_A_DAY = 20
MAX_OPEN = 10
DAY = timedelta(days=1)


def suggest(*, ctx: ActionContext, pack: str, content: Any, scope: str = "", notes: str = "") -> Suggestion:
    """A draft by a harness, in the agent's own layer unless another on its chain, or a user's of its tenant, is named. Never more than a
    draft: it is promoted as any other.

    Raises Problem `permission_denied`, `invalid` (also for a secret in it), `too_large`, `rate_limited` (the day's are used up),
    `wrong_state` (too many are undecided), and what `create_version` raises.
    """
    require(ctx, Action.SUGGEST, tenant_id=ctx.tenant_id, team_id=ctx.team_id)
    if ctx.agent_id is None:
        raise problem("permission_denied", "Suggestions are made by agents, with their own tokens; people write drafts.")
    _refuse_secrets(redactor_of(ctx.tenant_id), content, notes)
    with ctx.transaction():
        agent = Agent.objects.select_related("tenant", "team").get(pk=ctx.agent_id)
        place = _within_reach(agent, scope)
        # It may write there what it may not write by itself: nothing is live by it.
        with acting_in(ctx, ctx.tenant_id) as inside:
            _room(agent)
            version = create_version(
                ctx=inside, pack_slug=pack, scope=str(place), content=content, notes=notes, author_kind=AuthorKind.HARNESS
            )
            return Suggestion.objects.create(tenant_id=ctx.tenant_id, agent=agent, version=version, created_at=timezone.now())


def _within_reach(agent: Agent, text: str) -> Scope:
    own = Scope(ScopeType.AGENT, f"{agent.tenant.slug}/{agent.slug}")
    if not text:
        return own
    scope = Scope.parse(text)
    reached = {own, Scope(ScopeType.TENANT, agent.tenant.slug)}
    if agent.team is not None:
        reached.add(Scope(ScopeType.TEAM, f"{agent.tenant.slug}/{agent.team.slug}"))
    if scope in reached or (scope.type is ScopeType.USER and scope.tenant_slug == agent.tenant.slug):
        return scope
    raise problem("invalid", f"{text[:100]} is not on the agent's chain within its tenant; leave it out for {own}.", pointer="/scope")


def _refuse_secrets(redactor: Redactor, content: Any, notes: str) -> None:
    """A draft is kept as it is, so what would have to be replaced is refused."""
    if len(canonical_bytes(content)) > MAX_BYTES:
        raise problem("too_large", f"A suggestion holds at most {MAX_BYTES} bytes.", pointer="/content")
    for pointer, fired in (("/content", redactor.redact_json(content)[1]), ("/notes", redactor.redact_text(notes)[1])):
        if fired:
            raise problem("invalid", f"It holds what looks like a secret ({', '.join(fired)}); leave it out.", pointer=pointer)


def _room(agent: Agent) -> None:
    """One at a time for each agent, so that two at once do not both find room."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"fleet:suggestions:{agent.pk}"])
    made = Suggestion.objects.filter(tenant_id=agent.tenant_id, agent=agent)
    now = timezone.now()
    if made.filter(version__status=VersionStatus.DRAFT).count() >= MAX_OPEN:
        raise problem("wrong_state", f"{MAX_OPEN} suggestions of this agent are undecided; people look at those first.")
    today = list(made.filter(created_at__gt=now - DAY).order_by("created_at").values_list("created_at", flat=True))
    if len(today) >= MAX_A_DAY:
        wait = (today[0] + DAY - now).total_seconds()
        raise problem("rate_limited", f"An agent suggests {MAX_A_DAY} drafts a day.", retry_after=max(1, int(wait) + 1))
