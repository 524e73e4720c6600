"""What is judged of rows just before they are stored: cost, tokens that cannot be, clocks that are off. One pass, for fresh rows without a query."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from operator import itemgetter
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from apps.telemetry.domain.pricing import DIFFERS, PRICED, Counts, PriceTable, judge
from apps.telemetry.services.tables import EVENTS, RUNS, Table

Values = tuple[Any, ...]
CLOCK_SKEW = "clock_skew"
# Clocks that agree by NTP, and a batch that is on its way.
ALLOWED_SKEW = timedelta(seconds=5)
_MS = timedelta(milliseconds=1)
_UNCOUNTED = (None, None, None)
_NOTHING = (None, None, *_UNCOUNTED)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where in a row stands what is judged. `look` gives its times (that by which it is priced first), of runs whether they are final, cost,
    provider and model; `counts` the counts of tokens."""

    look: Callable[[Values], tuple[Any, ...]]
    counts: Callable[[Values], tuple[Any, ...]]
    cost: int
    flags: int
    key: int


def _columns(table: Table, counts: tuple[str, ...], *names: str) -> _Columns:
    at = table.columns.index
    seen = (*names, "cost_micros", "provider", "model_id")
    return _Columns(itemgetter(*map(at, seen)), itemgetter(*map(at, counts)), at("cost_micros"), at("flags"), at("id"))


_FINAL, _TENANT = RUNS.columns.index("final"), RUNS.columns.index("tenant_id")
_COUNTED = ("tokens_in", "tokens_out", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
_RUN = _columns(RUNS, _COUNTED, "started_at", "ended_at", "created_at", "final")
_EVENT = _columns(EVENTS, (*_COUNTED[:2], "payload"), "created_at")
# What a stored run has of what completes it is kept (`domain/merge.py`).
_STORED = ("id", "cost_micros", "started_at", "provider", "model_id", *_COUNTED)
_READ = f"SELECT {', '.join(_STORED)} FROM telemetry_run WHERE tenant_id = %b AND day = %b AND id = ANY(%b::uuid[])"  # noqa: S608 -- constants


class Judge:
    """Judges the rows of one batch. `skew_ms`: how far the harness's clock was off in what it has seen, in milliseconds (0: within 5 s)."""

    def __init__(self, table: Table, prices: PriceTable, now: datetime) -> None:
        self._prices, self._latest = prices, now + ALLOWED_SKEW
        self._of_runs = table is RUNS
        self._skews: list[timedelta] = []

    @property
    def skew_ms(self) -> int:
        return _farthest(self._skews)

    def fresh(self, values: Values) -> Values:
        """A new row with its cost and flags. A run is judged when it is final."""
        if self._of_runs:
            return _judged_run(values, self._prices, self._latest, self._skews, None)
        return _judged_event(values, self._prices, self._latest, self._skews)

    def completing(self, cur: psycopg.Cursor[Any], day: date, rows: Sequence[Values]) -> list[Values]:
        """What completes stored runs of a day: judged by all that is known then, put together with what is stored, at one query."""
        stored = _stored(cur, day, rows)
        return [_judged_run(values, self._prices, self._latest, self._skews, stored.get(values[_RUN.key])) for values in rows]


def _judged_run(values: Values, prices: PriceTable, latest: datetime, skews: list[timedelta], stored: Mapping[str, Any] | None) -> Values:
    started, ended, created, final, cost, provider, model_id = _RUN.look(values)
    counts = _RUN.counts(values)
    flags: tuple[str, ...] = ()
    if not final:
        found = cost
    elif stored is None:
        found, flags = _priced(prices, provider, model_id, started, cost, counts)
    else:
        counts = tuple(_first(stored[name], count) for name, count in zip(_COUNTED, counts, strict=True))
        provider, model_id = _first(stored["provider"], provider), _first(stored["model_id"], model_id)
        found, flags = _priced(prices, provider, model_id, stored["started_at"], _first(stored["cost_micros"], cost), counts)
        # The sum of what calls cost by the table, each by its own model, is nothing that a source reported.
        if PRICED in values[_RUN.flags]:
            flags = tuple(flag for flag in flags if flag != DIFFERS)
    if started > latest or created > latest or (ended is not None and (ended > latest or ended < started)):
        ahead = max(started, created, ended or started) - latest + ALLOWED_SKEW
        skews.append(max(ahead, started - (ended or started)))
        flags = (*flags, CLOCK_SKEW)
    return values if not flags and found == cost else _changed(values, _RUN, found, flags)


def _judged_event(values: Values, prices: PriceTable, latest: datetime, skews: list[timedelta]) -> Values:
    created, cost, provider, model_id = _EVENT.look(values)
    tokens_in, tokens_out, payload = _EVENT.counts(values)
    counts = (tokens_in, tokens_out, *_of_payload(payload)) if tokens_in is not None or tokens_out is not None else _NOTHING
    found, flags = _priced(prices, provider, model_id, created, cost, counts)
    if created > latest:
        skews.append(created - latest + ALLOWED_SKEW)
        flags = (*flags, CLOCK_SKEW)
    return values if not flags and found == cost else _changed(values, _EVENT, found, flags)


def _priced(
    prices: PriceTable, provider: str | None, model_id: str | None, when: datetime, cost: int | None, counts: Counts
) -> tuple[int | None, tuple[str, ...]]:
    if counts == _NOTHING:
        return cost, ()
    return judge(cost, counts, prices.find(provider, model_id, when.date()))


def _changed(values: Values, columns: _Columns, cost: int | None, flags: tuple[str, ...]) -> Values:
    changed = list(values)
    changed[columns.cost] = cost
    before = values[columns.flags]
    changed[columns.flags] = sorted({*before, *flags}) if before or len(flags) > 1 else list(flags)
    return tuple(changed)


class _Usage(msgspec.Struct):
    """Counts of an event that have no column: they stand in its payload under the names that runs give them."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


_USAGE = msgspec.json.Decoder(_Usage)


def _of_payload(payload: str | None) -> tuple[int | None, int | None, int | None]:
    if payload is None or '_tokens"' not in payload:
        return _UNCOUNTED
    try:
        found = _USAGE.decode(payload)
    except msgspec.ValidationError:
        return _UNCOUNTED
    return found.cached_tokens, found.cache_write_tokens, found.reasoning_tokens


def _farthest(skews: list[timedelta]) -> int:
    return max(skews) // _MS if skews else 0


def _first(stored: Any, given: Any) -> Any:
    return given if stored is None else stored


def _stored(cur: psycopg.Cursor[Any], day: date, rows: Sequence[Values]) -> dict[UUID, dict[str, Any]]:
    """The stored runs that become final now. The ledger's lock on their keys is held, so that they stay as they are."""
    keys = [values[_RUN.key] for values in rows if values[_FINAL]]
    if not keys:
        return {}
    cur.execute(_READ, [rows[0][_TENANT], day, keys])
    return {row[0]: dict(zip(_STORED, row, strict=True)) for row in cur.fetchall()}
