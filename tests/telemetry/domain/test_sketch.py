"""The sketch keeps its promise: any quantile within 2 %, however the values came together."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from apps.telemetry.domain.items import MAX_INT
from apps.telemetry.domain.sketch import ACCURACY, ZERO, bucket, merge, middle, quantile, sketch

VALUES = st.lists(st.one_of(st.integers(0, 5000), st.integers(0, MAX_INT)), min_size=1, max_size=200)


@given(values=VALUES, q=st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]) | st.floats(0, 1))
def test_a_quantile_is_within_the_accuracy_of_the_exact_one(values: list[int], q: float) -> None:
    exact = sorted(values)[math.floor(q * (len(values) - 1))]
    found = quantile(sketch(values), q)
    assert found is not None
    assert abs(found - exact) <= ACCURACY * exact * (1 + 1e-9)


@given(one=VALUES, other=VALUES)
def test_merging_is_sketching_all_at_once(one: list[int], other: list[int]) -> None:
    assert merge(sketch(one), sketch(other).items()) == sketch(one + other)


@given(st.integers(0, MAX_INT))
def test_larger_values_are_in_no_lower_bucket(value: int) -> None:
    assert bucket(value) <= bucket(value + 1) < 1000
    assert abs(middle(bucket(value)) - value) <= ACCURACY * value * (1 + 1e-9)


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile({}, 0.5) is None
    assert (bucket(0), middle(ZERO), quantile({ZERO: 3}, 0.99)) == (ZERO, 0.0, 0.0)
