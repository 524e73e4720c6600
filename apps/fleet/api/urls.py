from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from apps.fleet.api.stream_view import stream_view

urlpatterns: list[URLPattern | URLResolver] = [
    path("stream", stream_view, name="stream"),
]
