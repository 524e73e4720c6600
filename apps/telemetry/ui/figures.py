"""The page of figures: how runs did over time, from roll-ups; a group leads to its own figures and to its runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from apps.core.admin import cells
from apps.core.admin.filters import SPANS
from apps.core.context import EVERY_USER, ActionContext
from apps.core.errors import Problem, problem
from apps.core.http import context_of
from apps.telemetry.models import Run
from apps.telemetry.selectors.metrics import GROUPS, STEPS, Figures, Metrics, Series, metrics
from apps.telemetry.selectors.named import agent_named, groups_named
from apps.telemetry.selectors.rollups import rolled_up_since

MINUTE, HOUR, DAY = STEPS
# Name -> length, step in seconds, in words.
WINDOWS: Final = {
    "1h": (timedelta(hours=1), MINUTE, "the last hour"),
    "24h": (timedelta(hours=24), HOUR, "the last 24 hours"),
    "7d": (timedelta(days=7), HOUR, "the last 7 days"),
    "30d": (timedelta(days=30), DAY, "the last 30 days"),
}
DEFAULT_WINDOW = "24h"
BY: Final = {
    "none": "everything together",
    "team": "team",
    "agent": "agent",
    "pack": "pack",
    "version": "version of a pack",
    "arm": "arm",
    "provider": "provider",
    "model": "model",
}
# What the page can be narrowed to, as the lists of runs call it.
NARROWED: Final = {
    "agent": "Agent",
    "pack": "Pack",
    "pack_version": "Version",
    "arm": "Arm",
    "provider": "Provider",
    "model_id": "Model",
}
# Of the drawing, in its own units.
HEIGHT: Final = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the query is understood; the rest is as if it had not been sent."""

    window: str
    by: str
    narrowed: dict[str, str]

    @classmethod
    def of(cls, query: QueryDict) -> Asked:
        window, by = query.get("within", ""), query.get("by", "")
        narrowed = {name: query.get(name, "").strip() for name in NARROWED}
        return cls(
            window if window in WINDOWS else DEFAULT_WINDOW,
            by if by in GROUPS else "none",
            {name: value for name, value in narrowed.items() if value},
        )

    def url(self, **changed: Any) -> str:
        """The page as it is, but for what is `changed`; what is None is left out."""
        asked = {"within": self.window, "by": self.by, **self.narrowed, **changed}
        return reverse("figures", query={name: value for name, value in asked.items() if value is not None})


@require_safe
@login_required
def figures_view(request: HttpRequest) -> HttpResponse:
    """`?within=` a window of WINDOWS, `by=` what groups are told apart by, and values that narrow it (NARROWED)."""
    ctx, asked = context_of(request), Asked.of(request.GET)
    page: dict[str, Any] = {
        "asked": asked,
        "windows": [(asked.url(within=name), label, name == asked.window) for name, (_, _, label) in WINDOWS.items()],
        "groups": [(name, label, name == asked.by) for name, label in BY.items()],
        "fields": [(name, label, asked.narrowed.get(name, "")) for name, label in NARROWED.items()],
        "whole_url": asked.url(**dict.fromkeys(NARROWED)) if asked.narrowed else "",
    }
    status = 200
    try:
        page |= _figures(ctx, asked)
    except Problem as error:
        page["refusal"], status = error.detail, error.status
    context = {**admin.site.each_context(request), "title": "Figures", **page}
    return TemplateResponse(request, "telemetry/figures.html", context, status=status)


def _figures(ctx: ActionContext, asked: Asked) -> dict[str, Any]:
    length, step, _ = WINDOWS[asked.window]
    if ctx.users != EVERY_USER:
        # Figures by the minute would tell single users apart.
        step = max(step, HOUR)
    until = timezone.now()
    found = metrics(ctx, since=until - length, until=until, step=step, group_by=asked.by, filters=_filters(ctx, asked))
    whole = Series(None)
    for each in found.series:
        for start, figures in each.points.items():
            whole.add(start, figures)
    named = groups_named(ctx, found, asked.by)
    lag = rolled_up_since(ctx.tenant_id)
    return {
        "facts": _facts(whole.total),
        "drawing": _draw(found, whole),
        "rows": [] if asked.by == "none" else [_row(asked, names, each) for names, each in zip(named, found.series, strict=True)],
        "limited": found.limited,
        "lag": cells.moment(lag) if lag else "",
        "runs_url": cells.list_url(Run, **asked.narrowed, **({"within": asked.window} if asked.window in SPANS else {})),
    }


