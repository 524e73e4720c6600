"""Takes out of the tenant `platform` what the demo has put there, once its own tenants are purged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.models import Q

from apps.audit.services import record
from apps.core.context import Topic, in_tenant, system_context
from apps.core.generations import bump
from apps.core.history import governed, history_table
from apps.demo import catalogue
from apps.demo.services.tokens import NAME as TOKEN_NAME
from apps.identity.models import Agent, Membership, Tenant
from apps.identity.selectors import platform_id
from apps.identity.services.purge import remove_people
from apps.packs.models import Layer, Pack

PLATFORM = "platform"
WALKS = "demo-loop-"

# Tenants besides `platform` that stand on a pack: with a layer, a subscription or an eval set of their own.
USERS_OF = """
SELECT DISTINCT t.slug FROM identity_tenant t WHERE t.id <> %s AND t.id IN (
    SELECT tenant_id FROM packs_layer WHERE pack_id = %s
    UNION SELECT tenant_id FROM packs_subscription WHERE pack_id = %s
    UNION SELECT tenant_id FROM evals_evalset WHERE pack_id = %s
) ORDER BY t.slug
"""
_RUNS = "SELECT id FROM evals_evalrun WHERE layer_id = ANY(%s)"
# Those that refer before those that are referred to.
OF_LAYERS = (
    ("promotions_approval", "promotion_id IN (SELECT id FROM promotions_promotion WHERE layer_id = ANY(%s))"),
    ("promotions_decision", "layer_id = ANY(%s)"),
    ("promotions_promotion", "layer_id = ANY(%s)"),
    ("evals_evalresult", f"eval_run_id IN ({_RUNS})"),
    ("evals_evalitem", f"eval_run_id IN ({_RUNS})"),
    ("evals_evalrun", "layer_id = ANY(%s)"),
    ("fleet_suggestion", "version_id IN (SELECT id FROM packs_packversion WHERE layer_id = ANY(%s))"),
    ("packs_pointerchange", "layer_id = ANY(%s)"),
    ("packs_packversion", "layer_id = ANY(%s)"),
    ("packs_layer", "id = ANY(%s)"),
)
OF_PACKS = (
    ("evals_evalcase", "eval_set_id IN (SELECT id FROM evals_evalset WHERE pack_id = ANY(%s))"),
    ("evals_evalsetgrouppermission", "content_object_id IN (SELECT id FROM evals_evalset WHERE pack_id = ANY(%s))"),
    ("evals_evalset", "pack_id = ANY(%s)"),
    ("packs_packgrouppermission", "content_object_id = ANY(%s)"),
    ("packs_subscription", "pack_id = ANY(%s)"),
    ("packs_pack", "id = ANY(%s)"),
)
OF_AGENTS = (
    ("fleet_serving", "harness_id IN (SELECT id FROM fleet_harness WHERE agent_id = ANY(%s))"),
    *((f"fleet_{name}", "agent_id = ANY(%s)") for name in ("harness", "delivery", "command", "actionrequest", "suggestion")),
    ("identity_agenttoken", "agent_id = ANY(%s)"),
    ("identity_agentgrouppermission", "content_object_id = ANY(%s)"),
    ("identity_agent", "id = ANY(%s)"),
)
HISTORIES = {model._meta.db_table: history_table(model) for model in governed()}


@dataclass(slots=True)
class Removed:
    """`rows` by table; `kept`: a pack that other tenants stand on -> their slugs."""

    rows: dict[str, int] = field(default_factory=dict)
    kept: dict[str, list[str]] = field(default_factory=dict)


def demo_tenants() -> list[str]:
    """The demo's tenants that have rows, deleted ones too, and those that `demo_loop --keep` left."""
    slugs = [tenant.slug for tenant in catalogue.organisation().tenants]
    rows = Tenant.objects.filter(Q(slug__in=slugs) | Q(slug__startswith=WALKS, organisation__slug=catalogue.organisation().slug))
    with in_tenant(platform_id()):
        return list(rows.order_by("slug").values_list("slug", flat=True))


