from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.views import SpectacularJSONAPIView

from apps.core.api.views import unknown_route

urlpatterns = [
    path("schema/", SpectacularJSONAPIView.as_view(), name="schema"),
    # Last of all rooms: whatever is still unanswered under the base.
    re_path("", csrf_exempt(unknown_route)),
]
