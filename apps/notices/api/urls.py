from __future__ import annotations

from rest_framework.routers import SimpleRouter

from apps.notices.api.views import NoticeViewSet, WebhookViewSet

router = SimpleRouter()
router.register("webhooks", WebhookViewSet, basename="webhook")
router.register("notices", NoticeViewSet, basename="notice")
urlpatterns = router.urls
