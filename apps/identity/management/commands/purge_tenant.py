from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.context import system_context
from apps.core.errors import Problem
from apps.core.owner import as_owner
from apps.identity.models import Tenant, TenantStatus
from apps.identity.selectors import platform_id
from apps.identity.services.purge import purge_tenant
from apps.identity.services.tenants import delete_tenant


class Command(BaseCommand):
    help = "Removes every row of deleted tenants, as the owner of the database. There is no way back."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slugs", nargs="+", metavar="slug", help="the tenants; one transaction for each")
        parser.add_argument("--yes", action="store_true", help="really do it")
        parser.add_argument("--force", action="store_true", help="delete the tenant first, whatever its status (never 'platform')")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["yes"]:
            raise CommandError("This removes every row of the tenant, its audit chain too. Say --yes to do it.")
        try:
            with as_owner():
                for slug in options["slugs"]:
                    self._purge(slug, options["force"])
        except Problem as error:
            raise CommandError(error.detail) from error

    def _purge(self, slug: str, force: bool) -> None:
        ctx = system_context("purge_tenant", tenant_id=platform_id(), channel="cli")
        if force and Tenant.objects.filter(slug=slug).exclude(status=TenantStatus.DELETED).exists():
            delete_tenant(ctx=ctx, slug=slug)
            # Until every process has forgotten the tenant's tokens, harnesses may still write.
            time.sleep(max(2 * settings.CACHE_STALENESS_S, 0))
        removed = purge_tenant(ctx=ctx, slug=slug)
        self.stdout.write(f"{slug}: {sum(removed.values())} rows removed from {len(removed)} tables")
