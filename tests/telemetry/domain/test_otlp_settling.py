"""Laws of a trace's tree, over generated trees."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from apps.telemetry.domain.otlp.settling import OpenRun, Step, settle
from apps.telemetry.domain.otlp.tree import Node, places

AT = datetime(2027, 1, 1, tzinfo=UTC)
# For each span after the first: the place of its parent before it, whether it is a run, and a call's tokens.
TREES = st.lists(st.tuples(st.integers(0, 10**6), st.booleans(), st.integers(0, 1000)), max_size=25)


def key(number: int) -> str:
    return f"{'a' * 32}-{number:016x}"


def trace_of(tree: list[tuple[int, bool, int]]) -> list[Step]:
    """The first span is a run at the top."""
    steps = [Step(key(0), None, key(0), None, "agent.run", None, None, (None,) * 5, None, None)]
    for number, (at, is_run, tokens) in enumerate(tree, 1):
        parent = f"{at % number:016x}"
        action, own = ("agent.run", key(number)) if is_run else ("llm.call" if tokens else "step", None)
        counts = (tokens, 0, None, None, None) if action == "llm.call" else (None,) * 5
        steps.append(Step(key(number), parent, own, None, action, None, None, counts, tokens, None))
    return steps


@given(TREES, st.randoms())
def test_every_call_counts_for_one_run_and_the_order_does_not_matter(tree: list[tuple[int, bool, int]], chance: object) -> None:
    steps = trace_of(tree)
    runs = [OpenRun(step.event_id, AT, None, (None,) * 5) for step in steps if step.is_run]
    found = settle(steps, runs)
    assert {item.run_id for item in found.closed} == {run.run_id for run in runs} and not found.waiting
    by_id = {step.event_id: step for step in steps}

    def inside_a_call(step: Step) -> bool:
        above = by_id.get(step.above or "")
        return above is not None and not above.is_run and (above.is_call or inside_a_call(above))

    counted = sum(step.counts[0] or 0 for step in steps if step.is_call and not inside_a_call(step))
    assert sum(item.tokens_in or 0 for item in found.closed) == counted
    assert sum(item.cost_micros or 0 for item in found.closed) == counted
    shuffled = list(steps)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    again = settle(shuffled, runs)
    assert (again.closed, again.placed) == (found.closed, found.placed)


@given(TREES)
def test_a_run_is_one_deeper_than_the_one_around_it(tree: list[tuple[int, bool, int]]) -> None:
    steps = {step.event_id: step for step in trace_of(tree)}
    at = places({name: Node(step.above, name if step.is_run else None) for name, step in steps.items()}, steps)
    for name, step in steps.items():
        above = at[step.above].depth if step.above else 0
        assert at[name].depth == above + step.is_run
        assert at[name].run == (name if step.is_run else at[step.above or ""].run)


def test_a_sum_is_priced_where_a_call_is_and_never_what_a_run_reports() -> None:
    run = Step(key(1), None, key(1), None, "agent.run", None, None, (None,) * 5, None, None)
    calls = [Step(key(n), f"{1:016x}", None, None, "llm.call", "p", "m", (n, 1, None, None, None), 5, None, n == 3) for n in (2, 3)]
    for cost, steps, expected in ((None, calls, {key(1)}), (None, calls[:1], set()), (7, calls, set())):
        found = settle([run, *steps], [OpenRun(key(1), AT, None, (None,) * 5, cost)])
        assert (found.priced, found.closed[0].cost_micros) == (expected, None if cost else 5 * len(steps))


def test_spans_that_are_each_others_parents_are_left_alone() -> None:
    around = {"a": Node("b", None), "b": Node("a", "b")}
    assert places(around, around)["a"].known is False
    step = Step(key(1), f"{1:016x}", key(1), None, "agent.run", None, None, (None,) * 5, None, None)
    assert settle([step], [OpenRun(key(1), AT, None, (None,) * 5)]).waiting == [key(1)]
    assert settle([step], [OpenRun(key(1), AT, None, (None,) * 5)], last=True).closed[0].tier == "T1"
