"""Whether an effective digest is one that resolve has served."""

from __future__ import annotations

from collections.abc import Collection
from threading import Lock

from apps.packs.models import ServedPack

# What was served once was served for ever, so only "known" is remembered.
_known: set[str] = set()
_lock = Lock()
MAX_REMEMBERED = 100_000


def untraced(digests: Collection[str]) -> set[str]:
    """Those that resolve never served. No query when all were asked for before, else one."""
    unsure = {digest for digest in digests if digest not in _known}
    if not unsure:
        return unsure
    found = set(ServedPack.objects.filter(digest__in=sorted(unsure)).values_list("digest", flat=True))
    with _lock:
        if len(_known) + len(found) > MAX_REMEMBERED:
            _known.clear()
        _known.update(found)
    return unsure - found
