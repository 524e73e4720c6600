"""How far a decision has come with the harnesses that it concerns (`domain.md` 7): finished when every live one reports the right digest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

from django.db import connection
from django.utils import timezone

from apps.core.access import Action
from apps.core.context import ActionContext
from apps.fleet.domain.liveness import is_laggard, is_live
from apps.fleet.models import Serving
from apps.identity.models import Agent, AgentStatus
from apps.identity.permissions import can
from apps.identity.selectors import platform_id
from apps.packs.across import living_everywhere
from apps.packs.chains import Pictures, facts_of
from apps.packs.domain.scopes import Scope, ScopeType
from apps.packs.effective import Chain, digests_of
from apps.packs.models import Layer
from apps.packs.pointers import Pointers, Stored, find_pack, scopes_of, version_ids

MAX_NAMED = 100


class Reported(NamedTuple):
    """A pack that a harness says it serves."""

    tenant_id: UUID
    tenant: str
    tier: str
    agent_id: UUID
    agent: str
    team: str | None
    instance: str
    ttl_s: int
    last_seen_at: datetime
    pack: str
    digest: str


@dataclass(frozen=True, slots=True)
class Behind:
    """A harness that does not serve what it should, and the pack by which it shows. `expected` is None where nothing can be served."""

    agent: str
    instance: str
    pack: str
    serving: str
    expected: str | None
    last_seen_at: datetime


State = Literal["finished", "converging", "lagging"]
STATES = [(word, word) for word in get_args(State)]


@dataclass(slots=True)
class Convergence:
    """`converged`, `behind` (for less than 30 s) and `laggards` are live; the silent ones stand apart. Lists name at most MAX_NAMED each, of
    the agents that the asker sees."""

    concerned: int = 0
    converged: int = 0
    behind: int = 0
    laggards: int = 0
    silent: int = 0
    named_behind: list[Behind] = field(default_factory=list)
    named_laggards: list[Behind] = field(default_factory=list)
    named_silent: list[Behind] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return not self.behind and not self.laggards

    @property
    def state(self) -> State:
        return "lagging" if self.laggards else "converging" if self.behind else "finished"


def convergence(ctx: ActionContext, layer: Layer, *, since: datetime) -> Convergence:
    """Of a layer's harnesses with what is live now; `since`: when what they should follow was decided.

    The number of queries does not depend on the number of harnesses, and each chain is folded once, whoever stands on it.
    """
    reported, pictures, stored = _reported(layer)
    chains = _chains(layer, reported, pictures)
    digests = digests_of(set(chains.values()), stored)
    seen = _seen_agents(ctx)
    now = timezone.now()
    harnesses: dict[tuple[UUID, str], list[tuple[Reported, str | None]]] = {}
    for row in reported:
        chain = chains.get(_place(row))
        if chain is not None:
            harnesses.setdefault((row.agent_id, row.instance), []).append((row, digests[chain]))
    found = Convergence(concerned=len(harnesses))
    for (agent_id, _), rows in sorted(harnesses.items(), key=lambda item: (item[1][0][0].tenant, item[1][0][0].agent, item[0][1])):
        wrong = next(((row, right) for row, right in rows if row.digest != right), None)
        _count(found, rows[0][0], wrong, since=since, now=now, named=seen is None or agent_id in seen)
    return found


def _count(
    found: Convergence, row: Reported, wrong: tuple[Reported, str | None] | None, *, since: datetime, now: datetime, named: bool
) -> None:
    shown, right = wrong or (row, row.digest)
    behind = Behind(f"{row.tenant}/{row.agent}", row.instance, shown.pack, shown.digest, right, row.last_seen_at)
    if not is_live(row.last_seen_at, row.ttl_s, now):
        found.silent += 1
        names = found.named_silent
    elif wrong is None:
        found.converged += 1
        return
    elif is_laggard(since, now):
        found.laggards += 1
        names = found.named_laggards
    else:
        found.behind += 1
        names = found.named_behind
    if named and len(names) < MAX_NAMED:
        names.append(behind)


def _place(row: Reported) -> tuple[UUID, str]:
    return row.agent_id, row.pack


def _reported(layer: Layer) -> tuple[list[Reported], dict[UUID, Pictures], dict[UUID, Stored] | None]:
    """What is served of the packs that the layer concerns, with the pointers of the tenants; and the versions' content where they are not
    all the context's to read."""
    facts = facts_of(layer)
    domain_pack = layer.pack.slug if facts.kind == "domain" else None
    if Scope.parse(layer.scope).type.above_tenant:
        living = living_everywhere(facts)
        rows = [Reported(*row) for row in _everywhere(domain_pack)]
        pictures = {row.tenant_id: Pictures(living.shared, living.pictures[row.tenant_id]) for row in rows}
        pictures |= {platform_id(): Pictures(living.shared, living.shared)} if platform_id() in pictures else {}
        return rows, pictures, living.versions
    served = Serving.objects.filter(tenant_id=layer.tenant_id, arm="champion", harness__agent__status=AgentStatus.ACTIVE)
    if domain_pack is not None:
        served = served.filter(pack=domain_pack)
    if layer.team_id is not None:
        served = served.filter(harness__agent__team_id=layer.team_id)
    if layer.agent_id is not None:
        served = served.filter(harness__agent_id=layer.agent_id)
    found = served.values_list(
        "tenant_id",
        "tenant__slug",
        "tenant__tier",
        "harness__agent_id",
        "harness__agent__slug",
        "harness__agent__team__slug",
        "harness__instance",
        "harness__ttl_s",
        "harness__last_seen_at",
        "pack",
        "digest",
    )
    return [Reported(*row) for row in found], {layer.tenant_id: Pictures.of(layer.tenant_id)}, None


def _everywhere(pack: str | None) -> Iterable[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM fleet_reached_harnesses(%s)", [pack])
        return cursor.fetchall()


def _chains(layer: Layer, reported: list[Reported], pictures: dict[UUID, Pictures]) -> dict[tuple[UUID, str], Chain]:
    """Of each agent and pack whose chain leads through the layer, that chain. A user's layer is on none: what harnesses report is what they
    serve without a user."""
    scope = Scope.parse(layer.scope)
    found: dict[tuple[UUID, str], Chain] = {}
    if scope.type is ScopeType.USER:
        return found
    for row in reported:
        if _place(row) in found:
            continue
        shared: Pointers = pictures[row.tenant_id].shared
        own: Pointers = pictures[row.tenant_id].own
        facts = find_pack(shared, own, row.pack)
        if facts is None or facts.kind == "policy" or (layer.pack.kind == "domain" and facts.id != layer.pack_id):
            continue
        scopes = scopes_of(facts, tier=row.tier, tenant=row.tenant, team=row.team, agent=row.agent)
        if scope in scopes:
            found[_place(row)] = tuple(version_ids(shared, own, facts, scopes))
    return found


def _seen_agents(ctx: ActionContext) -> set[UUID] | None:
    """The agents whose names the asker may read; None: all."""
    if can(ctx, Action.VIEW, tenant_id=ctx.tenant_id):
        return None
    return set(Agent.objects.restrict(ctx).values_list("pk", flat=True))
