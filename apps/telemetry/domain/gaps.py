"""Producers number their batches; what is missing between the numbers we have seen are batches that were lost, or are still on their way."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

Range = tuple[int, int]

# A producer whose numbers make no sense must not grow its row without end: beyond this the oldest gaps are only counted.
MAX_RANGES = 256


@dataclass(frozen=True, slots=True)
class Seen:
    """The sequence numbers seen of one producer: `ranges` (first, last), both inclusive, in order, neither touching nor overlapping.

    `given_up` counts missing numbers of gaps that were dropped because there were too many; they are lost for good.
    """

    ranges: tuple[Range, ...] = ()
    given_up: int = 0


def observe(seen: Seen, seq: int) -> tuple[Seen, bool]:
    """The set with `seq` in it, and whether it is new (a number below the first, or in a gap that was given up, counts as it stands)."""
    ranges = list(seen.ranges)
    # The first range that ends at seq - 1 or later: the only one, with its right neighbour, that seq can touch.
    place = bisect_left(ranges, seq - 1, key=lambda r: r[1])
    if place == len(ranges) or ranges[place][0] > seq + 1:
        ranges.insert(place, (seq, seq))
    else:
        first, last = ranges[place]
        if first <= seq <= last:
            return seen, False
        if seq < first:
            ranges[place] = (seq, last)
        elif place + 1 < len(ranges) and ranges[place + 1][0] == seq + 1:
            ranges[place : place + 2] = [(first, ranges[place + 1][1])]
        else:
            ranges[place] = (first, seq)
    given_up = seen.given_up
    while len(ranges) > MAX_RANGES:
        (first, left), (right, last) = ranges[:2]
        given_up += right - left - 1
        ranges[:2] = [(first, last)]
    return Seen(tuple(ranges), given_up), True


def gaps(seen: Seen) -> tuple[Range, ...]:
    """The missing numbers between the lowest and the highest seen, as (first, last), both inclusive, in order."""
    return tuple((left[1] + 1, right[0] - 1) for left, right in zip(seen.ranges, seen.ranges[1:], strict=False))


def missing(seen: Seen) -> int:
    """How many numbers are missing, given-up ones included: batches lost, or still on their way."""
    return seen.given_up + sum(last - first + 1 for first, last in gaps(seen))
