"""What a whole trace tells of its runs and steps: whose step each is, how deep each run stands, what its calls add up to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from apps.telemetry.domain.items import MAX_INT, RunItem
from apps.telemetry.domain.otlp.names import CALLS
from apps.telemetry.domain.otlp.tree import Node, Place, places

COUNTS = ("tokens_in", "tokens_out", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True)
class Step:
    """A stored event of a span. `counts` are its tokens in the order of COUNTS."""

    event_id: str
    parent: str | None
    run_id: str | None
    tier: str | None
    action: str
    provider: str | None
    model_id: str | None
    counts: tuple[int | None, ...]
    cost_micros: int | None
    mcp_server: str | None
    # Whether its cost is computed by the price table.
    priced: bool = False

    @property
    def is_run(self) -> bool:
        return self.run_id == self.event_id

    @property
    def above(self) -> str | None:
        """The id of the event of the parent's span."""
        return f"{self.event_id[:33]}{self.parent}" if self.parent else None

    @property
    def is_call(self) -> bool:
        return self.action in CALLS and any(count is not None for count in self.counts[:2])


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A stored run that is not final, and which tokens and cost it reported itself."""

    run_id: str
    started_at: datetime
    tier: str | None
    counts: tuple[int | None, ...]
    cost_micros: int | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """`placed`: the run and the tier that an event lacked, None for what it had or nobody knows; `closed`: what completes each run;
    `priced`: those of them whose cost is the sum of calls of which one at least was priced here; `waiting`: runs whose top is not known."""

    placed: dict[str, tuple[str | None, str | None]]
    closed: list[RunItem]
    priced: set[str]
    waiting: list[str]


def settle(steps: Sequence[Step], runs: Iterable[OpenRun], *, last: bool = False) -> Settlement:
    """With `last`, a parent that has not come is taken for one that is not stored (the HTTP request around an agent), and so for the top.

    A run that reports tokens of its own keeps them. Else they are the sum over its calls, each counted once: a call inside a call is the
    same call seen by two libraries.
    """
    by_id = {step.event_id: step for step in steps}
    at = places({key: Node(step.above, step.run_id if step.is_run else None) for key, step in by_id.items()}, by_id, whole=last)
    placed: dict[str, tuple[str | None, str | None]] = {}
    inside: dict[str, list[Step]] = {}
    for key, step in by_id.items():
        place = at[key]
        run_id = step.run_id or place.run
        above = by_id.get(place.run or "")
        tier = step.tier or (above.tier if above is not None else None) or place.tier
        new = None if step.run_id else run_id, None if step.tier else tier
        if any(new):
            placed[key] = new
        if run_id is not None:
            inside.setdefault(run_id, []).append(step)
    closed: list[RunItem] = []
    priced: set[str] = set()
    waiting: list[str] = []
    for run in runs:
        place = at.get(run.run_id, Place(None, 0, last))
        if place.known or run.tier is not None:
            item, computed = _closed(run, run.tier or place.tier, inside.get(run.run_id, []), by_id)
            closed.append(item)
            if computed:
                priced.add(run.run_id)
        else:
            waiting.append(run.run_id)
    return Settlement(placed, closed, priced, waiting)


def _closed(run: OpenRun, tier: str | None, steps: list[Step], by_id: dict[str, Step]) -> tuple[RunItem, bool]:
    """What completes the run, and whether its cost is a sum in which there are costs that were computed."""
    calls = [step for step in steps if step.is_call and not step.is_run and not _in_a_call(step, by_id)]
    found: dict[str, Any] = {}
    if calls and run.counts[0] is None and run.counts[1] is None:
        for place, name in enumerate(COUNTS):
            known = [count for step in calls if (count := step.counts[place]) is not None]
            if known:
                found[name] = min(sum(known), MAX_INT)
    costs = [step.cost_micros for step in calls]
    summed = bool(costs) and None not in costs and run.cost_micros is None
    if summed:
        found["cost_usd"] = Decimal(min(sum(cost or 0 for cost in costs), MAX_INT)).scaleb(-6)
    for name in ("provider", "model_id"):
        values = {getattr(step, name) for step in calls} - {None}
        if len(values) == 1:
            found[name] = values.pop()
    servers = sorted({step.mcp_server for step in steps if step.mcp_server})
    if servers:
        found["mcp_servers"] = servers[:100]
    item = RunItem(run_id=run.run_id, started_at=run.started_at, tier=tier, **found)  # type: ignore[arg-type]
    return item, summed and any(step.priced for step in calls)


def _in_a_call(step: Step, by_id: dict[str, Step]) -> bool:
    """Whether a call above it, in the same run, counts already."""
    seen = {step.event_id}
    at = by_id.get(step.above or "")
    while at is not None and at.event_id not in seen and not at.is_run:
        if at.is_call:
            return True
        seen.add(at.event_id)
        at = by_id.get(at.above or "")
    return False
