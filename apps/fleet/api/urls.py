from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path
from rest_framework.routers import SimpleRouter

from apps.fleet.api.heartbeat_view import heartbeat_view
from apps.fleet.api.stream_view import stream_view
from apps.fleet.api.views import ActionRequestViewSet, ControlViewSet, HarnessViewSet, SuggestionView

router = SimpleRouter()
router.register("harnesses", HarnessViewSet, basename="harness")
router.register("control", ControlViewSet, basename="command")
router.register("actions", ActionRequestViewSet, basename="action-request")

urlpatterns: list[URLPattern | URLResolver] = [
    path("heartbeat", heartbeat_view, name="heartbeat"),
    path("stream", stream_view, name="stream"),
    path("suggestions/", SuggestionView.as_view(), name="suggestions"),
    path("", include(router.urls)),
]
