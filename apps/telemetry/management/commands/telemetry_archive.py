from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec
from django.core.management.base import BaseCommand, CommandError

from apps.core.context import in_tenant, system_context
from apps.core.errors import Problem
from apps.core.storage import StorageError
from apps.identity.selectors import tenant_by_slug
from apps.telemetry.domain.archives import Kind
from apps.telemetry.models import Archive
from apps.telemetry.purging import remove_archives
from apps.telemetry.selectors.archive_search import search_archives
from apps.telemetry.selectors.archives import days_to_archive
from apps.telemetry.services.archiving import BusyError, archive_day, store, verify_archive
from apps.telemetry.services.releasing import drop_days
from apps.telemetry.services.restoring import DEFAULT_DAYS, request_restore, restore_day


class Command(BaseCommand):
    help = "The archive of telemetry: run what is due, verify it, search in it, bring a day back (docs/retention.md)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        run = acts.add_parser(
            "run", help="archives what is due and lets go of it; with --tenant and --day one day, which stays until its time"
        )
        run.add_argument("--keep", action="store_true", help="let go of nothing")
        verify = acts.add_parser("verify", help="reads every file again and holds it against its manifest")
        search = acts.add_parser("search", help="prints rows as JSON lines")
        search.add_argument("q", nargs="?", default="")
        search.add_argument("--kind", choices=[kind.value for kind in Kind], default=Kind.RUN.value)
        search.add_argument("--run-id", default="")
        search.add_argument("--since", type=_moment)
        search.add_argument("--until", type=_moment)
        search.add_argument("--limit", type=int, default=50)
        restore = acts.add_parser("restore", help="brings a day back into the database")
        restore.add_argument("--days", type=int, default=DEFAULT_DAYS, help="for how many")
        for each, day_needed in ((run, False), (verify, False), (restore, True)):
            each.add_argument("--day", type=date.fromisoformat, required=day_needed)
        for each, tenant_needed in ((run, False), (verify, True), (search, True), (restore, True)):
            each.add_argument("--tenant", required=tenant_needed, help="its slug")
        sweep = acts.add_parser("sweep", help="removes what a purged tenant has left in the storage")
        sweep.add_argument("tenant_id", type=UUID)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            tenant_id = self._tenant(options.get("tenant"))
            getattr(self, f"_{options['act']}")(tenant_id, options)
        except Problem as error:
            raise CommandError(error.detail) from error
        except StorageError as error:
            raise CommandError(str(error)) from error
        except BusyError:
            raise CommandError("Another process is at this tenant's archives; try again in a minute.") from None

    def _tenant(self, slug: str | None) -> UUID | None:
        if slug is None:
            return None
        return tenant_by_slug(slug).pk

    def _run(self, tenant_id: UUID | None, options: dict[str, Any]) -> None:
        store()
        if options["day"] and tenant_id is None:
            raise CommandError("--day needs --tenant.")
        due = [(tenant_id, options["day"])] if tenant_id and options["day"] else days_to_archive()
        for tenant, day in due:
            if tenant_id is None or tenant == tenant_id:
                archive = archive_day(tenant_id=tenant, day=day)
                self.stdout.write(f"{day} {tenant}: {archive.state}, {archive.rows:,} rows, {archive.bytes:,} bytes")
        if not options["keep"]:
            for day, what in drop_days().items():
                self.stdout.write(f"{day}: {what}")

    def _verify(self, tenant_id: UUID, options: dict[str, Any]) -> None:
        with in_tenant(tenant_id):
            rows = Archive.objects.filter(tenant_id=tenant_id).exclude(state__in=["pending", "expired"]).order_by("day")
            archives = list(rows.filter(day=options["day"]) if options["day"] else rows)
        for archive in archives:
            verify_archive(archive=archive)
            self.stdout.write(f"{archive.day}: {archive.rows:,} rows, as written")
        if not archives:
            raise CommandError("There is no such archive.")

    def _search(self, tenant_id: UUID, options: dict[str, Any]) -> None:
        ctx = system_context("telemetry_archive", tenant_id=tenant_id, channel="cli")
        names = ("q", "since", "until", "limit", "run_id")
        found = search_archives(ctx=ctx, kind=Kind(options["kind"]), **{name: options[name] for name in names})
        for row in found.rows:
            self.stdout.write(msgspec.json.encode(row).decode())
        if not found.complete:
            self.stderr.write(f"There is more: {found.searched} of {found.files} files were searched.")

    def _restore(self, tenant_id: UUID, options: dict[str, Any]) -> None:
        ctx = system_context("telemetry_archive", tenant_id=tenant_id, channel="cli")
        with ctx.transaction():
            archive = Archive.objects.filter(tenant_id=tenant_id, day=options["day"]).first()
            if archive is None:
                raise CommandError("There is no such archive.")
            request_restore(ctx=ctx, archive_id=archive.pk, days=options["days"])
        restore_day(tenant_id=tenant_id, day=options["day"])
        self.stdout.write(f"{archive.day}: {archive.rows:,} rows are back for {options['days']} days")

    def _sweep(self, tenant_id: UUID | None, options: dict[str, Any]) -> None:
        with in_tenant(options["tenant_id"]):
            if Archive.objects.filter(tenant_id=options["tenant_id"]).exists():
                raise CommandError("This tenant is not purged: its archives stay.")
        store()
        self.stdout.write(f"{remove_archives(options['tenant_id'])} objects removed")


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
