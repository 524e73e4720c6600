"""Whether an effective digest is one that resolve has served to the tenant."""

from __future__ import annotations

from collections.abc import Collection
from threading import Lock
from uuid import UUID

from apps.core.context import in_tenant
from apps.packs.models import ServedPack

# What was served once was served for ever, so only "known" is remembered.
_known: set[tuple[UUID, str]] = set()
_lock = Lock()
MAX_REMEMBERED = 100_000


def untraced(tenant_id: UUID, digests: Collection[str]) -> set[str]:
    """Those that resolve never served to the tenant. No query when all were asked for before, else one."""
    unsure = {digest for digest in digests if (tenant_id, digest) not in _known}
    if not unsure:
        return unsure
    with in_tenant(tenant_id):
        found = set(ServedPack.objects.filter(tenant_id=tenant_id, digest__in=sorted(unsure)).values_list("digest", flat=True))
    with _lock:
        if len(_known) + len(found) > MAX_REMEMBERED:
            _known.clear()
        _known.update((tenant_id, digest) for digest in found)
    return unsure - found
