from django.urls import path

from apps.telemetry.ui.orchestrations import orchestrations_view

urlpatterns = [path("admin/orchestrations/", orchestrations_view, name="orchestrations")]
