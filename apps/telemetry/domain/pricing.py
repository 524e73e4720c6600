"""What a run costs by its tokens and the price table (`domain.md` 8), in whole micro-dollars; and what its source says of tokens that cannot be.

Input includes cached tokens, output includes reasoning tokens:
cost = (in - cache_read - cache_write) p_in + cache_read p_read + cache_write p_write + out p_out, clamped at 0.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

# Prices are micro-dollars for so many tokens.
PER = 1_000_000
# The largest number that JSON keeps exact (`domain.md` 3).
MAX_COST = 2**53 - 1
ANY = "*"
# The flags that this module gives.
PRICED, UNPRICED, INCONSISTENT, DIFFERS = "priced", "unpriced", "tokens_inconsistent", "cost_differs"
# A reported cost is told to differ from the table's when it is off by more than a tenth and by more than 0.1 cent: below that are discounts
# of volume and rounding.
TOLERANCE_PCT = 10
TOLERANCE_MICROS = 1_000
MAX_REMEMBERED = 10_000


Counts = tuple[int | None, int | None, int | None, int | None, int | None]


class Tokens(NamedTuple):
    """`Counts` with names, as the source gave them; None is not given and counts as 0."""

    tokens_in: int | None = None
    tokens_out: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs from a day (UTC) on, in micro-dollars for a million tokens. `provider` is exact or `*`; `model_id` exact, or ends
    in `*` and means what begins so. `own`: the tenant's, which goes before everybody's."""

    provider: str
    model_id: str
    effective_from: date
    input_micros: int
    cache_read_micros: int
    cache_write_micros: int
    output_micros: int
    own: bool = False


def cost_of(price: Price, tokens: Counts) -> int:
    """Micro-dollars by the formula above: exact integers, rounded once, half to even, and never below 0. Reasoning tokens are part of the
    output and cost nothing besides. Counts that cannot be cost at most MAX_COST."""
    tokens_in, tokens_out, read, write, _ = tokens
    read, write = read or 0, write or 0
    total = (
        ((tokens_in or 0) - read - write) * price.input_micros
        + read * price.cache_read_micros
        + write * price.cache_write_micros
        + (tokens_out or 0) * price.output_micros
    )
    if total <= 0:
        return 0
    whole, rest = divmod(total, PER)
    return min(whole + (2 * rest > PER or (2 * rest == PER and whole % 2 == 1)), MAX_COST)


def inconsistent(tokens: Counts) -> bool:
    """Whether these counts cannot be what the contract means: more cached than input (a source whose input leaves cached tokens out), more
    reasoning than output (one whose output leaves reasoning out), or less than none."""
    # This and the next are asked for every run: written out, not as loops.
    tokens_in, tokens_out, read, write, reasoning = tokens
    tokens_in, tokens_out, read, write, reasoning = tokens_in or 0, tokens_out or 0, read or 0, write or 0, reasoning or 0
    return read + write > tokens_in or reasoning > tokens_out or tokens_in < 0 or tokens_out < 0 or read < 0 or write < 0 or reasoning < 0


_PRICED = (PRICED,)


# What is stored: the cost in micro-dollars (None: not known), and flags.
Judged = tuple[int | None, tuple[str, ...]]


def judge(reported: int | None, tokens: Counts, price: Price | None) -> Judged:
    """The reported cost, which is never overwritten, else the one computed. Flags: `priced` (computed here), `unpriced` (tokens, and neither a
    cost nor a price), `tokens_inconsistent`, `cost_differs` (the table says something else than was reported)."""
    flags = (INCONSISTENT,) if inconsistent(tokens) else ()
    if tokens[0] is None and tokens[1] is None:
        return reported, flags
    if price is None:
        return reported, flags if reported is not None else (*flags, UNPRICED)
    computed = cost_of(price, tokens)
    if reported is None:
        return computed, (*flags, PRICED) if flags else _PRICED
    off = abs(reported - computed)
    return reported, (*flags, DIFFERS) if off > TOLERANCE_MICROS and 100 * off > TOLERANCE_PCT * computed else flags


@dataclass(slots=True)
class _Schedule:
    """The prices of one pattern, by day."""

    days: list[date]
    prices: list[Price]

    def at(self, day: date) -> Price | None:
        place = bisect_right(self.days, day)
        return self.prices[place - 1] if place else None


@dataclass(slots=True)
class PriceTable:
    """The prices that a tenant's runs are judged by: its own and everybody's.

    Of several that fit a model on a day the tenant's own goes before everybody's, an exact provider before `*`, an exact model before a
    beginning, a longer beginning before a shorter one; then the latest that is in force. Letter case does not matter.
    """

    _schedules: dict[tuple[str, str, bool], _Schedule] = field(default_factory=dict)
    _found: dict[tuple[str | None, str | None, date], Price | None] = field(default_factory=dict)

    @classmethod
    def of(cls, prices: Iterable[Price]) -> PriceTable:
        table = cls()
        for price in sorted(prices, key=lambda price: price.effective_from):
            key = price.provider.lower(), price.model_id.lower(), price.own
            schedule = table._schedules.setdefault(key, _Schedule([], []))
            schedule.days.append(price.effective_from)
            schedule.prices.append(price)
        return table

    def find(self, provider: str | None, model_id: str | None, day: date) -> Price | None:
        """The price of a model on a day; a run that names no provider is priced by rows for any."""
        key = provider, model_id, day
        try:
            return self._found[key]
        except KeyError:
            pass
        fitting = self._fitting((provider or "").lower(), (model_id or "").lower())
        found = next((price for schedule in fitting if (price := schedule.at(day)) is not None), None)
        if len(self._found) >= MAX_REMEMBERED:
            self._found.clear()
        self._found[key] = found
        return found

    def _fitting(self, provider: str, model_id: str) -> tuple[_Schedule, ...]:
        fits = [
            (not own, by == ANY, pattern.endswith(ANY), -len(pattern), schedule)
            for (by, pattern, own), schedule in self._schedules.items()
            if model_id and by in (provider, ANY) and (model_id.startswith(pattern[:-1]) if pattern.endswith(ANY) else model_id == pattern)
        ]
        return tuple(schedule for *_, schedule in sorted(fits, key=lambda each: each[:-1]))
