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
        # Django's own page of groups, which knows neither tenants nor roles. The admin has found every page by now.
        from django.contrib import admin
        from django.contrib.auth.models import Group

        if admin.site.is_registered(Group):
            admin.site.unregister(Group)

    @staticmethod
    def apply_grants(using: str, **kwargs: Any) -> None:
        from apps.core import grants

        grants.apply(connections[using])
