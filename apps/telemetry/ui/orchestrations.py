"""The page of orchestrations: the latest ones, and one drawn as a tree that refreshes by itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from apps.core.admin import cells
from apps.core.admin.filters import SPANS
from apps.core.context import ActionContext
from apps.core.errors import Problem
from apps.core.http import context_of
from apps.telemetry.domain.tree import State
from apps.telemetry.models import Event, Run, Tier
from apps.telemetry.selectors.snapshot import Position, Root, recent_roots, snapshot
from apps.telemetry.ui.drawing import draw, span

REFRESH_S = 5
PAGE = 25
DEFAULT_SPAN = "24h"


@require_safe
@login_required
def orchestrations_view(request: HttpRequest) -> HttpResponse:
    """`?root=`: its tree (`tier` and `state` narrow it, `still` stops the refreshing); else the latest roots (`within`, `after`). What a page
    refreshes by itself it asks for with HX-Request, and gets that part alone."""
    ctx = context_of(request)
    root = request.GET.get("root", "").strip()
    try:
        page, template = (_tree(ctx, request, root), "tree") if root else (_roots(ctx, request), "roots")
        status = 200
    except Problem as error:
        page, template, status = {"refusal": error.detail, **_roots(ctx, request)}, "roots", error.status
    if template == "tree" and request.headers.get("HX-Request") == "true":
        return TemplateResponse(request, "telemetry/tree_part.html", page)
    context = {**admin.site.each_context(request), "title": "Orchestrations", "subtitle": root if template == "tree" else None, **page}
    return TemplateResponse(request, f"telemetry/{template}.html", context, status=status)


def _url(**query: str) -> str:
    return reverse("orchestrations", query={name: value for name, value in query.items() if value})


def _tree(ctx: ActionContext, request: HttpRequest, root: str) -> dict[str, Any]:
    found = snapshot(ctx, root)
    tier, state = request.GET.get("tier", ""), request.GET.get("state", "")
    states = [str(each) for each in State]
    tier, state = tier if tier in Tier.values else "", state if state in states else ""
    still = "still" in request.GET
    whole = found.nodes[0].totals
    asked = {"root": root, "tier": tier, "state": state}
    moving = whole.open > 0
    return {
        "root": root,
        "asked": asked,
        "tiers": Tier.values,
        "states": states,
        "drawing": draw(found.nodes, tier=tier, state=state, now=found.at),
        "facts": _facts(found.nodes[0].began_at, whole.last_at, whole),
        "open": whole.open,
        "laggards": whole.laggards,
        "truncated": found.truncated,
        "at": cells.moment(found.at),
        "moving": moving and not still,
        "pausable": moving,
        "every": REFRESH_S,
        "url": _url(**asked),
        "pause_url": _url(**asked) if still else _url(**asked, still="1"),
        "list_url": _url(),
        "runs_url": cells.list_url(Run, root_task_id=root),
        "events_url": cells.list_url(Event, root_task_id=root),
    }


def _facts(began: datetime | None, last: datetime | None, whole: Any) -> list[tuple[str, object]]:
    return [
        ("Tasks", cells.number(whole.tasks)),
        ("Open", cells.badge(f"{whole.open:,} open", "wait") if whole.open else cells.badge("none open", "good")),
        ("Failed", cells.badge(f"{whole.failed:,} failed", "bad") if whole.failed else cells.badge("none failed", "good")),
        ("Silent", cells.badge(f"{whole.laggards:,} silent", "warn") if whole.laggards else cells.badge("none silent", "good")),
        ("Tokens in", cells.tokens(whole.tokens_in)),
        ("Tokens out", cells.tokens(whole.tokens_out)),
        ("Cost", cells.money(whole.cost_micros)),
        ("Work", span(timedelta(milliseconds=whole.latency_ms))),
        ("Begun", cells.moment(began)),
        ("Last heard of", cells.moment(last)),
    ]


def _roots(ctx: ActionContext, request: HttpRequest) -> dict[str, Any]:
    chosen = request.GET.get("within", "")
    chosen = chosen if chosen in SPANS else DEFAULT_SPAN
    since = timezone.now() - SPANS[chosen][0]
    found, following = recent_roots(ctx, since=since, after=_position(request), limit=PAGE)
    after = f"{following.at.isoformat()}|{following.root}" if following else ""
    return {
        "roots": [_row(root) for root in found],
        "spans": [(_url(within=name), label, name == chosen) for name, (_, label) in SPANS.items()],
        "older_url": _url(within=chosen, after=after) if after else "",
        "first_url": _url(within=chosen) if "after" in request.GET else "",
    }


def _position(request: HttpRequest) -> Position | None:
    at, bar, root = request.GET.get("after", "").partition("|")
    try:
        moment = datetime.fromisoformat(at) if bar else None
    except ValueError:
        moment = None
    return Position(moment, root) if moment is not None and moment.tzinfo is not None else None


def _row(root: Root) -> list[object]:
    states = [cells.badge(f"{root.open:,} open", "wait") if root.open else cells.badge("ended", "good")]
    # Of runs: a task may have been tried again.
    states += [cells.badge(f"{root.failed:,} failed run{'' if root.failed == 1 else 's'}", "warn")] if root.failed else []
    return [
        cells.link(_url(root=root.root), root.root),
        cells.joined(states) if root.runs else cells.badge("no run yet", "wait"),
        cells.moment(root.last_at),
        span(root.last_at - root.began_at),
        cells.number(root.agents),
        cells.number(root.runs),
        cells.number(root.events),
        cells.tokens(root.tokens_in + root.tokens_out),
        cells.money(root.cost_micros),
    ]
