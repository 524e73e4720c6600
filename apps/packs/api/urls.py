from django.urls import path
from rest_framework.routers import SimpleRouter

from apps.packs.api.resolve_view import resolve_view
from apps.packs.api.views import (
    ContentSchemaView,
    PackLayersViewSet,
    PackVersionsViewSet,
    PackViewSet,
    SubscriptionViewSet,
    VersionViewSet,
)

router = SimpleRouter()
router.register("packs", PackViewSet, basename="pack")
router.register(r"packs/(?P<slug>[^/.]+)/layers", PackLayersViewSet, basename="pack-layer")
router.register(r"packs/(?P<slug>[^/.]+)/versions", PackVersionsViewSet, basename="pack-version")
router.register("versions", VersionViewSet, basename="version")
router.register("subscriptions", SubscriptionViewSet, basename="subscription")

urlpatterns = [
    path("resolve", resolve_view, name="resolve"),
    path("content-schema/", ContentSchemaView.as_view(), name="content-schema"),
    *router.urls,
]
