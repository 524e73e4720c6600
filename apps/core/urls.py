from django.urls import path

from apps.core.health import healthz, metrics, readyz

urlpatterns = [path("healthz", healthz), path("readyz", readyz), path("metrics", metrics)]
