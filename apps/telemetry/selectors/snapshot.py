"""Orchestrations: one as a tree of its tasks, and the latest ones with their totals. What is read is bounded, whatever was reported."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, Max, Min, Q, QuerySet, Sum
from django.db.models.fields.json import KeyTextTransform
from django.utils import timezone

from apps.core.context import ActionContext
from apps.core.errors import problem
from apps.telemetry.domain.tree import Node, Step, layout
from apps.telemetry.models import Event, Run

# Of each kind, in one tree.
MAX_STEPS = 5_000
# Rows of each kind that a page of roots looks at, and how far back it looks by itself.
SCANNED = 5_000
WINDOW = timedelta(hours=24)
# A task is a laggard when it is open and nothing was heard of it, or of what it has begun, for so long.
LAGGARD_AFTER = timedelta(minutes=5)
# Sorts behind every root.
_LAST = "\U0010ffff"

_STEP = ("id", "task_id", "tier", "status", "actor", "model_id", "created_at", "tokens_in", "tokens_out", "cost_micros", "latency_ms")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A tree, each node before its children. `truncated`: it had more runs (the latest are left out) or events (the oldest are)."""

    root: str
    nodes: list[Node]
    truncated: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Root:
    """An orchestration by its totals; tokens and money of its runs."""

    root: str
    began_at: datetime
    last_at: datetime
    runs: int
    events: int
    agents: int
    open: int
    failed: int
    tokens_in: int
    tokens_out: int
    cost_micros: int
    latency_ms: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page of roots ends: what was last heard of is listed first, so older ones follow."""

    at: datetime
    root: str


def snapshot(ctx: ActionContext, root: str) -> Snapshot:
    """The tree of one root task. Raises Problem `not_found` where `ctx` sees nothing of it."""
    rows = Run.objects.restrict(ctx).filter(root_task_id=root)
    runs = _steps(
        rows.annotate(parent=_named("metadata")).order_by("created_at", "id"), "run_id", "final", "success", "ended_at", "task_type"
    )
    events = _steps(_events(ctx, Q(root_task_id=root)), "run_id", "action", "phase")
    # A step that names its run may leave out the root.
    ids = [row["run_id"] for row in runs[:MAX_STEPS]]
    loose = _steps(_events(ctx, Q(root_task_id=None, run_id__in=ids)), "run_id", "action", "phase") if ids else []
    if not runs and not events:
        raise problem("not_found", "There is no such orchestration.")
    found = sorted([*events, *loose], key=lambda row: (row["created_at"], row["id"]), reverse=True)
    steps = [*(_run(row) for row in runs[:MAX_STEPS]), *(_event(row) for row in found[:MAX_STEPS])]
    now = timezone.now()
    nodes = layout(root, steps, now=now, laggard_after=LAGGARD_AFTER)
    return Snapshot(root, nodes, len(runs) > MAX_STEPS or len(found) > MAX_STEPS, now)


def _events(ctx: ActionContext, of: Q) -> QuerySet[Any]:
    return Event.objects.restrict(ctx).filter(of).annotate(parent=_named("payload")).order_by("-created_at", "-id")


def _named(column: str) -> KeyTextTransform:
    """The parent that a harness names; the rest of the JSON is not read."""
    return KeyTextTransform("parent_task_id", column)


def _steps(rows: QuerySet[Any], *more: str) -> list[dict[str, Any]]:
    return list(rows.values(*_STEP, "parent", *more, of_agent=F("agent__slug"))[: MAX_STEPS + 1])


def _common(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "key": str(row["id"]),
        "at": row["created_at"],
        "agent": row["of_agent"],
        "model": row["model_id"],
        "parent": row["parent"] or None,
        **{
            name: row[name]
            for name in ("run_id", "task_id", "tier", "status", "actor", "tokens_in", "tokens_out", "cost_micros", "latency_ms")
        },
    }


def _run(row: dict[str, Any]) -> Step:
    return Step(kind="run", final=row["final"], success=row["success"], ended_at=row["ended_at"], label=row["task_type"], **_common(row))


def _event(row: dict[str, Any]) -> Step:
    return Step(kind="event", **{**_common(row), "status": row["status"] or row["phase"], "label": row["action"]})


def recent_roots(
    ctx: ActionContext, *, since: datetime | None = None, until: datetime | None = None, after: Position | None = None, limit: int = 50
) -> tuple[list[Root], Position | None]:
    """Root tasks of which something was reported in the window (24 hours by default), the one last heard of first; and where the next page
    begins, None at the end. A page may hold fewer than `limit`: it looks at a bounded number of rows, and each root is on the page of its
    latest one."""
    until = until or timezone.now() + timedelta(days=1)
    since = since or (min(until, timezone.now()) - WINDOW)
    top = min(until, after.at) if after else until
    latest: dict[str, datetime] = {}
    floor, more = since, False
    for model in (Run, Event):
        rows = model.objects.restrict(ctx).filter(created_at__gte=since, created_at__lte=top).order_by("-created_at", "-id")
        scanned = list(rows.values_list("root_task_id", "created_at")[:SCANNED])
        if len(scanned) == SCANNED:
            # Below this, rows of this kind were not looked at.
            floor, more = max(floor, scanned[-1][1]), True
        for root, at in scanned:
            if root is not None:
                latest[root] = max(at, latest.get(root, at))
    # Of rows as old as the oldest that was looked at there may be more.
    order = sorted(((at, root) for root, at in latest.items() if (at > floor or not more) and at < until), reverse=True)
    if after is not None:
        order = [each for each in order if each < (after.at, after.root)]
    looked_at = order[: limit * 2]
    found = [
        root
        for root in _totals(ctx, [root for _, root in looked_at])
        # Who was heard of later stands on an earlier page.
        if until > root.last_at and (after is None or (root.last_at, root.root) < (after.at, after.root))
    ]
    found.sort(key=lambda root: (root.last_at, root.root), reverse=True)
    page = found[:limit]
    if len(found) > limit:
        return page, Position(page[-1].last_at, page[-1].root)
    if len(order) > len(looked_at):
        return page, Position(*looked_at[-1])
    if not more:
        return page, None
    stuck = after is not None and (after.at, after.root) == (floor, _LAST)
    return page, Position(floor - timedelta(microseconds=stuck), _LAST)


def _totals(ctx: ActionContext, roots: Collection[str]) -> Iterable[Root]:
    runs = Run.objects.restrict(ctx).filter(root_task_id__in=roots).order_by().values("root_task_id")
    by_runs = runs.annotate(
        began=Min("created_at"),
        last=Max("created_at"),
        runs=Count("id"),
        agents=Count("agent_id", distinct=True),
        open=Count("id", filter=Q(final=False)),
        failed=Count("id", filter=Q(success=False)),
        spent_in=Sum("tokens_in"),
        spent_out=Sum("tokens_out"),
        cost=Sum("cost_micros"),
        worked=Sum("latency_ms"),
    )
    events = Event.objects.restrict(ctx).filter(root_task_id__in=roots).order_by().values("root_task_id")
    by_events = events.annotate(began=Min("created_at"), last=Max("created_at"), events=Count("id"))
    sums: dict[str, dict[str, Any]] = {row["root_task_id"]: row for row in by_runs}
    seen: dict[str, dict[str, Any]] = {row["root_task_id"]: row for row in by_events}
    for root in roots:
        run, event = sums.get(root, {}), seen.get(root, {})
        both = [each for each in (run, event) if each]
        if both:
            yield Root(
                root=root,
                began_at=min(each["began"] for each in both),
                last_at=max(each["last"] for each in both),
                events=event.get("events", 0),
                tokens_in=run.get("spent_in") or 0,
                tokens_out=run.get("spent_out") or 0,
                cost_micros=run.get("cost") or 0,
                latency_ms=run.get("worked") or 0,
                **{name: run.get(name) or 0 for name in ("runs", "agents", "open", "failed")},
            )
