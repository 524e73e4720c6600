from django.urls import path

from apps.telemetry.ui.figures import figures_view
from apps.telemetry.ui.orchestrations import orchestrations_view

urlpatterns = [
    path("admin/orchestrations/", orchestrations_view, name="orchestrations"),
    path("admin/figures/", figures_view, name="figures"),
]
