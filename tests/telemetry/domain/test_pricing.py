"""Costs by tokens: the formula, its rounding, what sources are known to count wrongly, and which price is in force."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.telemetry.content import price_list
from apps.telemetry.domain.pricing import (
    DIFFERS,
    INCONSISTENT,
    MAX_COST,
    PRICED,
    UNPRICED,
    Price,
    PriceTable,
    Tokens,
    cost_of,
    inconsistent,
    judge,
)

DAY = date(2026, 3, 14)
# A million tokens: $3 in, $0.30 read, $3.75 written, $15 out.
SONNET = Price("anthropic", "claude-sonnet-4*", date(2026, 1, 1), 3_000_000, 300_000, 3_750_000, 15_000_000)
HALF = Price("x", "half", date(2026, 1, 1), 500_000, 500_000, 500_000, 500_000)


@pytest.mark.parametrize(
    ("name", "tokens", "micros", "wrong"),
    [
        ("plain", Tokens(1000, 200), 6000, False),
        ("nothing known", Tokens(), 0, False),
        ("cached tokens are part of the input, as OpenAI counts", Tokens(10_000, 100, 8_000), 9_900, False),
        ("counted twice they would cost as much again", Tokens(18_000, 100, 8_000), 33_900, False),
        ("Anthropic's input leaves the cache out: flagged", Tokens(2_000, 100, 8_000), 0, True),
        ("Anthropic's, put right: 2000 + 8000 read", Tokens(10_000, 100, 8_000), 9_900, False),
        ("Anthropic's with a write, put right: 2000 + 8000 + 1000", Tokens(11_000, 100, 8_000, 1_000), 13_650, False),
        ("all cached", Tokens(8_000, 0, 8_000), 2_400, False),
        ("reasoning is part of the output and costs nothing besides", Tokens(1000, 500, reasoning=400), 10_500, False),
        ("added to the output again it would", Tokens(1000, 900, reasoning=400), 16_500, False),
        ("reasoning left out of the output: flagged", Tokens(1000, 100, reasoning=400), 4_500, True),
        ("cache without any input", Tokens(None, 100, 50), 1_365, True),
        ("written without input", Tokens(0, 0, 0, 1), 1, True),
        ("less than none", Tokens(-1, 10), 147, True),
        ("only input, as embeddings have", Tokens(1000), 3000, False),
        ("large numbers are exact", Tokens(2**48 - 1, 2**48 - 1), 5066549580791790, False),
        ("what cannot be costs no more than can be written", Tokens(2**53 - 1, 2**53 - 1), MAX_COST, False),
    ],
)
def test_known_countings(name: str, tokens: Tokens, micros: int, wrong: bool) -> None:
    assert (cost_of(SONNET, tokens), inconsistent(tokens)) == (micros, wrong)


@pytest.mark.parametrize(("tokens", "micros"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 2), (7, 4)])
def test_half_a_micro_dollar_goes_to_the_even_one(tokens: int, micros: int) -> None:
    assert cost_of(HALF, Tokens(tokens)) == micros


COUNTS = st.integers(0, 10**12)
PRICES = st.builds(Price, st.just("x"), st.just("y"), st.just(DAY), *[st.integers(0, 10**12)] * 4)


@given(PRICES, st.builds(Tokens, *[st.none() | st.integers(-(10**6), 10**12)] * 5))
def test_no_cost_is_negative(price: Price, tokens: Tokens) -> None:
    assert cost_of(price, tokens) >= 0


@given(PRICES, COUNTS, COUNTS, COUNTS, COUNTS)
def test_the_cost_is_the_exact_sum_to_half_a_micro_dollar(price: Price, plain: int, read: int, write: int, out: int) -> None:
    exact = Fraction(
        plain * price.input_micros + read * price.cache_read_micros + write * price.cache_write_micros + out * price.output_micros, 10**6
    )
    assert abs(cost_of(price, Tokens(plain + read + write, out, read, write)) - min(exact, MAX_COST)) <= Fraction(1, 2)


@given(PRICES, COUNTS, COUNTS, COUNTS, COUNTS, st.sampled_from(["tokens_in", "tokens_out"]), COUNTS)
def test_more_tokens_never_cost_less(price: Price, plain: int, read: int, write: int, out: int, more: str, added: int) -> None:
    tokens = Tokens(plain + read + write, out, read, write)
    assert cost_of(price, tokens._replace(**{more: getattr(tokens, more) + added})) >= cost_of(price, tokens)


@given(PRICES, COUNTS, COUNTS, st.integers(0, 10**12))
def test_reasoning_changes_no_cost(price: Price, tokens_in: int, out: int, reasoning: int) -> None:
    assert cost_of(price, Tokens(tokens_in, out, reasoning=reasoning)) == cost_of(price, Tokens(tokens_in, out))


@pytest.mark.parametrize(
    ("reported", "tokens", "price", "cost", "flags"),
    [
        (None, Tokens(1000, 200), SONNET, 6000, (PRICED,)),
        (None, Tokens(1000, 200), None, None, (UNPRICED,)),
        (None, Tokens(), SONNET, None, ()),
        (None, Tokens(cached=5), None, None, (INCONSISTENT,)),
        (None, Tokens(10, 0, 20), SONNET, 0, (INCONSISTENT, PRICED)),
        (5500, Tokens(1000, 200), SONNET, 5500, ()),
        (9000, Tokens(1000, 200), SONNET, 9000, (DIFFERS,)),
        (0, Tokens(1000, 200), SONNET, 0, (DIFFERS,)),
        (900, Tokens(10, 20), SONNET, 900, ()),
        (9000, Tokens(1000, 200), None, 9000, ()),
    ],
)
def test_a_reported_cost_is_kept(
    reported: int | None, tokens: Tokens, price: Price | None, cost: int | None, flags: tuple[str, ...]
) -> None:
    assert judge(reported, tokens, price) == (cost, flags)


def of(provider: str, model_id: str, micros: int, *, since: date = date(2026, 1, 1), own: bool = False) -> Price:
    return replace(SONNET, provider=provider, model_id=model_id, input_micros=micros, effective_from=since, own=own)


TABLE = PriceTable.of(
    [
        of("anthropic", "claude-sonnet-4*", 1),
        of("anthropic", "claude-*", 2),
        of("anthropic", "claude-sonnet-4-5", 3),
        of("anthropic", "claude-sonnet-4-5", 4, since=date(2026, 6, 1)),
        of("*", "claude-haiku", 5),
        of("acme", "*", 6),
        of("anthropic", "claude-opus", 7),
        of("*", "claude-opus", 8, own=True),
        of("anthropic", "claude-opus", 9, since=date(2026, 6, 1), own=True),
    ]
)


@pytest.mark.parametrize(
    ("provider", "model_id", "day", "micros"),
    [
        ("anthropic", "claude-sonnet-4-20250514", DAY, 1),
        ("anthropic", "claude-2", DAY, 2),
        ("anthropic", "claude-sonnet-4-5", DAY, 3),
        ("anthropic", "claude-sonnet-4-5", date(2026, 5, 31), 3),
        ("anthropic", "claude-sonnet-4-5", date(2026, 6, 1), 4),
        ("Anthropic", "Claude-Sonnet-4-5", DAY, 3),
        ("anthropic", "claude-sonnet-4-5", date(2025, 12, 31), None),
        (None, "claude-haiku", DAY, 5),
        (None, "claude-sonnet-4-5", DAY, None),
        ("acme", "anything", DAY, 6),
        ("acme", None, DAY, None),
        ("openai", "gpt", DAY, None),
        ("anthropic", "claude-opus", DAY, 8),
        ("anthropic", "claude-opus", date(2026, 7, 1), 9),
    ],
)
def test_the_price_in_force(provider: str | None, model_id: str | None, day: date, micros: int | None) -> None:
    for _ in range(2):
        found = TABLE.find(provider, model_id, day)
        assert (found.input_micros if found else None) == micros


def test_the_delivered_prices_can_be_used() -> None:
    rows = price_list()
    assert len(rows) >= 10
    assert len({(row["provider"], row["model_id"], row["effective_from"]) for row in rows}) == len(rows)
    assert all(row["input_micros"] >= row["cache_read_micros"] and row["output_micros"] >= row["input_micros"] for row in rows)
    table = PriceTable.of(Price(**row) for row in rows)
    found = table.find("anthropic", "claude-sonnet-4-5-20250929", DAY)
    assert found is not None
    assert found.output_micros == 15_000_000
