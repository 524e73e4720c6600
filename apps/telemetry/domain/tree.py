"""An orchestration as a tree of tasks, made of the runs and events that were reported for its root task.

A node is a task: all runs and events with its `task_id` (a run that names none is a task of its own, by its `run_id`; an event that names none
belongs with its run, else with the root). Its parent is the one that it names, a task's id or a run's; where it names none, the latest task of
the tier above that had begun before it, else the root. Whatever is reported, the result is one tree: a parent that is not there, and the
oldest task of a circle, hang from the root, and say so.

A node's own figures are its runs'; an event's count only where no run stands for them, since a run has the sum of its events.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal


class State(StrEnum):
    """How far a task is. `unknown`: it has no run yet, and its events say nothing."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Oddity(StrEnum):
    """What is wrong with what was reported of a task's place."""

    MISSING_PARENT = "missing_parent"
    CYCLE = "cycle"
    PARENTS_DIFFER = "parents_differ"
    REPEATED = "repeated"


# What harnesses call their states.
OPEN_WORDS = frozenset({"open", "running", "started", "pending", "queued", "in_progress", "waiting", "paused"})
FAILED_WORDS = frozenset({"failed", "failure", "error", "aborted", "cancelled", "canceled", "timeout", "timed_out"})
DONE_WORDS = frozenset({"completed", "complete", "done", "finished", "ok", "success", "succeeded", "stopped"})
_ABOVE: Mapping[str, tuple[str, ...]] = {"T2": ("T1",), "T3": ("T2", "T1")}


@dataclass(frozen=True, slots=True)
class Step:
    """A run or an event, as far as the tree needs it. `key` is unique and settles equal times; `run_id` of an event names its run."""

    key: str
    kind: Literal["run", "event"]
    at: datetime
    run_id: str | None = None
    task_id: str | None = None
    parent: str | None = None
    tier: str | None = None
    status: str | None = None
    final: bool = True
    success: bool | None = None
    actor: str | None = None
    agent: str | None = None
    model: str | None = None
    label: str | None = None
    ended_at: datetime | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_micros: int | None = None
    latency_ms: int | None = None


@dataclass(slots=True)
class Totals:
    """Over a task and all below it. Tokens, micro-dollars, milliseconds of work (not of the clock: tasks run side by side)."""

    tasks: int = 0
    runs: int = 0
    events: int = 0
    open: int = 0
    failed: int = 0
    laggards: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_micros: int = 0
    latency_ms: int = 0
    last_at: datetime | None = None

    def add(self, other: Totals) -> None:
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.last_at = max(filter(None, (self.last_at, other.last_at)), default=None)


_SUMS = ("tasks", "runs", "events", "open", "failed", "laggards", "tokens_in", "tokens_out", "cost_micros", "latency_ms")


@dataclass(slots=True)
class Node:
    """A task in its place. `reported` is False for a root of which nothing but others' word is known; `inferred` where nothing named its
    parent; `laggard`: open, and nothing was heard of it or below it for too long."""

    id: str
    parent: str | None
    depth: int = 0
    children: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    state: State = State.UNKNOWN
    laggard: bool = False
    inferred: bool = False
    oddities: list[Oddity] = field(default_factory=list)
    own: Totals = field(default_factory=Totals)
    totals: Totals = field(default_factory=Totals)

    @property
    def runs(self) -> list[Step]:
        return [step for step in self.steps if step.kind == "run"]

    @property
    def reported(self) -> bool:
        return bool(self.steps)

    @property
    def began_at(self) -> datetime | None:
        return min((step.at for step in self.steps), default=None)

    def latest(self, name: str) -> str | None:
        """The last word on it: of a run before that of an event."""
        for step in (*reversed(self.runs), *reversed(self.steps)):
            value: str | None = getattr(step, name)
            if value is not None:
                return value
        return None


def layout(root: str, steps: Iterable[Step], *, now: datetime, laggard_after: timedelta) -> list[Node]:
    """All nodes, each before its children (by the time they began); the first is the root. The order of `steps` does not matter."""
    ordered = sorted(steps, key=lambda step: (step.at, step.key))
    nodes, of_run = _gather(root, ordered)
    _place(root, nodes, of_run)
    _break_cycles(root, nodes)
    in_order = _walk(root, nodes)
    _sum_up(in_order, nodes, now - laggard_after)
    return in_order


def _gather(root: str, ordered: Sequence[Step]) -> tuple[dict[str, Node], dict[str, str]]:
    """Tasks with their steps; and the task of each run, by the run's id."""
    nodes = {root: Node(root, None)}
    of_run: dict[str, str] = {}
    for step in ordered:
        if step.kind == "run":
            task = step.task_id or step.run_id or root
            of_run[step.run_id or step.key] = task
            nodes.setdefault(task, Node(task, root)).steps.append(step)
    for step in ordered:
        if step.kind == "event":
            task = step.task_id or of_run.get(step.run_id or "", root)
            nodes.setdefault(task, Node(task, root)).steps.append(step)
    for node in nodes.values():
        node.steps.sort(key=lambda step: (step.at, step.key))
        if len(node.runs) > 1:
            node.oddities.append(Oddity.REPEATED)
        _count(node, of_run)
    return nodes, of_run


