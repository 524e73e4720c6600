"""The HTTP contract, v1: one include for each room."""

from django.urls import include, path

urlpatterns = [
    path("", include("apps.packs.api.urls")),
    path("", include("apps.telemetry.api.urls")),
    path("", include("apps.fleet.api.urls")),
    path("", include("apps.evals.api.urls")),
    path("", include("apps.promotions.api.urls")),
    path("", include("apps.identity.api.urls")),
    path("", include("apps.notices.api.urls")),
    path("", include("apps.audit.api.urls")),
    path("", include("apps.core.api.urls")),
]
