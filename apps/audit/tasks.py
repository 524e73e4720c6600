"""Background work of the audit room."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import msgspec
from celery import shared_task
from django.conf import settings
from django.core.cache import cache

from apps.audit.models import Head
from apps.audit.selectors import chains
from apps.audit.signing import signed
from apps.core.context import in_tenant


@shared_task(name="audit.export_heads")
def export_heads() -> int:
    """Appends where each chain ends to AUDIT_HEADS_FILE, signed where there is a key, and gives how many were new. Whoever rewrites a
    chain as the database's owner cannot rewrite that file. A head that has not moved is not repeated, unless the cache was lost."""
    if not settings.AUDIT_HEADS_FILE:
        return 0
    at = datetime.now(UTC).isoformat(timespec="seconds")
    written: dict[str, str] = {}
    lines: list[bytes] = []
    for tenant_id in chains():
        with in_tenant(tenant_id):
            head = Head.objects.get(tenant_id=tenant_id)
        key, digest = f"audit.exported_head.{head.tenant_id}", bytes(head.hash).hex()
        if cache.get(key) != digest:
            lines.append(msgspec.json.encode(signed({"tenant_id": str(head.tenant_id), "seq": head.seq, "hash": digest, "at": at})) + b"\n")
            written[key] = digest
    if lines:
        file = os.open(settings.AUDIT_HEADS_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(file, "ab") as appended:
            appended.write(b"".join(lines))
            appended.flush()
            os.fsync(appended.fileno())
        # Remembered once they are on the disk.
        cache.set_many(written, timeout=None)
    return len(lines)
