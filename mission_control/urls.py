"""Every route of the portal. Order matters for speed only: harness routes stand first in their rooms."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("api/v1/", include("mission_control.api_urls")),
    path("", include("apps.identity.ui.urls")),
    path("", include("apps.telemetry.ui.urls")),
    path("admin/", admin.site.urls),
    path("", include("apps.core.urls")),
]
