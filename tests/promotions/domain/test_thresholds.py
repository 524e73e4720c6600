"""Thresholds: the stricter of two, and their digest."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apps.packs.domain.content import parse_content
from apps.promotions.domain.thresholds import DEMANDS, FIELDS, PRESETS, Thresholds, digest, strictest

blocks = st.dictionaries(st.sampled_from(FIELDS), st.none() | st.integers(0, 10_000))


def test_the_defaults_are_those_of_the_gate() -> None:
    assert strictest({}, None).to_json() == {
        "min_cases": 30,
        "min_runs": 100,
        "min_units": 20,
        "min_quality_gain_pct": 500,
        "non_inferiority_margin": 2,
        "max_allowed_latency_regression_pct": 2000,
        "max_cost_regression_pct": 1500,
        "max_prompt_growth_tokens": 500,
        "max_voice_drop": 5,
        "absolute_min_mean": 70,
    }


def test_a_challenger_cannot_loosen_a_default_by_naming_it() -> None:
    assert strictest({}, {"max_cost_regression_pct": 9000, "min_cases": 1}) == Thresholds()
    assert strictest({"max_cost_regression_pct": 9000}, {"max_cost_regression_pct": 8000}).max_cost_regression_pct == 8000
    assert strictest({"min_cases": 50}, {}).min_cases == 50


@given(blocks, blocks)
def test_strictest_is_commutative_and_idempotent(a: dict[str, Any], b: dict[str, Any]) -> None:
    both = strictest(a, b)
    assert both == strictest(b, a)
    assert strictest(both.to_json(), both.to_json()) == both
    assert strictest(a, both.to_json()) == both


@given(blocks, blocks)
def test_the_strictest_is_looser_than_neither(a: dict[str, Any], b: dict[str, Any]) -> None:
    both = strictest(a, b)
    assert not both.looser_than(Thresholds.of(a))
    assert not both.looser_than(Thresholds.of(b))
    for name in FIELDS:
        pair = getattr(Thresholds.of(a), name), getattr(Thresholds.of(b), name)
        assert getattr(both, name) == (max(pair) if name in DEMANDS else min(pair))


def test_looser_names_the_fields() -> None:
    assert Thresholds(min_cases=20, max_voice_drop=9).looser_than(Thresholds()) == ("min_cases", "max_voice_drop")


def test_the_presets_are_content() -> None:
    for preset in PRESETS.values():
        assert parse_content({"promotion": preset}, kind="policy") == {"promotion": preset}
    assert Thresholds.of(PRESETS["personal"]).max_allowed_latency_regression_pct == 2500
    assert Thresholds.of(PRESETS["personal"]).max_prompt_growth_tokens == 300
    assert PRESETS["enterprise"]["canary"]["stages"] == [5, 25, 50, 100]


@given(blocks)
def test_the_digest_is_that_of_the_numbers(block: dict[str, Any]) -> None:
    thresholds = Thresholds.of(block)
    assert digest(thresholds) == digest(Thresholds(**thresholds.to_json()))
    assert (digest(thresholds) == digest(Thresholds())) == (thresholds == Thresholds())
