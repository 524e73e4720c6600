"""`runs/` and `events/`: what was reported, newest first."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import mixins

from apps.core.api.views import ContextViewSet
from apps.core.errors import problem
from apps.telemetry.api.filters import EventFilter, RunFilter
from apps.telemetry.api.paging import KeysetPagination
from apps.telemetry.api.serializers import RunDetailSerializer, RunSerializer, TelemetryEventSerializer
from apps.telemetry.models import Event, Run


class RunViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, ContextViewSet):
    """Runs of the tenant's agents. The list leaves out the texts."""

    queryset = Run.objects.none()
    serializer_class = RunSerializer
    filterset_class = RunFilter
    pagination_class = KeysetPagination

    def get_serializer_class(self) -> type[RunSerializer]:
        return RunDetailSerializer if self.action == "retrieve" else RunSerializer

    def get_queryset(self) -> QuerySet[Run]:
        rows: QuerySet[Run] = Run.objects.restrict(self.ctx).select_related("tenant", "team", "agent").prefetch_related("score")
        return rows if self.action == "retrieve" else rows.defer("input", "output", "metadata")

    def get_object(self) -> Run:
        found: Run = _named(self, "run")
        return found


class EventViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, ContextViewSet):
    """Events of the tenant's agents: the steps of their runs."""

    queryset = Event.objects.none()
    serializer_class = TelemetryEventSerializer
    filterset_class = EventFilter
    pagination_class = KeysetPagination

    def get_queryset(self) -> QuerySet[Event]:
        rows: QuerySet[Event] = Event.objects.restrict(self.ctx).select_related("tenant", "team", "agent")
        return rows

    def get_object(self) -> Event:
        found: Event = _named(self, "event")
        return found


def _named(view: ContextViewSet, kind: str) -> Any:
    """The row whose key the path has."""
    try:
        key = UUID(view.kwargs["pk"])
    except ValueError:
        raise problem("not_found", f"There is no such {kind}.") from None
    return view.get_queryset().visible(view.ctx, pk=key)  # type: ignore[attr-defined]
