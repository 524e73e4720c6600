from __future__ import annotations

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from apps.telemetry.api.exports import ExportViewSet
from apps.telemetry.api.reading import EventViewSet, RunViewSet
from apps.telemetry.api.snapshot import SnapshotView
from apps.telemetry.api.views import events_view, runs_view

router = SimpleRouter()
router.register("runs", RunViewSet, basename="run")
router.register("events", EventViewSet, basename="event")
router.register("exports", ExportViewSet, basename="export")

urlpatterns = [
    path("telemetry/runs", runs_view, name="telemetry-runs"),
    path("telemetry/events", events_view, name="telemetry-events"),
    path("snapshot/", SnapshotView.as_view(), name="snapshot"),
    path("", include(router.urls)),
]
