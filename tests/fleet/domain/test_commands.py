"""The laws of a command's delivery, over any order of events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import Problem
from apps.fleet.domain import requests
from apps.fleet.domain.commands import OPEN, REPLACES, TABLE, Event, Order, State, leads_to, parse_target, possible_in, refuse_after_stop


@given(st.lists(st.sampled_from(Event)))
def test_a_delivery_is_acknowledged_once_and_never_opens_again(events: list[Event]) -> None:
    state, acknowledged, closed = State.PENDING, 0, False
    for event in events:
        following = TABLE[state].get(event)
        if following is None:
            continue
        acknowledged += event is Event.ACKNOWLEDGE
        state = following
        assert not (closed and state in OPEN)
        closed = closed or state not in OPEN
        assert (state is State.ACKNOWLEDGED) == (acknowledged == 1)
    assert acknowledged <= 1


def test_sets_of_rows_move_by_the_same_table() -> None:
    for event in Event:
        assert possible_in(event) == [state for state in State if event in TABLE[state]]
        assert {TABLE[State(state)][event] for state in possible_in(event)} == {leads_to(event)}
    assert possible_in(Event.HAND_OUT) == list(OPEN), "it is handed out until it is acknowledged"


def test_whatever_is_ordered_replaces_itself_and_only_a_restart_takes_back_a_stop() -> None:
    assert all(order in REPLACES[order] for order in Order)
    assert REPLACES[Order.PAUSE] == REPLACES[Order.RESUME]
    for order in Order:
        if order in (Order.STOP, Order.RESTART):
            refuse_after_stop(order)
        else:
            with pytest.raises(Problem, match="restart"):
                refuse_after_stop(order)


@pytest.mark.parametrize("text", ["tree:r-1", "tier:T2", "agent:acme/bot", "tree:a:b"])
def test_a_target_reads_as_it_is_written(text: str) -> None:
    assert str(parse_target(text)) == text


@pytest.mark.parametrize(
    "text", ["", "tree", "tree:", "tier:T9", "agent:bot", "team:x", "tree:a\nb", "tree:" + "x" * 201, "tree:AKIA" + "Q" * 16]
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(Problem) as refused:
        parse_target(text)
    assert refused.value.code == "invalid" and refused.value.errors[0].pointer == "/target"


@given(st.lists(st.sampled_from(requests.Event)))
def test_a_request_is_used_once_and_only_after_a_yes(events: list[requests.Event]) -> None:
    state, happened = requests.State.PENDING, []
    for event in events:
        if event in requests.TABLE[state]:
            state = requests.next_state(state, event)
            happened.append(event)
        else:
            with pytest.raises(Problem):
                requests.next_state(state, event)
    assert happened.count(requests.Event.USE) <= 1
    if requests.Event.USE in happened:
        assert happened == [requests.Event.APPROVE, requests.Event.USE]


CONTENT = {
    "tools": {
        "allow": ["mail.*", "ledger.pay", "wiki.read"],
        "deny": ["mail.purge"],
        "ask": ["wiki.read"],
        "risk": {"wiki.read": "low", "ledger.pay": "high"},
    },
    "autonomy": {"ceiling": "A3", "tools": {"mail.send": "A1"}},
}


@pytest.mark.parametrize(
    ("tool", "own", "refused"),
    [
        ("mail.read", "A2", ""),
        ("mail.read", "A1", "At A1"),
        ("mail.send", "A3", "At A1"),
        ("mail.purge", "A3", "does not permit"),
        ("shell.run", "A3", "does not permit"),
        ("ledger.pay", "A2", "takes A3"),
        ("ledger.pay", "A3", ""),
        ("wiki.read", "A2", ""),
    ],
)
def test_the_effective_pack_and_the_agents_own_autonomy_say_what_may_be_asked_for(tool: str, own: str, refused: str) -> None:
    found = requests.ruling(CONTENT, own, tool)
    assert found.must_ask and (refused in found.refused if refused else not found.refused), found
