"""Where a step stands: in which run, and how deep that run is nested. For a request's spans, and for all of a trace that is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

from apps.telemetry.domain.items import Tier

Key = TypeVar("Key")

TIERS: tuple[Tier, ...] = ("T1", "T2", "T3")


class Node(NamedTuple, Generic[Key]):
    """`parent` is None for a span that has none; `run` is the id of the run that the span is, or None."""

    parent: Key | None
    run: str | None


class Place(NamedTuple):
    """The nearest run at or above a span, how many runs that is from the top, and whether the way to the top is known."""

    run: str | None
    depth: int
    known: bool

    @property
    def tier(self) -> Tier | None:
        """T1 for the outermost run, T2 for the next, T3 for all below; None when unknown or in no run."""
        return TIERS[min(self.depth, 3) - 1] if self.known and self.depth else None


_TOP = Place(None, 0, True)
_UNKNOWN = Place(None, 0, False)


def places(nodes: Mapping[Key, Node[Key]], wanted: Iterable[Key], *, whole: bool = False) -> dict[Key, Place]:
    """The place of each wanted span. A parent that is not among `nodes` leaves the way to the top unknown; with `whole` it is the top."""
    missing = _TOP if whole else _UNKNOWN
    found: dict[Key, Place] = {}
    for key in wanted:
        way: list[Key] = []
        seen: set[Key] = set()
        at: Key | None = key
        while True:
            if at is None:
                place = _TOP
            elif at in found:
                place = found[at]
            elif at not in nodes or at in seen:
                # Spans that are each other's parents have no top.
                place = missing
            else:
                seen.add(at)
                way.append(at)
                at = nodes[at].parent
                continue
            break
        for passed in reversed(way):
            run = nodes[passed].run
            if run is not None:
                place = Place(run, place.depth + 1, place.known)
            found[passed] = place
    return found