def _filters(ctx: ActionContext, asked: Asked) -> dict[str, Any]:
    """Raises Problem `invalid` for a version that is no number, `not_found` for an agent that is not seen."""
    filters: dict[str, Any] = dict(asked.narrowed)
    if "pack_version" in filters:
        text = filters["pack_version"]
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise problem("invalid", "A version of a pack is a whole number.")
        filters["pack_version"] = int(text)
    if "agent" in filters:
        agent = agent_named(ctx, filters.pop("agent"))
        if agent is None:
            raise problem("not_found", "There is no such agent.")
        filters["agent_id"] = agent.pk
    return filters


def _facts(total: Figures) -> list[tuple[str, object]]:
    return [
        ("Runs", cells.number(total.runs)),
        ("Success", _success(total)),
        ("Tokens in", cells.tokens(total.tokens_in)),
        ("Tokens out", cells.tokens(total.tokens_out)),
        ("Cost", _cost(total)),
        *((f"Latency, {label}", _latency(total, q)) for label, q in QUANTILES),
        ("Score", _score(total)),
    ]


QUANTILES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


def _success(figures: Figures) -> object:
    rate = figures.success_rate
    return cells.EMPTY if rate is None else cells.badge(f"{100 * rate:.1f} %", "good" if rate >= 0.99 else "warn" if rate >= 0.9 else "bad")


def _latency(figures: Figures, q: float) -> object:
    return cells.number(figures.latency(q), "ms")


def _cost(figures: Figures) -> object:
    """Nothing, where no run's cost is known: that is not free."""
    return cells.money(figures.cost_micros if figures.cost_count else None)


def _score(figures: Figures) -> object:
    return cells.points(None if figures.score is None else round(figures.score * 100))


def _row(asked: Asked, names: dict[str, str | None] | None, each: Series) -> list[object]:
    total = each.total
    return [
        _group(asked, names),
        cells.number(total.runs),
        _success(total),
        cells.tokens(total.tokens_in),
        cells.tokens(total.tokens_out),
        _cost(total),
        *(_latency(total, q) for _, q in QUANTILES),
        _score(total),
    ]


def _group(asked: Asked, names: dict[str, str | None] | None) -> object:
    """The group by its name, leading to its own figures where it can be narrowed to."""
    if names is None:
        return "all others"
    text = " ".join(f"v{value}" if name == "pack_version" else value for name, value in names.items() if value is not None)
    known = {name: value for name, value in names.items() if value is not None and name in NARROWED}
    if not text:
        return "none named"
    return cells.link(asked.url(by="none", **known), text) if known else text


def _draw(found: Metrics, whole: Series) -> dict[str, Any]:
    """Bars of the runs of each step, those that failed at their foot."""
    step = timedelta(seconds=found.step)
    most = max((figures.runs for figures in whole.points.values()), default=0)
    bars = []
    for start, figures in sorted(whole.points.items()):
        runs, failed = (round(HEIGHT * count / max(most, 1), 2) for count in (figures.runs, figures.failures))
        bars.append(
            {
                "x": round((start - found.since) / step, 2),
                "runs": runs,
                "runs_y": round(HEIGHT - runs, 2),
                "failed": failed,
                "failed_y": round(HEIGHT - failed, 2),
                "said": f"{_moment(start, found.step)}: {figures.runs:,} run{'' if figures.runs == 1 else 's'}, {figures.failures:,} failed",
            }
        )
    return {
        "bars": bars,
        "width": max(1, -((found.since - found.until) // step)),
        "height": HEIGHT,
        "most": f"{most:,}",
        "step": {MINUTE: "a minute", HOUR: "an hour", DAY: "a day"}[found.step],
        "begin": _moment(found.since, found.step),
        "end": _moment(found.until, found.step),
    }


def _moment(at: datetime, step: int) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d" if step == DAY else "%Y-%m-%d %H:%M")
