"""Quantiles of latencies from counts in logarithmic buckets: two sketches are merged by adding, and every quantile is right within 2 %.

C. Masson, J. E. Rim, H. K. Lee: "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", PVLDB 12(12), 2019,
sections 2 and 2.1, with nothing collapsed: whole milliseconds up to 2^53 fall into fewer than 1,000 buckets. The database fills the buckets
(`services/rolling.py`) by `BUCKET_SQL`; here they are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

ACCURACY = 0.02
GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = math.log(GAMMA)
# The bucket of 0, below all others.
ZERO = -1
# The same rule in SQL, for a column named in the format; null has none.
BUCKET_SQL = f"CASE WHEN {{0}} > 0 THEN ceil(ln({{0}}::float8) / {_LOG_GAMMA!r})::int WHEN {{0}} <= 0 THEN {ZERO} END"


def bucket(value: int) -> int:
    """The bucket of a value in whole units, 0 or more: i such that GAMMA^(i-1) < value <= GAMMA^i."""
    return math.ceil(math.log(value) / _LOG_GAMMA) if value > 0 else ZERO


def middle(key: int) -> float:
    """The value that stands for a bucket: within ACCURACY of everything in it."""
    return 0.0 if key == ZERO else float(2 * GAMMA**key / (GAMMA + 1))


def sketch(values: Iterable[int]) -> dict[int, int]:
    """Counts by bucket."""
    counts: dict[int, int] = {}
    for value in values:
        key = bucket(value)
        counts[key] = counts.get(key, 0) + 1
    return counts


def merge(into: dict[int, int], other: Iterable[tuple[int, int]]) -> dict[int, int]:
    """`into`, with the (bucket, count) of another sketch added."""
    for key, count in other:
        into[key] = into.get(key, 0) + count
    return into


def quantile(counts: Mapping[int, int], q: float) -> float | None:
    """The lower q-quantile (0 to 1), x of rank floor(1 + q (n - 1)) of n sorted values, within ACCURACY; None of nothing."""
    total = sum(counts.values())
    if total == 0:
        return None
    rank, seen = math.floor(q * (total - 1)), 0
    for key in sorted(counts):
        seen += counts[key]
        if seen > rank:
            return middle(key)
    raise AssertionError("the counts add up to the total")
