"""Completing a run, and the numbers of a producer's batches: both as laws."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.telemetry.domain.gaps import MAX_RANGES, Seen, gaps, missing, observe
from apps.telemetry.domain.merge import complete

COLUMNS = ["status", "output", "latency_ms", "success"]
ROWS = st.fixed_dictionaries(
    {
        "final": st.booleans(),
        "flags": st.lists(st.sampled_from(["redacted", "mismatch", "untraced"]), unique=True).map(sorted),
        **{name: st.one_of(st.none(), st.integers(0, 3), st.booleans()) for name in COLUMNS},
    }
)


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ({"final": True, "output": None}, {"final": True, "output": "x"}, {}),
        ({"final": False, "output": None}, {"final": False, "output": "x"}, {"output": "x"}),
        ({"final": False, "output": "a"}, {"final": True, "output": "b"}, {"final": True}),
        ({"final": False, "success": None}, {"final": False, "success": False}, {"success": False}),
        ({"final": False, "retries": 0}, {"final": False, "retries": 2}, {}),
        ({"final": False, "flags": ["redacted"]}, {"final": False, "flags": ["mismatch"]}, {"flags": ["mismatch", "redacted"]}),
        ({"final": False, "flags": ["redacted"]}, {"final": False, "flags": ["redacted"]}, {}),
        ({"final": False, "producer": None, "team_id": None}, {"final": False, "producer": "gw", "team_id": 1, "id": 9}, {}),
    ],
)
def test_completing(old: dict[str, Any], new: dict[str, Any], changed: dict[str, Any]) -> None:
    assert complete(old, new) == changed


@given(ROWS, st.lists(ROWS, max_size=5))
def test_what_is_stored_never_changes_and_a_final_row_is_closed(row: dict[str, Any], later: list[dict[str, Any]]) -> None:
    for new in later:
        changed = complete(row, new)
        merged = {**row, **changed}
        assert not (row["final"] and changed)
        assert all(merged[name] == row[name] for name in COLUMNS if row[name] is not None)
        assert all(merged[name] == new[name] for name in COLUMNS if row[name] is None and not row["final"])
        assert set(row["flags"]) <= set(merged["flags"])
        assert merged["final"] >= row["final"]
        assert complete(merged, new) == {}
        row = merged


@given(st.lists(st.integers(0, 40), max_size=60))
def test_the_gaps_are_the_numbers_not_seen_in_any_order(numbers: list[int]) -> None:
    seen, known = Seen(), set()
    for number in numbers:
        seen, new = observe(seen, number)
        assert new == (number not in known)
        known.add(number)
    inside = [n for n in range(min(known), max(known) + 1) if n not in known] if known else []
    assert [n for first, last in gaps(seen) for n in range(first, last + 1)] == inside
    assert missing(seen) == len(inside)
    assert all(left[1] + 1 < right[0] for left, right in zip(seen.ranges, seen.ranges[1:], strict=False))


def test_gaps_close_when_a_late_batch_arrives() -> None:
    seen = Seen()
    for number in (1, 2, 5, 9):
        seen, _ = observe(seen, number)
    assert (seen.ranges, gaps(seen), missing(seen)) == (((1, 2), (5, 5), (9, 9)), ((3, 4), (6, 8)), 5)
    for number in (4, 3):
        seen, _ = observe(seen, number)
    assert (seen.ranges, gaps(seen)) == (((1, 5), (9, 9)), ((6, 8),))


def test_senseless_numbers_stay_small_and_are_counted() -> None:
    seen = Seen()
    for number in range(0, 3 * (MAX_RANGES + 100), 3):
        seen, _ = observe(seen, number)
    assert len(seen.ranges) == MAX_RANGES
    assert (missing(seen), seen.given_up) == (2 * (MAX_RANGES + 99), 200)
