"""A heartbeat: who is there, what it serves, what it has done; and what it should hear."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.errors import Problem, problem
from apps.core.ids import new_id
from apps.fleet.domain.heartbeat import Beat
from apps.fleet.models import Harness, Serving
from apps.fleet.selectors.waiting import something_waits
from apps.fleet.services.deliveries import acknowledge, hand_out, join
from apps.identity.permissions import require
from apps.identity.tokens import Principal
from apps.packs.resolve import resolve
from apps.telemetry.tracing import untraced

# Harness processes of one agent that are kept apart; those that are silent for a week make room (`fleet.sweep`).
MAX_INSTANCES = 200

_SEEN = """
INSERT INTO fleet_harness (id, tenant_id, agent_id, instance, status, ttl_s, first_seen_at, last_seen_at, stale, flags)
VALUES (%(id)s, %(tenant)s, %(agent)s, %(instance)s, %(status)s, %(ttl)s, %(now)s, %(now)s, %(stale)s, %(flags)s)
ON CONFLICT (tenant_id, agent_id, instance) DO UPDATE SET status = excluded.status, ttl_s = excluded.ttl_s, stale = excluded.stale,
    flags = excluded.flags, last_seen_at = greatest(fleet_harness.last_seen_at, excluded.last_seen_at)
RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Beaten:
    """The answer. `stale`: packs that resolve would give the agent in another version; `unknown_acks`: ids that are no command to it;
    `untraced`: digests that resolve never served to the tenant."""

    commands: list[dict[str, Any]]
    stale: list[str]
    server_time: str
    unknown_acks: list[UUID]
    untraced: list[str]


def beat(*, ctx: ActionContext, principal: Principal, sent: Beat) -> Beaten:
    """Records that the harness is there. Raises Problem `permission_denied`; `invalid` where the agent has too many instances."""
    require(ctx, Action.HEARTBEAT, tenant_id=ctx.tenant_id, team_id=ctx.team_id)
    if ctx.agent_id is None:
        raise problem("permission_denied", "Heartbeats are sent with an agent's token.")
    now = timezone.now()
    # From memory when warm, as resolve itself is.
    stale = stale_packs(principal, sent.serving)
    unknown = untraced(ctx.tenant_id, set(sent.serving.values())) if sent.serving else set()
    with ctx.transaction():
        key, new = _seen(ctx, sent, stale, bool(unknown), now)
        _serve(ctx, key, sent.serving, unknown, now, new=new)
        if new:
            join(ctx, instance=sent.instance, now=now)
        strange = acknowledge(ctx, instance=sent.instance, acks=sent.acks, now=now)
        waits = new or bool(sent.acks) or something_waits(ctx.tenant_id, ctx.agent_id)
        commands = hand_out(ctx, instance=sent.instance, now=now) if waits else []
    return Beaten(commands, stale, now.isoformat(), strange, sorted(unknown))


def stale_packs(principal: Principal, serving: dict[tuple[str, str], str]) -> list[str]:
    """Packs of which the agent would now be given another version, or none."""
    found = set()
    for (pack, _), digest in serving.items():
        try:
            if resolve(principal, pack=pack, user=None).digest != digest:
                found.add(pack)
        except Problem:
            found.add(pack)
    return sorted(found)


def _seen(ctx: ActionContext, sent: Beat, stale: list[str], strange: bool, now: datetime) -> tuple[UUID, bool]:
    """The harness's row, and whether it is a new one."""
    assert ctx.agent_id is not None
    mine = new_id()
    flags = [*(["redacted"] if sent.redactions else []), *(["untraced"] if strange else [])]
    with connection.cursor() as cursor:
        cursor.execute(
            _SEEN,
            {
                "id": mine,
                "tenant": ctx.tenant_id,
                "agent": ctx.agent_id,
                "instance": sent.instance,
                "status": sent.status,
                "ttl": sent.ttl_s,
                "now": now,
                "stale": stale,
                "flags": flags,
            },
        )
        key = cursor.fetchone()[0]
    new = key == mine
    if new and Harness.objects.filter(tenant_id=ctx.tenant_id, agent_id=ctx.agent_id).count() > MAX_INSTANCES:
        raise problem(
            "invalid",
            f"The agent has {MAX_INSTANCES} harness processes already. Name a process by what stays, such as its host, not by its number.",
            pointer="/instance",
        )
    return key, new


def _serve(ctx: ActionContext, key: UUID, serving: dict[tuple[str, str], str], strange: set[str], now: datetime, *, new: bool) -> None:
    """What it serves, written where it changed."""
    rows = {} if new else {(row.pack, row.arm): row for row in Serving.objects.filter(harness_id=key)}
    gone = [row.pk for place, row in rows.items() if place not in serving]
    if gone:
        Serving.objects.filter(pk__in=gone).delete()
    fresh = []
    for (pack, arm), digest in serving.items():
        row = rows.get((pack, arm))
        if row is None:
            fresh.append(
                Serving(tenant_id=ctx.tenant_id, harness_id=key, pack=pack, arm=arm, digest=digest, since=now, traced=digest not in strange)
            )
        elif row.digest != digest or row.traced != (digest not in strange):
            row.since = now if row.digest != digest else row.since
            row.digest, row.traced = digest, digest not in strange
            row.save(update_fields=["digest", "since", "traced"])
    if fresh:
        Serving.objects.bulk_create(fresh, ignore_conflicts=True)
