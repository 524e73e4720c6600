"""The statistics against known values and closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.promotions.domain.stats import mean, p95, paired_lower_bound, ratio_of_medians, t_quantile

# One-sided quantiles as printed in tables of the t distribution, to ten digits.
KNOWN = [
    (0.95, 3, 2.353363435),
    (0.95, 5, 2.015048373),
    (0.95, 10, 1.812461123),
    (0.95, 20, 1.724718243),
    (0.95, 29, 1.699127027),
    (0.95, 30, 1.697260894),
    (0.95, 60, 1.670648865),
    (0.95, 120, 1.657650899),
    (0.975, 5, 2.570581836),
    (0.975, 10, 2.228138852),
    (0.975, 30, 2.042272456),
    (0.99, 10, 2.763769458),
    (0.995, 5, 4.032142984),
    (0.9995, 4, 8.610301581),
]


@pytest.mark.parametrize(("probability", "degrees", "expected"), KNOWN)
def test_t_quantiles_of_the_tables(probability: float, degrees: int, expected: float) -> None:
    assert t_quantile(probability, degrees) == pytest.approx(expected, abs=1e-8)


@given(st.floats(0.001, 0.999))
def test_t_quantiles_have_closed_forms_for_few_degrees(p: float) -> None:
    spread = 4 * p * (1 - p)
    assert t_quantile(p, 1) == pytest.approx(math.tan(math.pi * (p - 0.5)), rel=1e-9, abs=1e-9)
    assert t_quantile(p, 2) == pytest.approx((2 * p - 1) * math.sqrt(2 / spread), rel=1e-9, abs=1e-9)


@given(st.floats(0.501, 0.999), st.integers(1, 500))
def test_t_quantiles_fall_towards_the_normal_distribution(p: float, degrees: int) -> None:
    assert t_quantile(p, degrees) > t_quantile(p, degrees + 1) > 0
    assert t_quantile(1 - p, degrees) == pytest.approx(-t_quantile(p, degrees), rel=1e-9)


def test_t_quantile_nears_the_normal_one() -> None:
    assert t_quantile(0.95, 10_000_000) == pytest.approx(1.6448536, abs=1e-6)


@pytest.mark.parametrize(("probability", "degrees"), [(0, 5), (1, 5), (0.95, 0)])
def test_t_quantile_refuses_what_has_none(probability: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="probability"):
        t_quantile(probability, degrees)


def test_the_lower_bound_of_a_worked_example() -> None:
    # mean 3, s = sqrt(2.5), n = 5: 3 - 2.131846786 * sqrt(2.5 / 5)
    assert paired_lower_bound([1, 2, 3, 4, 5]) == pytest.approx(3 - 2.131846786 * math.sqrt(0.5), abs=1e-8)


def test_without_variance_the_bound_is_the_mean() -> None:
    assert paired_lower_bound([0.1] * 30) == 0.1
    assert paired_lower_bound([0.0] * 30) == 0.0


@pytest.mark.parametrize("differences", [[], [50.0]])
def test_fewer_than_two_differences_have_no_bound(differences: list[float]) -> None:
    assert paired_lower_bound(differences) is None


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=60), st.floats(0, 50))
def test_the_bound_is_under_the_mean_and_moves_with_it(differences: list[float], shift: float) -> None:
    bound = paired_lower_bound(differences)
    shifted = paired_lower_bound([difference + shift for difference in differences])
    assert bound is not None
    assert shifted is not None
    assert bound <= mean(differences) + 1e-9
    assert shifted == pytest.approx(bound + shift, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([7], 7), (range(1, 11), 10), (range(1, 20), 19), (range(1, 21), 19), (range(1, 101), 95), (range(1, 201), 190)],
)
def test_p95_by_nearest_rank(values: range, expected: int) -> None:
    assert p95(list(reversed(values))) == expected


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=300))
def test_p95_is_the_smallest_value_with_95_percent_at_or_below(values: list[int]) -> None:
    found = p95(values)

    def at_or_below(value: float) -> int:
        return 100 * sum(each <= value for each in values)

    assert found in values
    assert at_or_below(found) >= 95 * len(values)
    assert all(at_or_below(value) < 95 * len(values) for value in values if value < found)


def test_ratio_of_medians() -> None:
    assert ratio_of_medians([10, 20, 90], [10, 10, 10]) == 2.0
    assert ratio_of_medians([0, 0], [0, 0]) == 1.0
    assert ratio_of_medians([1], [0]) == math.inf


@pytest.mark.parametrize("function", [mean, p95])
def test_no_values_have_no_statistic(function: Callable[[list[float]], float]) -> None:
    with pytest.raises(ValueError, match="no values"):
        function([])
