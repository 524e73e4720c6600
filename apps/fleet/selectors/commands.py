"""Commands with how far they have come."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, OuterRef, Q, QuerySet
from django.db.models.functions import JSONObject, Now

from apps.fleet.domain.commands import OPEN, State
from apps.fleet.domain.liveness import LAGGARD_AFTER
from apps.fleet.models import Delivery

MAX_NAMED = 100


def counted(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Commands, each with what `Command.progress` is made of, by the same one query."""
    late = Delivery.objects.filter(command=OuterRef("pk"), state__in=OPEN, created_at__lte=Now() - LAGGARD_AFTER)
    named = late.order_by("agent__slug", "instance").values(named=JSONObject(agent="agent__slug", instance="instance"))
    counts = {f"n_{state.value}": Count("deliveries", filter=Q(deliveries__state=state.value)) for state in State}
    return rows.annotate(**counts, late=ArraySubquery(named[:MAX_NAMED]))
