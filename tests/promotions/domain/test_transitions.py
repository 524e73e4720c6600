"""The transition table, cell by cell, and its laws."""

from __future__ import annotations

from itertools import product

import pytest

from apps.core.errors import Problem
from apps.promotions.domain.transitions import OPEN, TABLE, TERMINAL, Event, State, event_of, next_state, possible

# One row for each state, one column for each event; `-` is refused, a letter is the state that follows.
LETTERS = {
    "c": State.COLLECTING,
    "b": State.BLOCKED,
    "a": State.AWAITING_APPROVAL,
    "r": State.READY,
    "u": State.RUNNING,
    "h": State.HELD,
    "P": State.PROMOTED,
    "J": State.REJECTED,
    "A": State.ABORTED,
    "B": State.ROLLED_BACK,
    "E": State.EXPIRED,
}
COLUMNS = (
    *("evaluated_pass", "evaluated_fail", "evaluated_inconclusive", "force", "approved", "approval_voided", "start"),
    *("hold", "resume", "complete", "reject", "abort", "expire", "roll_back"),
)
GRID = {
    "collecting": "a b c a - - - - - - J A E -",
    "blocked": "a b c a - - - - - - J A E -",
    "awaiting_approval": "a b c - r a - - - - J A E -",
    "ready": "r b c - - a u - - - J A E -",
    "running": "- - - - - h - h - P - A E B",
    "held": "- - - - h h - - u - - A E B",
    "promoted": "- - - - - - - - - - - - - B",
    "rejected": "- - - - - - - - - - - - - -",
    "aborted": "- - - - - - - - - - - - - -",
    "rolled_back": "- - - - - - - - - - - - - -",
    "expired": "- - - - - - - - - - - - - -",
}


def test_the_grid_names_every_state_and_event() -> None:
    assert set(GRID) == set(State)
    assert list(COLUMNS) == list(Event)


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_cell(state: State, event: Event) -> None:
    cell = GRID[state].split()[COLUMNS.index(event)]
    if cell != "-":
        assert next_state(state, event) is LETTERS[cell]
        return
    with pytest.raises(Problem) as refused:
        next_state(state, event)
    assert refused.value.code == ("already_decided" if state in TERMINAL else "wrong_state")
    for act in possible(state):
        assert act in refused.value.detail


def test_ends_have_no_exit_but_the_rollback_of_a_promotion() -> None:
    assert sorted(TERMINAL) == ["aborted", "expired", "promoted", "rejected", "rolled_back"]
    assert set(State) - TERMINAL == OPEN
    assert [(state, event) for state in TERMINAL for event in TABLE[state]] == [(State.PROMOTED, Event.ROLL_BACK)]


@pytest.mark.parametrize("start", sorted(OPEN))
def test_every_open_state_reaches_an_end_and_the_promotion(start: State) -> None:
    reached = {start}
    while more := {following for state in reached for following in TABLE[state].values()} - reached:
        reached |= more
    assert reached >= TERMINAL - ({State.REJECTED} if start in (State.RUNNING, State.HELD) else set())
    assert any(following in TERMINAL for following in TABLE[start].values())


def test_a_refusal_says_what_is_possible() -> None:
    with pytest.raises(Problem) as refused:
        next_state("blocked", "start")
    assert refused.value.detail == (
        "The promotion is blocked: 'start' is not possible in this state. Possible now: evaluate, force, reject, abort."
    )
    with pytest.raises(Problem) as decided:
        next_state("expired", "approved")
    assert decided.value.detail == (
        "The promotion is already expired: too late to approve. Nothing more can happen to it; request a new promotion."
    )


@pytest.mark.parametrize(
    ("outcome", "forced", "forceable", "event"),
    [
        ("pass", False, False, Event.EVALUATED_PASS),
        ("fail", False, True, Event.EVALUATED_FAIL),
        ("inconclusive", False, True, Event.EVALUATED_INCONCLUSIVE),
        ("fail", True, True, Event.EVALUATED_PASS),
        ("inconclusive", True, True, Event.EVALUATED_PASS),
        ("fail", True, False, Event.EVALUATED_FAIL),
    ],
)
def test_a_forced_promotion_stays_on_its_way_only_while_it_can_be_forced(outcome: str, forced: bool, forceable: bool, event: Event) -> None:
    assert event_of(outcome, forced=forced, forceable=forceable) is event
