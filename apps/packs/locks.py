"""Advisory locks of decisions (`database.md`, Locks): taken in one order, so that two decisions never wait for each other in a ring."""

from __future__ import annotations

import hashlib

from django.db import connection

from apps.identity.selectors import platform_id
from apps.packs.models import Layer, PackKind


def lock_for_decision(layer: Layer) -> None:
    """Holds, until the transaction ends, both levels of the policies and then both of the layer's pack: exclusive where the layer lives
    (a policy layer lives among the policies), shared elsewhere; above tenant only the shared level."""
    shared_level, own_level = f"{platform_id()}", f"{layer.tenant_id}"
    levels = [shared_level] if own_level == shared_level else [shared_level, own_level]
    policy = layer.pack.kind == PackKind.POLICY
    for subject, lives_here in (("policies", policy), (str(layer.pack_id), True)):
        for level in levels:
            _take(f"packs:{subject}:{level}", exclusive=lives_here and level == own_level)


def _take(name: str, *, exclusive: bool) -> None:
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    call = "pg_advisory_xact_lock" if exclusive else "pg_advisory_xact_lock_shared"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {call}(%s)", [key])
