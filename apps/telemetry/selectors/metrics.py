"""Figures of runs over time, from roll-ups: no run is read.

Five users (`domain.md` 2). Who may not read every user's runs sees figures of runs that name a user only where five users are behind
them: by the hour, once it is over, and for each finest group of the roll-ups (team, agent, pack, version, arm and model together). Every figure
they are shown is a sum of such groups, so no two of them differ by fewer than five users' runs.
"""

# ruff: noqa: S608 -- every name in the SQL is a constant of this module; values are parameters

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from apps.core.context import EVERY_USER, ActionContext
from apps.core.errors import problem
from apps.telemetry.domain.sketch import merge, quantile
from apps.telemetry.models import Rollup

STEPS = (60, 3600, 86_400)
USERS = 5
MAX_POINTS, MAX_SERIES = 1500, 20
# By what figures are told apart: the columns of each.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "team": ("team_id",),
    "agent": ("agent_id",),
    "pack": ("pack",),
    "version": ("pack", "pack_version"),
    "arm": ("arm",),
    "provider": ("provider",),
    "model": ("provider", "model_id"),
}
FILTERS = ("agent_id", "team_id", "pack", "pack_version", "arm", "provider", "model_id")
_SUMS = (
    *("runs", "successes", "failures", "tokens_in", "tokens_out", "cost_micros", "cost_count", "latency_sum", "latency_count"),
    *("score_sum", "score_count"),
)


@dataclass(slots=True)
class Figures:
    """Sums of some runs: tokens, micro-dollars, milliseconds, hundredths of a point; `sketch` counts latencies by bucket."""

    runs: int = 0
    successes: int = 0
    failures: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_micros: int = 0
    cost_count: int = 0
    latency_sum: int = 0
    latency_count: int = 0
    score_sum: int = 0
    score_count: int = 0
    sketch: dict[int, int] = field(default_factory=dict)

    @property
    def success_rate(self) -> float | None:
        """Of the runs that say whether they succeeded, 0 to 1."""
        known = self.successes + self.failures
        return self.successes / known if known else None

    @property
    def score(self) -> float | None:
        """Mean online score, 0 to 100."""
        return self.score_sum / self.score_count / 100 if self.score_count else None

    def latency(self, q: float) -> int | None:
        """The q-quantile in milliseconds, within 2 %."""
        found = quantile(self.sketch, q)
        return None if found is None else round(found)

    def add(self, other: Figures) -> None:
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        merge(self.sketch, other.sketch.items())


@dataclass(slots=True)
class Series:
    """`key`: the values of the group's columns; None for all groups beyond the largest ones together. `points` by start of the step; steps
    without runs are absent."""

    key: tuple[Any, ...] | None
    total: Figures = field(default_factory=Figures)
    points: dict[datetime, Figures] = field(default_factory=dict)

    def add(self, start: datetime, figures: Figures) -> None:
        self.total.add(figures)
        self.points.setdefault(start, Figures()).add(figures)


@dataclass(frozen=True, slots=True)
class Metrics:
    """`limited`: the rule of five users holds for the reader."""

    since: datetime
    until: datetime
    step: int
    limited: bool
    series: list[Series]


def metrics(
    ctx: ActionContext,
    *,
    since: datetime,
    until: datetime,
    step: int = 3600,
    group_by: str = "none",
    filters: Mapping[str, Any] | None = None,
) -> Metrics:
    """Figures by `step` seconds (60, 3600, 86400) for each group (`GROUPS`), the largest first, of the steps that begin from `since` to
    `until`; `filters` are values of FILTERS. Raises Problem `invalid` for what is no window, or one of too many steps."""
    limited = ctx.users != EVERY_USER
    since = _floor(since, step)
    if step not in STEPS or group_by not in GROUPS:
        raise problem("invalid", f"A step is {', '.join(map(str, STEPS))} seconds; groups are {', '.join(GROUPS)}.")
    if limited and step < STEPS[1]:
        raise problem("invalid", "Figures by the minute are for who may read every user's runs; take step=3600 or 86400.", pointer="/step")
    if until <= since:
        raise problem("invalid", "`until` must come after `since`.", pointer="/until")
    if (until - since).total_seconds() / step > MAX_POINTS:
        raise problem("invalid", f"These are more than {MAX_POINTS} steps; take a longer step or a shorter window.", pointer="/step")
    rows = Rollup.objects.restrict(ctx).filter(start__gte=since, start__lt=until, step=STEPS[1] if limited else step, **(filters or {}))
    if limited:
        rows = rows.filter(Q(of_user=False) | Q(users__gte=USERS, start__lte=timezone.now() - timedelta(hours=1)))
    columns = GROUPS[group_by]
    try:
        sql, parameters = rows.order_by().values("start", *columns, *_SUMS, "latencies").query.sql_with_params()
    except EmptyResultSet:
        return Metrics(since, until, step, limited, [])
    found = _read(sql, parameters, columns, step)
    ordered = sorted(found.values(), key=lambda series: (-series.total.runs, str(series.key)))
    if len(ordered) > MAX_SERIES:
        rest = Series(None)
        for series in ordered[MAX_SERIES:]:
            for start, figures in series.points.items():
                rest.add(start, figures)
        ordered = [*ordered[:MAX_SERIES], rest]
    return Metrics(since, until, step, limited, ordered)


def _read(sql: str, parameters: Any, columns: tuple[str, ...], step: int) -> dict[tuple[Any, ...], Series]:
    names = "".join(f", {name}" for name in columns)
    start = "date_bin(make_interval(secs => %s), start, timestamptz '1970-01-01 00:00:00+00')"
    figures = f"""
        WITH r AS NOT MATERIALIZED ({sql}), sketches AS (
            SELECT {start} AS bin{names}, s.bucket, sum(s.n) AS n
            FROM r CROSS JOIN LATERAL unnest(r.latencies[:][1:1], r.latencies[:][2:2]) s (bucket, n) GROUP BY 1{names}, s.bucket
        )
        SELECT {start} AS bin{names}, {", ".join(f"sum({name})" for name in _SUMS)}, NULL, NULL FROM r GROUP BY 1{names}
        UNION ALL
        SELECT bin{names}, {", ".join("NULL" for _ in _SUMS)}, array_agg(bucket), array_agg(n) FROM sketches GROUP BY bin{names}
    """
    found: dict[tuple[Any, ...], Series] = {}
    with connection.cursor() as cursor:
        cursor.execute(figures, [*parameters, step, step])
        for moment, *rest in cursor.fetchall():
            key = tuple(rest[: len(columns)])
            sums, (buckets, counts) = rest[len(columns) : -2], rest[-2:]
            part = Figures()
            for name, value in zip(_SUMS, sums, strict=True):
                setattr(part, name, int(value or 0))
            if buckets is not None:
                part.sketch = {int(bucket): int(count) for bucket, count in zip(buckets, counts, strict=True)}
            found.setdefault(key, Series(key)).add(moment, part)
    return found


def _floor(moment: datetime, step: int) -> datetime:
    """The step's beginning."""
    seconds = int(moment.timestamp())
    return datetime.fromtimestamp(seconds - seconds % max(step, 1), UTC)
