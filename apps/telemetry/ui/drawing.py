"""A tree of tasks as lists in lists: what the template writes out, row by row."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.urls import reverse
from django.utils.html import format_html

from apps.core.admin import cells
from apps.telemetry.domain.tree import DONE_WORDS, FAILED_WORDS, OPEN_WORDS, Node, Oddity, State

# More is no picture any longer: narrow it, or read the lists.
DRAWN = 300

_TONES = {State.OPEN: "wait", State.DONE: "good", State.FAILED: "bad", State.UNKNOWN: "plain"}
# Words that say no more than the state does.
_SAID = {State.OPEN: OPEN_WORDS, State.DONE: DONE_WORDS, State.FAILED: FAILED_WORDS}
_ODD = {
    Oddity.MISSING_PARENT: "the task that it names as its parent was never reported",
    Oddity.CYCLE: "the tasks that it belongs to name each other as parents",
    Oddity.PARENTS_DIFFER: "its reports name different parents; the first counts",
    Oddity.REPEATED: "ran more than once; the last run counts",
}


@dataclass(slots=True)
class Row:
    """A task; `closes` counts the lists that end behind it."""

    key: str
    node: Node
    matches: bool
    has_rows_below: bool = False
    closes: list[None] = field(default_factory=list)
    badges: list[object] = field(default_factory=list)
    name: str = ""
    about: list[str] = field(default_factory=list)
    figures: list[object] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)
    runs: list[object] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Drawing:
    """`left_out`: so many tasks that match are not drawn."""

    rows: list[Row]
    matching: int
    left_out: int


def draw(nodes: Sequence[Node], *, tier: str, state: str, now: datetime) -> Drawing:
    """The tasks that match, each below its parents, which are drawn though they may not match."""
    by_id = {node.id: node for node in nodes}
    matching = [node for node in nodes if (not tier or node.latest("tier") == tier) and (not state or node.state == state)]
    wanted: set[str] = set()
    drawn = 0
    for node in matching:
        path = _path(node, by_id, wanted)
        if len(wanted) + len(path) > DRAWN:
            break
        wanted.update(path)
        drawn += 1
    matches = {node.id for node in matching}
    rows = [_row(node, node.id in matches, now) for node in nodes if node.id in wanted]
    for index, row in enumerate(rows):
        below = rows[index + 1].node.depth if index + 1 < len(rows) else 0
        row.has_rows_below = below > row.node.depth
        row.closes = [None] * max(row.node.depth - below, 0)
    return Drawing(rows, len(matching), len(matching) - drawn)


def _path(node: Node, by_id: dict[str, Node], known: set[str]) -> list[str]:
    """The task and those above it that are not drawn yet."""
    found = []
    here: str | None = node.id
    while here is not None and here not in known:
        found.append(here)
        here = by_id[here].parent
    return found


def _row(node: Node, matches: bool, now: datetime) -> Row:
    totals, own = node.totals, node.own
    label = node.latest("label")
    badges: list[object] = [cells.badge(node.state, _TONES[node.state])]
    if node.laggard and totals.last_at is not None:
        badges.append(cells.badge(f"silent for {span(now - totals.last_at)}", "warn"))
    if not node.reported:
        badges.append(cells.badge("not reported itself", "off"))
    status = node.latest("status")
    said = [node.latest("tier"), node.latest("agent"), node.latest("actor"), node.latest("model")]
    said += [f"says “{status}”"] if status and status.lower() not in _SAID.get(node.state, ()) else []
    below = f", {totals.tasks - 1:,} below" if totals.tasks > 1 else ""
    figures: list[object] = [
        format_html("{} in, {} out", cells.tokens(totals.tokens_in), cells.tokens(totals.tokens_out)),
        cells.money(totals.cost_micros),
        span(timedelta(milliseconds=totals.latency_ms)),
        f"{own.runs:,} run{'' if own.runs == 1 else 's'}, {own.events:,} event{'' if own.events == 1 else 's'}{below}",
    ]
    return Row(
        key=hashlib.sha256(node.id.encode()).hexdigest()[:12],
        node=node,
        matches=matches,
        badges=badges,
        name=label or node.id,
        about=[each for each in said if each],
        figures=figures,
        oddities=[_ODD[oddity] for oddity in node.oddities],
        runs=[cells.link(reverse("admin:telemetry_run_change", args=[UUID(step.key)]), step.run_id) for step in node.runs[-3:]],
    )


def span(length: timedelta) -> str:
    """A length of time in its two largest units."""
    milliseconds = int(length / timedelta(milliseconds=1))
    if milliseconds < 1_000:
        return f"{max(milliseconds, 0)} ms"
    seconds = milliseconds // 1_000
    if seconds < 60:
        return f"{milliseconds / 1_000:.1f} s"
    for unit, name, smaller, less in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= unit:
            rest = seconds % unit // smaller
            return f"{seconds // unit:,} {name} {rest} {less}" if rest else f"{seconds // unit:,} {name}"
    raise AssertionError("a minute is the smallest unit here")
