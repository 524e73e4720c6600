from __future__ import annotations

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from apps.telemetry.api.archives import ArchiveViewSet, ErasureViewSet, RetentionView
from apps.telemetry.api.reading import EventViewSet, RunViewSet
from apps.telemetry.api.views import events_view, runs_view

router = SimpleRouter()
router.register("runs", RunViewSet, basename="run")
router.register("events", EventViewSet, basename="event")
router.register("archives", ArchiveViewSet, basename="archive")
router.register("erasures", ErasureViewSet, basename="erasure")

urlpatterns = [
    path("telemetry/runs", runs_view, name="telemetry-runs"),
    path("telemetry/events", events_view, name="telemetry-events"),
    path("retention/", RetentionView.as_view(), name="retention"),
    path("", include(router.urls)),
]
