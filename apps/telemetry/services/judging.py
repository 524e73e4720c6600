"""What is judged of rows just before they are stored: cost, tokens that cannot be, clocks that are off. One pass, for fresh rows without a query."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from operator import itemgetter
from typing import Any
from uuid import UUID

import psycopg

from apps.telemetry.domain.pricing import PriceTable, Tokens, judge
from apps.telemetry.services.tables import EVENTS, RUNS, Table

Values = tuple[Any, ...]
CLOCK_SKEW = "clock_skew"
# Clocks that agree by NTP, and a batch that is on its way.
ALLOWED_SKEW = timedelta(seconds=5)
_MS = timedelta(milliseconds=1)
_PRICED_BY = ("provider", "model_id", "tokens_in", "tokens_out")
_OF_RUNS = ("cached_tokens", "cache_write_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where in a row stands what is judged. `when`: the time by which it is priced."""

    times: Callable[[Values], tuple[Any, ...]]
    counts: Callable[[Values], tuple[Any, ...]]
    names: Callable[[Values], tuple[Any, ...]]
    cost: int
    flags: int
    when: int
    final: int | None
    key: int


def _columns(table: Table, times: tuple[str, ...], counts: tuple[str, ...]) -> _Columns:
    at = table.columns.index
    return _Columns(
        times=itemgetter(*map(at, times)),
        counts=itemgetter(*map(at, counts)),
        names=itemgetter(at("provider"), at("model_id")),
        cost=at("cost_micros"),
        flags=at("flags"),
        when=at(times[0]),
        final=at("final") if "final" in table.columns else None,
        key=at("id"),
    )


_RUN = _columns(RUNS, ("started_at", "ended_at", "created_at"), ("tokens_in", "tokens_out", *_OF_RUNS))
_EVENT = _columns(EVENTS, ("created_at", "received_at"), ("tokens_in", "tokens_out"))
# What a stored run has of what completes it is kept (`domain/merge.py`).
_STORED = ("id", "cost_micros", "started_at", *_PRICED_BY, *_OF_RUNS)
_READ = f"SELECT {', '.join(_STORED)} FROM telemetry_run WHERE tenant_id = %b AND day = %b AND id = ANY(%b::uuid[])"  # noqa: S608 -- constants


class Judge:
    """Judges the rows of one batch. `skew_ms`: how far the harness's clock was off in what it has seen, in milliseconds (0: within 5 s)."""

    def __init__(self, table: Table, prices: PriceTable, now: datetime) -> None:
        self._table, self._prices, self._latest = table, prices, now + ALLOWED_SKEW
        self._columns = _RUN if table is RUNS else _EVENT
        self._skews: list[int] = []

    @property
    def skew_ms(self) -> int:
        return max(self._skews, default=0)

    def fresh(self, values: Values) -> Values:
        """A new row with its cost and flags. A run is judged when it is final."""
        return _judged(values, self._columns, self._prices, self._latest, self._skews)

    def completing(self, cur: psycopg.Cursor[Any], day: date, rows: Sequence[Values]) -> list[Values]:
        """What completes stored rows of a day: judged by all that is known then, put together with what is stored, at one query."""
        stored = _stored(cur, self._table, day, rows, self._columns)
        key = self._columns.key
        return [_judged(values, self._columns, self._prices, self._latest, self._skews, stored.get(values[key])) for values in rows]


def _judged(
    values: Values, columns: _Columns, prices: PriceTable, latest: datetime, skews: list[int], stored: Mapping[str, Any] | None = None
) -> Values:
    flags: tuple[str, ...] = ()
    cost = reported = values[columns.cost]
    if columns.final is None or values[columns.final]:
        counts, when = columns.counts(values), values[columns.when]
        provider, model_id = columns.names(values)
        if stored is not None:
            counts = tuple(_first(stored[name], count) for name, count in zip(("tokens_in", "tokens_out", *_OF_RUNS), counts, strict=True))
            provider, model_id = _first(stored["provider"], provider), _first(stored["model_id"], model_id)
            when, reported = stored["started_at"], _first(stored["cost_micros"], reported)
        if any(count is not None for count in counts):
            cost, flags = judge(reported, Tokens(*counts), prices.find(provider, model_id, when.date()))
    times = [moment for moment in columns.times(values) if moment is not None]
    off = max(times) - latest if max(times) > latest else None
    if columns is _RUN and values[columns.when + 1] is not None and values[columns.when + 1] < values[columns.when]:
        off = max(off or timedelta(), values[columns.when] - values[columns.when + 1] - ALLOWED_SKEW)
    if off is not None:
        skews.append((off + ALLOWED_SKEW) // _MS)
        flags = (*flags, CLOCK_SKEW)
    if not flags and cost == values[columns.cost]:
        return values
    changed = list(values)
    changed[columns.cost] = cost
    changed[columns.flags] = sorted({*values[columns.flags], *flags})
    return tuple(changed)


def _first(stored: Any, given: Any) -> Any:
    return given if stored is None else stored


def _stored(cur: psycopg.Cursor[Any], table: Table, day: date, rows: Sequence[Values], columns: _Columns) -> dict[UUID, dict[str, Any]]:
    """The stored runs that become final now. The ledger's lock on their keys is held, so that they stay as they are."""
    keys = [values[columns.key] for values in rows if columns.final is not None and values[columns.final]]
    if not keys:
        return {}
    cur.execute(_READ, [rows[0][table.columns.index("tenant_id")], day, keys])
    return {row[0]: dict(zip(_STORED, row, strict=True)) for row in cur.fetchall()}
