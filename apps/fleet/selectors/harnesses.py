"""Harnesses by how they stand now."""

from __future__ import annotations

from typing import Any

from django.db.models import DateTimeField, ExpressionWrapper, F, Q, QuerySet
from django.db.models.functions import Now

from apps.fleet.domain.liveness import MISSED, silent_after

STATES = [("live", "live"), ("stale", "stale"), ("silent", "silent")]
_SECOND = silent_after(1) / MISSED
# Until when a harness counts as live, by the database's clock.
UNTIL = ExpressionWrapper(F("last_seen_at") + F("ttl_s") * MISSED * _SECOND, output_field=DateTimeField())


def in_state(rows: QuerySet[Any], state: str) -> QuerySet[Any]:
    """Those that are `live` (and serve what they should), `stale` or `silent` now."""
    rows = rows.annotate(live_until=UNTIL)
    if state == "silent":
        return rows.filter(live_until__lt=Now())
    return rows.filter(Q(live_until__gte=Now()) & (~Q(stale=[]) if state == "stale" else Q(stale=[])))
