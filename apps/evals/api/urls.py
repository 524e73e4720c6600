from __future__ import annotations

from rest_framework.routers import SimpleRouter

from apps.evals.api.views import EvalResultViewSet, EvalRunViewSet, EvalSetViewSet

router = SimpleRouter()
router.register("eval-sets", EvalSetViewSet, basename="eval-set")
router.register("eval-runs", EvalRunViewSet, basename="eval-run")
router.register("eval-results", EvalResultViewSet, basename="eval-result")

urlpatterns = router.urls
