"""How often each value occurs among runs or events, from counts by the hour: no row of theirs is read."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from django.db import connection
from django.db.models import Sum

from apps.core.access import Action
from apps.core.context import EVERY_USER, ActionContext
from apps.identity.permissions import can
from apps.telemetry.domain.terms import DIMENSIONS, UNCOUNTED
from apps.telemetry.models import Rollup

KINDS = {"run": "r", "event": "e"}
# Values that are named; the others are summed under OTHERS.
NAMED = 20
OTHERS = ""
_COUNTS = """
SELECT dimension, value, sum(count) FROM telemetry_facetcount
WHERE tenant_id = %s AND kind = %s AND hour > %s AND hour < %s AND (%s OR NOT of_user)
GROUP BY dimension, value ORDER BY 3 DESC, 2
"""
# What roll-ups know of runs.
_ROLLED = {"agent": "agent_id", "pack": "pack", "arm": "arm", "provider": "provider", "model_id": "model_id"}


def facets(ctx: ActionContext, *, kind: Literal["run", "event"], since: datetime, until: datetime) -> dict[str, list[tuple[str, int]]]:
    """For each filter of the list its most frequent values with their counts in the hours that `since` to `until` touch, the most frequent
    first; the rest is summed under "". An agent's value is its key; runs count once they are final.

    Who may not read every user's runs gets counts of those that name no user (of events: no run). Who only has something granted gets counts of
    what roll-ups know of it: agent, pack, arm, provider, model and success of runs.
    """
    if not can(ctx, Action.VIEW, tenant_id=ctx.tenant_id):
        return _of_what_is_granted(ctx, since, until) if kind == "run" else {}
    found: dict[str, list[tuple[str, int]]] = {name: [] for name in DIMENSIONS[KINDS[kind]] if name not in UNCOUNTED}
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, [ctx.tenant_id, KINDS[kind], since - timedelta(hours=1), until, ctx.users == EVERY_USER])
        for dimension, value, count in cursor.fetchall():
            found.setdefault(dimension, []).append((value, int(count)))
    return {dimension: _named(values) for dimension, values in found.items()}


def _of_what_is_granted(ctx: ActionContext, since: datetime, until: datetime) -> dict[str, list[tuple[str, int]]]:
    rows = Rollup.objects.restrict(ctx).filter(step=3600, start__gt=since - timedelta(hours=1), start__lt=until, of_user=False)
    found: dict[str, list[tuple[str, int]]] = {}
    for name, column in _ROLLED.items():
        counted: Any = rows.exclude(**{column: None}).order_by().values_list(column).annotate(n=Sum("runs"))
        found[name] = _named(sorted(((str(value), int(n)) for value, n in counted), key=lambda pair: (-pair[1], pair[0])))
    sums = rows.aggregate(true=Sum("successes"), false=Sum("failures"))
    found["success"] = [(value, int(n)) for value, n in sums.items() if n]
    return found


def _named(values: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The most frequent ones, and the sum of the rest."""
    known = [(value, count) for value, count in values if value != OTHERS]
    rest = sum(count for _, count in known[NAMED:]) + sum(count for value, count in values if value == OTHERS)
    return [*known[:NAMED], *([(OTHERS, rest)] if rest else [])]
