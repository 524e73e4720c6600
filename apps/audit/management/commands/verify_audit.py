from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from apps.audit.services import verify_tenant
from apps.core.context import in_tenant


class Command(BaseCommand):
    help = "Verifies every audit chain; exits 1 and names the first broken row of each chain that does not hold."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", type=UUID, help="only the chain of this tenant id")

    def handle(self, *args: Any, **options: Any) -> None:
        tenants = [options["tenant"]] if options["tenant"] else _chains()
        broken = 0
        for tenant_id in tenants:
            with in_tenant(tenant_id):
                found = verify_tenant(tenant_id)
            if found is None:
                self.stdout.write(f"{tenant_id}: holds")
            else:
                broken += 1
                self.stderr.write(f"{tenant_id}: broken at event {found.seq}: {found.reason}")
        if broken:
            raise SystemExit(1)


def _chains() -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM audit_chains() ORDER BY tenant_id")
        return [tenant_id for (tenant_id,) in cursor.fetchall()]
