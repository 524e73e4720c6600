from django.apps import AppConfig


class PromotionsConfig(AppConfig):
    name = "apps.promotions"
    label = "promotions"

    def ready(self) -> None:
        # Subscribe to the events of packs and evals.
        from apps.promotions import tasks  # noqa: F401
        from apps.promotions.services import decisions  # noqa: F401
