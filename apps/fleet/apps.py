from __future__ import annotations

from django.apps import AppConfig


class FleetConfig(AppConfig):
    name = "apps.fleet"
    label = "fleet"

    def ready(self) -> None:
        # Subscribe to the events of other rooms, and answer telemetry with commands.
        from apps.fleet import metrics, subscriptions  # noqa: F401
        from apps.fleet.services import deliveries  # noqa: F401
