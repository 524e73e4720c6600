"""What becomes of the deliveries of one key: stored, completed, known already, or in conflict. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from apps.telemetry.domain.merge import complete

HASH_BYTES = 16
# A run that is completed very often keeps the hashes of its latest deliveries only.
MAX_HASHES = 16


class Delivery(NamedTuple):
    """One item of a batch: its `place` in it, the hash of its body, and its row in the order of the table's columns."""

    place: int
    hash: bytes
    final: bool
    values: tuple[Any, ...]


class Settled(NamedTuple):
    """`values` is the row to store, or what completes the stored one; None when there is nothing to write."""

    values: tuple[Any, ...] | None
    final: bool
    hashes: bytes
    accepted: int
    duplicates: int
    conflicts: tuple[int, ...] = ()


def settle(deliveries: Sequence[Delivery], columns: Sequence[str], *, final: bool = False, hashes: bytes = b"") -> Settled:
    """The deliveries of one key in the order of the batch, after what is stored of it (`final`, `hashes`; nothing for a new key).

    A body that was taken before is a duplicate; one that comes after a final one is in conflict; else it is stored, or completes what is
    there: null fields only, so that of two values the first stays.
    """
    if len(deliveries) == 1 and not hashes:
        only = deliveries[0]
        return Settled(only.values, only.final, only.hash, 1, 0)
    values: tuple[Any, ...] | None = None
    taken = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    accepted = duplicates = 0
    conflicts: list[int] = []
    for delivery in deliveries:
        if delivery.hash in taken:
            duplicates += 1
        elif final:
            conflicts.append(delivery.place)
        else:
            accepted += 1
            taken.append(delivery.hash)
            values = delivery.values if values is None else _completed(values, delivery.values, columns)
            final = delivery.final
    return Settled(values, final, b"".join(taken[-MAX_HASHES:]), accepted, duplicates, tuple(conflicts))


def _completed(old: tuple[Any, ...], new: tuple[Any, ...], columns: Sequence[str]) -> tuple[Any, ...]:
    stored = dict(zip(columns, old, strict=True))
    return tuple({**stored, **complete(stored, dict(zip(columns, new, strict=True)))}.values())
