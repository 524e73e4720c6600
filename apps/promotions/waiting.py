"""What waits for the person of a request: looked up once, for the list, the first page and the figure in the menu."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest

from apps.core.http import context_of
from apps.promotions.deciders import waiting_for
from apps.promotions.domain.approvals import Capacity


def waiting(request: HttpRequest) -> dict[UUID, Capacity]:
    """The promotions that they may decide, each with the capacity in which."""
    found: dict[UUID, Capacity] | None = getattr(request, "mc_waiting", None)
    if found is None:
        found = waiting_for(context_of(request))
        request.mc_waiting = found  # type: ignore[attr-defined]
    return found


def how_many(request: HttpRequest) -> int:
    return len(waiting(request))
