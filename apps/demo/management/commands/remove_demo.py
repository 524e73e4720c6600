from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.owner import as_owner
from apps.demo.places import tokens_file
from apps.demo.services.removal import demo_tenants, remove_from_platform


class Command(BaseCommand):
    help = (
        "Removes the demo, as the owner of the database: its tenants with everything in them (purge_tenant), its packs in the shared library "
        "except those that other tenants stand on, its agents and people in 'platform', and the tokens of its fleet. What remains: the "
        "audit events of 'platform', which only ever grow. `make up` does not bring the demo back; `manage.py seed_demo` does."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--yes", action="store_true", help="really do it")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["yes"]:
            raise CommandError("This removes the demo's tenants, with all that was done in them. Say --yes to do it.")
        tenants = demo_tenants()
        if tenants:
            call_command("purge_tenant", *tenants, force=True, yes=True, stdout=self.stdout)
        with as_owner():
            removed = remove_from_platform()
        tokens_file().unlink(missing_ok=True)
        if removed.rows:
            self.stdout.write(f"platform: {sum(removed.rows.values())} rows removed from {len(removed.rows)} tables")
        for pack, others in removed.kept.items():
            self.stdout.write(f"{pack} stays: {', '.join(others)} stand on it.")
        if not tenants and not removed.rows:
            self.stdout.write("There is no demo to remove.")