def remove_from_platform() -> Removed:
    """Removes the demo's shared packs that nobody else stands on, its agents and its people in `platform`, recorded in that chain.

    Runs inside `as_owner()`: the application may not delete versions and decisions. The audit events stay.
    """
    removed = Removed()
    ctx = system_context("remove_demo", tenant_id=platform_id(), channel="cli")
    with ctx.transaction(), connection.cursor() as cursor:
        packs = _free_packs(cursor, removed)
        agents = _own_agents()
        layers = list(Layer.objects.filter(pack_id__in=packs).values_list("pk", flat=True))
        layers += Layer.objects.filter(agent_id__in=agents).values_list("pk", flat=True)
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute("SET LOCAL app.purge = 'on'")
        for table, condition in OF_LAYERS:
            _delete(cursor, removed, table, condition, layers)
        for table, condition in OF_PACKS:
            _delete(cursor, removed, table, condition, packs)
        for table, condition in OF_AGENTS:
            _delete(cursor, removed, table, condition, agents)
        _remove_people(cursor, removed)
        cursor.execute("SET LOCAL app.purge = ''")
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        if removed.rows:
            record(ctx, "demo.removed", Tenant.objects.get(pk=platform_id()), data={"rows": removed.rows, "kept": sorted(removed.kept)})
            bump(ctx, Topic.PACKS, platform_id())
            bump(ctx, Topic.TOKENS, platform_id())
    return removed


def _free_packs(cursor: CursorWrapper, removed: Removed) -> list[UUID]:
    found = []
    slugs = [pack.slug for pack in catalogue.packs()]
    for key, slug in Pack.objects.filter(tenant_id=platform_id(), slug__in=slugs).values_list("pk", "slug"):
        cursor.execute(USERS_OF, [platform_id(), key, key, key])
        others = [row[0] for row in cursor.fetchall()]
        if others:
            removed.kept[slug] = others
        else:
            found.append(key)
    return found


def _own_agents() -> list[UUID]:
    """Known by their slug and by the tokens that only seeding issues under that name."""
    slugs = [agent.slug for agent in catalogue.organisation().agents if agent.tenant == PLATFORM]
    rows = Agent.objects.filter(tenant_id=platform_id(), slug__in=slugs, tokens__name=TOKEN_NAME).distinct()
    return list(rows.values_list("pk", flat=True))


def _remove_people(cursor: CursorWrapper, removed: Removed) -> None:
    emails = [user.email for user in catalogue.organisation().users if user.tenant == PLATFORM]
    rows = Membership.objects.filter(tenant_id=platform_id(), user__email__in=emails)
    people = list(rows.values_list("user_id", flat=True).distinct())
    for table in ("identity_membership", "identity_apitoken"):
        _delete(cursor, removed, table, f"tenant_id = '{platform_id()}' AND user_id = ANY(%s)", people)
    for table, gone in remove_people(cursor, people).items():
        removed.rows[table] = removed.rows.get(table, 0) + gone


def _delete(cursor: CursorWrapper, removed: Removed, table: str, condition: str, keys: Sequence[Any]) -> None:
    """The rows, and where they are governed their history."""
    cursor.execute(f"DELETE FROM {table} WHERE {condition} RETURNING id", [list(keys)])  # noqa: S608 -- text of this module
    gone = [row[0] for row in cursor.fetchall()]
    _count(removed, table, len(gone))
    if gone and table in HISTORIES:
        cursor.execute(f"DELETE FROM {HISTORIES[table]} WHERE id = ANY(%s)", [gone])  # noqa: S608 -- names of models
        _count(removed, HISTORIES[table], cursor.rowcount)


def _count(removed: Removed, table: str, rows: int) -> None:
    if rows:
        removed.rows[table] = removed.rows.get(table, 0) + rows
