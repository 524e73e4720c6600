from django.urls import path
from rest_framework.routers import SimpleRouter

from apps.promotions.api.views import DecisionViewSet, PromotionViewSet, RollbackView

router = SimpleRouter()
router.register("promotions", PromotionViewSet, basename="promotion")
router.register("decisions", DecisionViewSet, basename="decision")

urlpatterns = [path("layers/<uuid:layer_id>/rollback/", RollbackView.as_view(), name="rollback"), *router.urls]
