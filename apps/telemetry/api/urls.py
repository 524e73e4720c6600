from __future__ import annotations

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from apps.telemetry.api.figures import FacetsView, MetricsView, ModelHealthViewSet
from apps.telemetry.api.reading import EventViewSet, RunViewSet
from apps.telemetry.api.views import events_view, runs_view

router = SimpleRouter()
router.register("runs", RunViewSet, basename="run")
router.register("events", EventViewSet, basename="event")
router.register("models/health", ModelHealthViewSet, basename="model-health")

urlpatterns = [
    path("telemetry/runs", runs_view, name="telemetry-runs"),
    path("telemetry/events", events_view, name="telemetry-events"),
    path("metrics/", MetricsView.as_view(), name="metrics"),
    path("runs/facets/", FacetsView.as_view(kind="run"), name="run-facets"),
    path("events/facets/", FacetsView.as_view(kind="event"), name="event-facets"),
    path("", include(router.urls)),
]
