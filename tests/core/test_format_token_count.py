"""Token counts in few characters: 999, 1.5K, 2.0M."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.admin import cells
from apps.core.domain.figures import format_token_count

UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
# Beyond what a bigint column holds.
COUNTS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-2_000_000, 2_000_000))


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, "–"),
        (0, "0"),
        (1, "1"),
        (-1, "-1"),
        (999, "999"),
        (-999, "-999"),
        (1_000, "1.0K"),
        (1_049, "1.0K"),
        (1_050, "1.1K"),
        (1_500, "1.5K"),
        (-1_500, "-1.5K"),
        (-1_050, "-1.1K"),
        (999_949, "999.9K"),
        (999_950, "1.0M"),
        (999_999, "1.0M"),
        (-999_999, "-1.0M"),
        (1_000_000, "1.0M"),
        (2_000_000, "2.0M"),
        (999_949_999, "999.9M"),
        (999_950_000, "1.0B"),
        (3_140_000_000, "3.1B"),
        (999_999_999_999, "1.0T"),
        (1_234_000_000_000_000, "1234.0T"),
        (2**63 - 1, "9223372.0T"),
    ],
)
def test_boundaries(count: int | None, shown: str) -> None:
    assert format_token_count(count) == shown


def parsed(shown: str) -> float:
    return float(shown[:-1]) * UNITS[shown[-1]] if shown[-1] in UNITS else float(shown)


@given(COUNTS)
def test_what_is_shown_is_near_and_has_its_sign(count: int) -> None:
    shown = format_token_count(count)
    assert abs(parsed(shown) - count) <= abs(count) * 0.05
    assert shown.startswith("-") == (count < 0)
    assert format_token_count(-count) == shown.removeprefix("-") if count < 0 else True


@given(COUNTS, COUNTS)
def test_more_is_never_shown_as_less(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert parsed(format_token_count(low)) <= parsed(format_token_count(high))


@given(st.integers(1_000, 10**15 - 10**12))
def test_no_unit_is_filled_to_a_thousand(count: int) -> None:
    assert parsed(format_token_count(count)[:-1]) < 1_000


def test_a_cell_says_the_exact_number_to_who_points_and_to_who_listens() -> None:
    cell = cells.tokens(1_234_567)
    assert "1.2M" in cell and 'title="1,234,567 tokens"' in cell and '<span class="mc-sr">1,234,567 tokens</span>' in cell
    assert cells.tokens(None) == cells.EMPTY
