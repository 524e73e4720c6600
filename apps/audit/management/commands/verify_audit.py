from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.audit.exports import ExportError, verify_file
from apps.audit.heads import disagreements
from apps.audit.selectors import chains
from apps.audit.services import verify_tenant
from apps.audit.signing import public_key
from apps.core.context import in_tenant
from apps.core.storage import StorageError, open_storage


class Command(BaseCommand):
    help = "Verifies every audit chain, or an exported file; exits 1 and names the first broken row of each chain that does not hold."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", type=UUID, help="only the chain of this tenant id")
        parser.add_argument("--export", type=Path, help="a JSONL export, verified against its own proof without the database")
        parser.add_argument(
            "--heads",
            nargs="?",
            const=settings.AUDIT_HEADS_STORE,
            metavar="STORE",
            help="compare the exported heads in this folder or s3://bucket/prefix (AUDIT_HEADS_STORE unless told) with the chains",
        )
        parser.add_argument("--key", type=Path, help="PEM file of the public key that must have signed the export, or the heads")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["export"]:
            self._verify_file(options["export"], options["key"])
            return
        if options["heads"] is not None:
            self._verify_heads(options["heads"], options["tenant"], options["key"])
            return
        tenants = [options["tenant"]] if options["tenant"] else chains()
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

    def _verify_heads(self, store: str, tenant_id: UUID | None, key: Path | None) -> None:
        broken = 0
        try:
            trusted = public_key(key) if key else None
            for owner, count, found in disagreements(open_storage(store), tenant_id=tenant_id, trusted=trusted):
                if found is None:
                    self.stdout.write(f"{owner}: agrees with {count} exported head{'s' if count != 1 else ''}")
                else:
                    broken += 1
                    self.stderr.write(f"{owner}: disagrees at event {found.seq}: {found.reason}")
        except (StorageError, OSError, ValueError) as error:
            raise CommandError(str(error)) from error
        if broken:
            raise SystemExit(1)

    def _verify_file(self, path: Path, key: Path | None) -> None:
        try:
            trusted = public_key(key) if key else None
            with path.open("rb") as lines:
                proof = verify_file(lines, trusted=trusted)
        except ExportError as error:
            self.stderr.write(f"{path}: {error}")
            raise SystemExit(1) from None
        except (OSError, ValueError) as error:
            raise CommandError(str(error)) from error
        by = "not signed" if proof.get("signature") is None else f"signed by {proof['key']}"
        if proof.get("signature") is not None and trusted is None:
            by += " (say --key to hold it to one you trust)"
        self.stdout.write(f"{path}: holds, {proof['count']} events of tenant {proof['tenant_id']}, {by}")
