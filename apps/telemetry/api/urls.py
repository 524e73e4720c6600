from __future__ import annotations

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from apps.telemetry.api.archives import ArchiveViewSet, ErasureViewSet, RetentionView
from apps.telemetry.api.exports import ExportViewSet
from apps.telemetry.api.figures import FacetsView, MetricsView, ModelHealthViewSet
from apps.telemetry.api.otlp import traces_view
from apps.telemetry.api.policies import PatternViewSet, PriceViewSet, ProducerViewSet, RedactionView, TryView
from apps.telemetry.api.reading import EventViewSet, RunViewSet
from apps.telemetry.api.snapshot import SnapshotView
from apps.telemetry.api.views import events_view, runs_view

router = SimpleRouter()
router.register("runs", RunViewSet, basename="run")
router.register("events", EventViewSet, basename="event")
router.register("prices", PriceViewSet, basename="price")
router.register("producers", ProducerViewSet, basename="producer")
router.register("redaction/patterns", PatternViewSet, basename="redaction-pattern")
router.register("exports", ExportViewSet, basename="export")
router.register("models/health", ModelHealthViewSet, basename="model-health")
router.register("archives", ArchiveViewSet, basename="archive")
router.register("erasures", ErasureViewSet, basename="erasure")

urlpatterns = [
    path("redaction/", RedactionView.as_view(), name="redaction"),
    path("redaction/try/", TryView.as_view(), name="redaction-try"),
    path("telemetry/runs", runs_view, name="telemetry-runs"),
    path("telemetry/events", events_view, name="telemetry-events"),
    path("otlp/v1/traces", traces_view, name="otlp-traces"),
    path("snapshot/", SnapshotView.as_view(), name="snapshot"),
    path("metrics/", MetricsView.as_view(), name="metrics"),
    path("runs/facets/", FacetsView.as_view(kind="run"), name="run-facets"),
    path("events/facets/", FacetsView.as_view(kind="event"), name="event-facets"),
    path("retention/", RetentionView.as_view(), name="retention"),
    path("", include(router.urls)),
]
