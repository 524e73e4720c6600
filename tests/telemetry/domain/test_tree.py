"""An orchestration's tree: whatever was reported, one tree that holds everything once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apps.telemetry.domain.tree import Node, Oddity, State, Step, layout

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(hours=1)
LAG = timedelta(minutes=5)


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def run(task: str | None, minute: float = 0, **fields: Any) -> Step:
    key = f"run-{task}-{minute}"
    return Step(**{"key": key, "kind": "run", "run_id": key, "task_id": task, "at": at(minute), **fields})


def event(task: str | None, minute: float = 0, **fields: Any) -> Step:
    return Step(**{"key": f"event-{task}-{minute}", "kind": "event", "task_id": task, "at": at(minute), **fields})


def drawn(*steps: Step) -> dict[str, Node]:
    return {node.id: node for node in layout("root", steps, now=NOW, laggard_after=LAG)}


def lines(*steps: Step) -> list[str]:
    return ["  " * node.depth + node.id for node in layout("root", steps, now=NOW, laggard_after=LAG)]


def test_children_hang_from_the_parent_they_name_in_the_order_they_began() -> None:
    assert lines(
        run("b", 2, parent="root"), run("root", 0), run("a", 1, parent="root"), run("a2", 4, parent="a"), run("a1", 3, parent="a")
    ) == ["root", "  a", "    a1", "    a2", "  b"]


def test_a_parent_may_be_named_by_its_run() -> None:
    found = drawn(run("root"), run("a", 1, run_id="r-a"), run("b", 2, parent="r-a"))
    assert (found["b"].parent, found["b"].oddities) == ("a", [])


def test_without_a_parents_name_the_tier_and_the_time_decide() -> None:
    assert lines(
        run("root", 0, tier="T1"),
        run("plan", 1, tier="T2"),
        run("search", 2, tier="T3"),
        run("write", 3, tier="T2"),
        run("cite", 4, tier="T3"),
        run("early", 0.5, tier="T3"),
        run("loose", 5),
    ) == ["root", "  early", "  plan", "    search", "  write", "    cite", "  loose"]
    assert drawn(run("root", tier="T1"), run("plan", 1, tier="T2"))["plan"].inferred


def test_a_missing_parent_and_a_circle_hang_from_the_root_and_say_so() -> None:
    found = drawn(run("a", 1, parent="gone"), run("b", 3, parent="c"), run("c", 2, parent="b"), run("d", 4, parent="d"))
    assert {name: (node.parent, node.oddities) for name, node in found.items()} == {
        "root": (None, []),
        "a": ("root", [Oddity.MISSING_PARENT]),
        "c": ("root", [Oddity.CYCLE]),
        "b": ("c", []),
        "d": ("root", [Oddity.CYCLE]),
    }
    assert not found["root"].reported


def test_a_task_reported_again_is_one_node_and_its_last_run_counts() -> None:
    node = drawn(run("a", 1, success=False), run("a", 2, success=True, parent="x"), run("x", 0), event("a", 3, parent="root"))["a"]
    assert (node.state, node.own.runs, node.own.events) == (State.DONE, 2, 1)
    assert (node.parent, node.oddities) == ("x", [Oddity.REPEATED, Oddity.PARENTS_DIFFER])


def test_totals_are_of_the_subtree_and_count_no_token_twice() -> None:
    found = drawn(
        run("root", 0, tokens_in=10, cost_micros=5, latency_ms=100),
        run("a", 1, parent="root", run_id="r-a", tokens_in=7, tokens_out=3, cost_micros=2),
        # Of a run that is there: its run has counted them.
        event("a", 2, run_id="r-a", tokens_in=7),
        event("other", 2, run_id="r-a", tokens_in=1000),
        # Nothing else stands for these.
        event("b", 3, parent="a", tokens_out=4, latency_ms=50),
    )
    assert found["b"].totals.tokens_out == 4
    a, whole = found["a"].totals, found["root"].totals
    assert (a.tokens_in, a.tokens_out, a.cost_micros, a.tasks, a.events) == (7, 7, 2, 2, 2)
    assert (whole.tokens_in, whole.tokens_out, whole.cost_micros, whole.latency_ms, whole.tasks) == (17, 7, 7, 150, 4)


def test_open_tasks_of_which_nothing_is_heard_are_laggards() -> None:
    found = drawn(
        run("root", 0, final=False),
        run("silent", 10, final=False, parent="root"),
        run("lively", 10, final=False, parent="root"),
        event("lively", 58),
        event("waits", 59, status="running", parent="root"),
        event("broke", 59, status="Failed", parent="root"),
        run("done", 1, parent="root"),
        run("failed", 1, status="error", parent="root"),
    )
    assert {name for name, node in found.items() if node.laggard} == {"silent"}
    assert {name: str(found[name].state) for name in ("waits", "broke", "done", "failed")} == {
        "waits": "open", "broke": "failed", "done": "done", "failed": "failed",
    }  # fmt: skip
    totals = found["root"].totals
    assert (totals.open, totals.failed, totals.laggards) == (4, 2, 1)


def test_a_chain_as_long_as_allowed_is_no_recursion() -> None:
    found = layout("0", [run(f"{n}", n, parent=f"{n - 1}") for n in range(1, 5000)], now=NOW, laggard_after=LAG)
    assert (found[-1].id, found[-1].depth, found[0].totals.tasks) == ("4999", 4999, 5000)


NAMES = st.sampled_from([None, "root", "a", "b", "c", "d", "gone", "r-1", "r-2"])
STEPS = st.lists(
    st.builds(
        Step,
        key=st.uuids().map(str),
        kind=st.sampled_from(["run", "event"]),
        at=st.integers(0, 50).map(at),
        run_id=st.sampled_from([None, "r-1", "r-2", "r-3"]),
        task_id=NAMES,
        parent=NAMES,
        tier=st.sampled_from([None, "T1", "T2", "T3"]),
        status=st.sampled_from([None, "running", "failed", "nonsense"]),
        final=st.booleans(),
        success=st.sampled_from([None, True, False]),
        tokens_in=st.none() | st.integers(0, 100),
    ),
    max_size=25,
    unique_by=lambda step: step.key,
)


@given(STEPS, st.randoms(use_true_random=False))
def test_whatever_was_reported_is_one_tree_that_holds_it_once(steps: list[Step], random: Random) -> None:
    nodes = layout("root", steps, now=NOW, laggard_after=LAG)
    assert nodes[0].id == "root" and nodes[0].parent is None
    assert sorted(step.key for node in nodes for step in node.steps) == sorted(step.key for step in steps)
    before: dict[str, Node] = {}
    for node in nodes:
        assert node.id not in before
        if node.parent is not None:
            parent = before[node.parent]
            assert node.depth == parent.depth + 1 and node.id in parent.children
        before[node.id] = node
    assert sum(len(node.children) for node in nodes) == len(nodes) - 1
    whole = nodes[0].totals
    for name in ("tasks", "runs", "events", "open", "failed", "laggards", "tokens_in"):
        assert getattr(whole, name) == sum(getattr(node.own, name) for node in nodes)
    assert whole.tasks == len(nodes)
    shuffled = random.sample(steps, len(steps))
    assert layout("root", shuffled, now=NOW, laggard_after=LAG) == nodes
