from __future__ import annotations

from django.urls import path

from apps.telemetry.api.views import events_view, runs_view

urlpatterns = [
    path("telemetry/runs", runs_view, name="telemetry-runs"),
    path("telemetry/events", events_view, name="telemetry-events"),
]
