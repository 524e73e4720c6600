from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class CoreConfig(AppConfig):
    name = "apps.core"
    label = "core"

    def ready(self) -> None:
        post_migrate.connect(self.apply_grants, sender=self, dispatch_uid="core.grants")

    @staticmethod
    def apply_grants(using: str, **kwargs: Any) -> None:
        from apps.core import grants

        grants.apply(connections[using])
