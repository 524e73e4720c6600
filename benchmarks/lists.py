"""The first page of a list of 300,000 packs, and of agents, of one tenant with 100,000 grants: time that the database takes for it.

As the application role, in a request's transaction, row security on, caches warm: every statement that the page's rows take (the question
of what is granted included), the median of several. What counts is the time that the database's process was on a core, planning included,
without parallel workers: waiting for a core says something of the machine. The time by the clock stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import QuerySet

from apps.core.access import Action
from apps.core.context import ActionContext, Actor, RoleGrant, in_tenant, system_context
from apps.core.ids import new_id
from apps.core.owner import as_owner
from apps.identity.groups import TenantGroup, permission
from apps.identity.models import Agent, AgentGroupPermission, Tenant, User
from apps.identity.services import create_group
from apps.packs.models import Pack, PackGroupPermission
from benchmarks.measuring import measured
from benchmarks.seeding import a_tenant

OBJECTS, GRANTS, LIMIT, TIMES = 300_000, 100_000, 51, 7
TABLES = ("packs_pack", "identity_agent", "packs_packgrouppermission", "identity_agentgrouppermission")


def run() -> Iterator[tuple[str, str]]:
    with as_owner():
        tenant = a_tenant("bench")
    packs = _many(
        tenant, lambda n: Pack(tenant=tenant, slug=f"pack-{n:06d}", kind=_kind(n), domain="bench", title=f"Pack {n * 7919 % OBJECTS}")
    )
    agents = _many(tenant, lambda n: Agent(tenant=tenant, slug=f"agent-{n:06d}", name=f"Agent {n * 7919 % OBJECTS}", domain="bench"))
    groups = {name: create_group(ctx=system_context("benchmark", tenant_id=tenant.pk), name=name) for name in SHARES}
    for table, keys in ((PackGroupPermission, packs), (AgentGroupPermission, agents)):
        _grant(tenant, table, keys, groups)
    _analyze()
    yield from pages(tenant, groups)


def pages(tenant: Tenant, groups: dict[str, TenantGroup]) -> Iterator[tuple[str, str]]:
    yield "Packs, agents; grants on each", f"{OBJECTS:,}, {OBJECTS:,}; {GRANTS:,} to {len(SHARES)} groups"
    role = ActionContext(Actor("user", new_id(), "role"), tenant.pk, "api", frozenset({RoleGrant("viewer")}))
    people: dict[str, ActionContext] = {"a role in the tenant": role}
    for label, names in WHO.items():
        keys = frozenset(groups[name].group_id for name in names)
        people[label] = ActionContext(Actor("user", _user(), label), tenant.pk, "api", groups=keys)
    for label, ctx in people.items():
        for what, rows in PAGES.items():
            yield f"{label}: {what}", measured(ctx, lambda ctx, rows=rows: min(len(rows(ctx)), LIMIT - 1), times=TIMES)


# Which share of the grants a group has, and on which part of the objects (0 the oldest, 1 the newest), as a range.
SHARES: dict[str, tuple[int, float, float]] = {
    "spread": (40_000, 0.0, 1.0),
    "oldest": (35_000, 0.0, 0.12),
    "middle": (20_000, 0.4, 0.6),
    "few": (50, 0.0, 0.001),
    "newest": (4_950, 0.9, 1.0),
}
WHO = {
    "grants only, 50 on the oldest objects": ["few"],
    "grants only, 35,000 on the oldest objects": ["oldest"],
    "grants only, 40,000 all over": ["spread"],
    "grants only, five groups, all 100,000": list(SHARES),
}


def _page(rows: Any) -> Any:
    return rows.order_by("-id")[:LIMIT]


PAGES: dict[str, Callable[[ActionContext], QuerySet[Any]]] = {
    "first page of packs": lambda ctx: _page(Pack.objects.restrict(ctx).select_related("tenant")),
    "first page of packs, kind and search": lambda ctx: _page(Pack.objects.restrict(ctx).filter(kind="policy", title__icontains="77")),
    "first page of packs, search that finds nothing": lambda ctx: _page(Pack.objects.restrict(ctx).filter(title__icontains="zzz")),
    "packs sorted by slug (in the admin, by a click)": lambda ctx: Pack.objects.restrict(ctx).order_by("slug", "-pk")[:LIMIT],
    "first page of agents": lambda ctx: _page(Agent.objects.restrict(ctx).select_related("tenant", "team")),
    "packs that one may author (nothing is granted)": lambda ctx: _page(Pack.objects.restrict(ctx, Action.AUTHOR)),
}


def _kind(n: int) -> str:
    return "policy" if n % 10 == 0 else "domain"


def _user() -> UUID:
    with as_owner():
        key: UUID = User.objects.create_user(f"{new_id().hex}@example.test").pk
    return key


def _many(tenant: Tenant, make: Callable[[int], Any]) -> list[UUID]:
    keys: list[UUID] = []
    # Each slug of a pack takes a lock until its transaction ends.
    for start in range(0, OBJECTS, 2_000):
        with in_tenant(tenant.pk):
            made = [make(n) for n in range(start, start + 2_000)]
            type(made[0]).objects.bulk_create(made)
        keys += [each.pk for each in made]
    return keys


def _grant(tenant: Tenant, table: Any, keys: Sequence[UUID], groups: dict[str, TenantGroup]) -> None:
    view = table._meta.get_field("permission").related_model.objects.get(pk__in=permission(table, Action.VIEW)).pk
    with system_context("benchmark", tenant_id=tenant.pk).transaction():
        for name, (count, first, last) in SHARES.items():
            begin, end = int(first * OBJECTS), int(last * OBJECTS)
            step = max((end - begin) // count, 1)
            chosen = keys[begin:end:step][:count]
            rows = [table(tenant=tenant, group_id=groups[name].group_id, permission_id=view, content_object_id=key) for key in chosen]
            table.objects.bulk_create(rows, batch_size=5_000)


def _analyze() -> None:
    """Statistics, as autovacuum makes them: by the owner, whose tables they are."""
    with connections["owner"].cursor() as cursor:
        for name in TABLES:
            cursor.execute(f"VACUUM ANALYZE {name}")
