"""The first page: what needs this person now. Each part is one query of a few rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Min
from django.http import HttpRequest
from django.utils import timezone

from apps.core.admin import cells
from apps.core.context import ActionContext
from apps.core.http import context_of
from apps.core.navigation import may_answer
from apps.evals.models import EvalRun
from apps.packs.models import Layer
from apps.promotions.models import Awaited, Decision, Promotion, State
from apps.promotions.waiting import waiting
from apps.telemetry.models import Run, UnscoredBatch

FEW = 8
# Beyond this nobody reads the figure; counting on would cost.
MOST = 10_000
DAY = timedelta(hours=24)
HEAVY = ("verdict", "blast", "thresholds", "challenger__content", "challenger__canonical")


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's DASHBOARD_CALLBACK."""
    ctx: ActionContext = context_of(request)
    if not ctx.roles and not ctx.groups:
        return {**context, "title": "Mission Control", "no_role": True}
    return {
        **context,
        "title": "Now",
        "subtitle": None,
        "tenant": getattr(request, "tenant", None),
        "tiles": _tiles(request, ctx),
        "tables": [
            _promotions(ctx, "Waiting for your approval", _mine(request, ctx), "Nothing waits for you."),
            _promotions(ctx, "Ready to start", _in(ctx, State.READY), "Nothing is ready."),
            _promotions(ctx, "Blocked", _in(ctx, State.BLOCKED), "Nothing is blocked."),
            _flagged(ctx),
            _running(ctx),
            _decisions(ctx),
        ],
    }


def _in(ctx: ActionContext, state: str) -> Any:
    rows = Promotion.objects.restrict(ctx).filter(state=state, tenant_id=ctx.tenant_id)
    return rows.select_related("layer__pack", "challenger", "requested_by").defer(*HEAVY).order_by("-id")


def _mine(request: HttpRequest, ctx: ActionContext) -> Any:
    """Those that this person may decide, the oldest first."""
    return _in(ctx, State.AWAITING_APPROVAL).filter(pk__in=list(waiting(request))).order_by("awaiting_since", "id")


def _table(title: str, headers: list[str], rows: list[list[Any]], empty: str, all_url: str) -> dict[str, Any]:
    return {"title": title, "headers": headers, "rows": rows[:FEW], "more": len(rows) > FEW, "empty": empty, "all_url": all_url}


def _promotions(ctx: ActionContext, title: str, found: Any, empty: str) -> dict[str, Any]:
    rows = [
        [
            cells.link_to(row),
            cells.badge(row.risk_level) if row.risk_level else cells.EMPTY,
            row.requested_by or "",
            cells.moment(row.created_at),
        ]
        for row in found[: FEW + 1]
    ]
    state = {"Ready to start": State.READY, "Blocked": State.BLOCKED}.get(title)
    url = cells.list_url(Promotion, state__exact=state) if state else cells.list_url(Awaited)
    return _table(title, ["Promotion", "Risk", "Requested by", "Requested"], rows, empty, url)


def _flagged(ctx: ActionContext) -> dict[str, Any]:
    found = (
        Layer.objects.restrict(ctx).filter(tenant_id=ctx.tenant_id, flagged_at__isnull=False).select_related("pack").order_by("-flagged_at")
    )
    rows = [[cells.link_to(layer), cells.badge("flagged"), cells.moment(layer.flagged_at)] for layer in found[: FEW + 1]]
    empty = "Resolve leaves no layer out."
    return _table("Layers that resolve had to leave out", ["Layer", "Flag", "Since"], rows, empty, cells.list_url(Layer, flagged_at="yes"))


def _running(ctx: ActionContext) -> dict[str, Any]:
    found = EvalRun.objects.restrict(ctx).open().filter(tenant_id=ctx.tenant_id).select_related("version", "eval_set", "layer__pack")
    found = found.defer("version__content", "version__canonical", "rubric").order_by("-id")
    rows = [[cells.link_to(run), cells.link_to(run.layer), cells.bar(run.done, run.total, str(run))] for run in found[: FEW + 1]]
    return _table(
        "Evaluations in progress", ["Run", "Layer", "Answered"], rows, "None is running.", cells.list_url(EvalRun, state__exact="running")
    )


def _decisions(ctx: ActionContext) -> dict[str, Any]:
    found = Decision.objects.restrict(ctx).filter(tenant_id=ctx.tenant_id).select_related("layer__pack").defer("verdict").order_by("-id")
    rows = [
        [cells.link_to(row, str(row.layer)), cells.badge(row.decision), row.actor_label, cells.moment(row.created_at)]
        for row in found[: FEW + 1]
    ]
    return _table("Decided last", ["Layer", "Decision", "By", "When"], rows, "Nothing has been decided yet.", cells.list_url(Decision))


def _tiles(request: HttpRequest, ctx: ActionContext) -> list[dict[str, Any]]:
    now = timezone.now()
    runs = Run.objects.restrict(ctx).filter(created_at__gte=now - DAY)[: MOST + 1].count()
    unscored = UnscoredBatch.objects.restrict(ctx).aggregate(since=Min("created_at"))["since"]
    lag = int((now - unscored).total_seconds()) if unscored else 0
    mine = {"figure": len(waiting(request)), "label": "approvals waiting for you", "url": cells.list_url(Awaited)}
    return [
        *([mine] if may_answer(request) else []),
        {"figure": f"{MOST:,}+" if runs > MOST else f"{runs:,}", "label": "runs in 24 hours", "url": cells.list_url(Run)},
        {"figure": f"{lag:,} s", "label": "score lag", "url": ""},
        {
            "figure": _in(ctx, State.COLLECTING).count(),
            "label": "promotions collecting evidence",
            "url": cells.list_url(Promotion, state__exact="collecting"),
        },
        {
            "figure": _in(ctx, State.AWAITING_APPROVAL).count(),
            "label": "promotions awaiting approval",
            "url": cells.list_url(Promotion, state__exact="awaiting_approval"),
        },
    ]
