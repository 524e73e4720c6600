from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class TelemetryConfig(AppConfig):
    name = "apps.telemetry"
    label = "telemetry"

    def ready(self) -> None:
        from apps.core.health import remark
        from apps.telemetry import purging
        from apps.telemetry.selectors.archives import state_of_archives

        remark("archives", state_of_archives)
        purging.listen()
        post_migrate.connect(self.prepare_storage, sender=self, dispatch_uid="telemetry.storage")

    @staticmethod
    def prepare_storage(using: str, **kwargs: Any) -> None:
        """What every migrate does again: partitions ahead, and the rights that are not a table's."""
        from apps.telemetry import partitions

        partitions.prepare(connections[using])