def _count(node: Node, of_run: Mapping[str, str]) -> None:
    runs = node.runs
    own = node.own
    own.tasks, own.runs, own.events = 1, len(runs), len(node.steps) - len(runs)
    for step in node.steps:
        own.last_at = max(filter(None, (own.last_at, step.at, step.ended_at)))
        if step.kind == "run" or (not runs and step.run_id not in of_run):
            own.tokens_in += step.tokens_in or 0
            own.tokens_out += step.tokens_out or 0
            own.cost_micros += step.cost_micros or 0
            own.latency_ms += step.latency_ms or 0
    node.state = _state(node, runs)
    own.open, own.failed = int(node.state is State.OPEN), int(node.state is State.FAILED)


def _state(node: Node, runs: Sequence[Step]) -> State:
    if runs:
        last = runs[-1]
        if not last.final:
            return State.OPEN
        failed = last.success is False or (last.success is None and (last.status or "").lower() in FAILED_WORDS)
        return State.FAILED if failed else State.DONE
    for step in reversed(node.steps):
        word = (step.status or "").lower()
        for state, words in ((State.OPEN, OPEN_WORDS), (State.FAILED, FAILED_WORDS), (State.DONE, DONE_WORDS)):
            if word in words:
                return state
    return State.UNKNOWN


def _place(root: str, nodes: dict[str, Node], of_run: Mapping[str, str]) -> None:
    """Gives each node its parent; circles are still possible."""
    begun = _begun_by_tier(nodes)
    for node in nodes.values():
        if node.id == root:
            continue
        named = [step.parent for step in (*node.runs, *node.steps) if step.parent]
        if not named:
            node.inferred = True
            node.parent = _above(node, begun, root)
            continue
        parent = named[0] if named[0] in nodes else of_run.get(named[0])
        if len(set(named)) > 1:
            node.oddities.append(Oddity.PARENTS_DIFFER)
        if parent is None:
            node.oddities.append(Oddity.MISSING_PARENT)
        node.parent = root if parent is None else parent


def _begun_by_tier(nodes: Mapping[str, Node]) -> dict[str, tuple[list[datetime], list[str]]]:
    """For each tier its tasks in the order in which they began."""
    found: dict[str, list[tuple[datetime, str]]] = {}
    for node in nodes.values():
        tier, began = node.latest("tier"), node.began_at
        if tier and began is not None:
            found.setdefault(tier, []).append((began, node.id))
    return {tier: ([at for at, _ in sorted(rows)], [name for _, name in sorted(rows)]) for tier, rows in found.items()}


def _above(node: Node, begun: Mapping[str, tuple[list[datetime], list[str]]], root: str) -> str:
    began = node.began_at
    for tier in _ABOVE.get(node.latest("tier") or "", ()):
        times, names = begun.get(tier, ([], []))
        index = bisect_right(times, began) if began is not None else 0
        if index:
            return names[index - 1]
    return root


def _break_cycles(root: str, nodes: dict[str, Node]) -> None:
    """Each circle of parents is opened at the task that began first."""
    safe = {root}
    for start in nodes:
        path: list[str] = []
        seen: dict[str, int] = {}
        here: str | None = start
        while here is not None and here not in safe and here not in seen:
            seen[here] = len(path)
            path.append(here)
            here = nodes[here].parent
        if here is not None and here in seen:
            circle = path[seen[here] :]
            first = min((nodes[name] for name in circle), key=lambda node: (node.began_at is None, node.began_at, node.id))
            first.parent = root
            first.oddities.append(Oddity.CYCLE)
        safe.update(path)


def _walk(root: str, nodes: dict[str, Node]) -> list[Node]:
    """Depth first, without recursion: a chain may be as long as there are nodes."""
    children: dict[str, list[Node]] = {}
    for node in nodes.values():
        if node.parent is not None:
            children.setdefault(node.parent, []).append(node)
    found: list[Node] = []
    waiting = [nodes[root]]
    while waiting:
        node = waiting.pop()
        found.append(node)
        below = sorted(children.get(node.id, ()), key=lambda each: (each.began_at is None, each.began_at, each.id))
        node.children = [each.id for each in below]
        for each in reversed(below):
            each.depth = node.depth + 1
            waiting.append(each)
    return found


def _sum_up(in_order: Sequence[Node], nodes: Mapping[str, Node], silent_since: datetime) -> None:
    for node in reversed(in_order):
        node.totals.add(node.own)
        last = node.totals.last_at
        if node.state is State.OPEN and last is not None and last < silent_since:
            node.laggard = True
            node.own.laggards = 1
            node.totals.laggards += 1
        if node.parent is not None:
            nodes[node.parent].totals.add(node.totals)
