from django.apps import AppConfig


class EvalsConfig(AppConfig):
    name = "apps.evals"
    label = "evals"

    def ready(self) -> None:
        # Registers resolve's lease check.
        from apps.evals.selectors import leases  # noqa: F401
