from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate
from django.utils import timezone


class TelemetryConfig(AppConfig):
    name = "apps.telemetry"
    label = "telemetry"

    def ready(self) -> None:
        from apps.core.health import gauge, remark
        from apps.telemetry import purging, subscriptions  # noqa: F401 -- they register themselves
        from apps.telemetry.selectors.archives import state_of_archives

        remark("archives", state_of_archives)
        purging.listen()
        gauge("mission_control_rollup_lag_seconds", "Age of the oldest row that waits to be added up.", self.rollup_lag)
        post_migrate.connect(self.prepare_storage, sender=self, dispatch_uid="telemetry.storage")

    @staticmethod
    def rollup_lag() -> float:
        from apps.telemetry.selectors.rollups import rolled_up_since

        since = rolled_up_since()
        return max((timezone.now() - since).total_seconds(), 0.0) if since else 0.0

    @staticmethod
    def prepare_storage(using: str, **kwargs: Any) -> None:
        """What every migrate does again: partitions ahead, and the rights that are not a table's."""
        from apps.telemetry import partitions

        partitions.prepare(connections[using])
