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
        from apps.core.health import figures, remark
        from apps.telemetry import purging, subscriptions  # noqa: F401 -- they register themselves
        from apps.telemetry.selectors.archives import state_of_archives

        remark("archives", state_of_archives)
        purging.listen()
        figures(self.rollup_lag)
        post_migrate.connect(self.prepare_storage, sender=self, dispatch_uid="telemetry.storage")

    @staticmethod
    def rollup_lag() -> list[str]:
        from apps.telemetry.selectors.rollups import rolled_up_since

        since = rolled_up_since()
        lag = max((timezone.now() - since).total_seconds(), 0.0) if since else 0.0
        name = "mission_control_rollup_lag_seconds"
        return [f"# HELP {name} Age of the oldest row that waits to be added up.", f"# TYPE {name} gauge", f"{name} {lag:g}"]

    @staticmethod
    def prepare_storage(using: str, **kwargs: Any) -> None:
        """What every migrate does again: partitions ahead, and the rights that are not a table's."""
        from apps.telemetry import partitions

        partitions.prepare(connections[using])
