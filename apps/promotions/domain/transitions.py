"""The states of a promotion and the one table of what leads from one to the next (`domain.md` 6)."""

from __future__ import annotations

from enum import StrEnum

from apps.core.errors import problem


class State(StrEnum):
    """Where a promotion stands."""

    COLLECTING = "collecting"
    BLOCKED = "blocked"
    AWAITING_APPROVAL = "awaiting_approval"
    READY = "ready"
    RUNNING = "running"
    HELD = "held"
    PROMOTED = "promoted"
    REJECTED = "rejected"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"
    EXPIRED = "expired"


class Event(StrEnum):
    """What may happen to a promotion. `approved` means: all that the risk demands has been given, which may be nothing."""

    EVALUATED_PASS = "evaluated_pass"
    EVALUATED_FAIL = "evaluated_fail"
    EVALUATED_INCONCLUSIVE = "evaluated_inconclusive"
    FORCE = "force"
    APPROVED = "approved"
    APPROVAL_VOIDED = "approval_voided"
    START = "start"
    HOLD = "hold"
    RESUME = "resume"
    COMPLETE = "complete"
    REJECT = "reject"
    ABORT = "abort"
    EXPIRE = "expire"
    ROLL_BACK = "roll_back"


TERMINAL: frozenset[State] = frozenset({State.PROMOTED, State.REJECTED, State.ABORTED, State.ROLLED_BACK, State.EXPIRED})
OPEN: frozenset[State] = frozenset(State) - TERMINAL

_VERDICTS: dict[Event, State] = {
    Event.EVALUATED_PASS: State.AWAITING_APPROVAL,
    Event.EVALUATED_FAIL: State.BLOCKED,
    Event.EVALUATED_INCONCLUSIVE: State.COLLECTING,
}
_ENDS: dict[Event, State] = {Event.REJECT: State.REJECTED, Event.ABORT: State.ABORTED, Event.EXPIRE: State.EXPIRED}
# A live canary ends by a rollback or an abort; a rejection is a judgement on the evidence before the start.
_LIVE_ENDS: dict[Event, State] = {Event.ABORT: State.ABORTED, Event.EXPIRE: State.EXPIRED, Event.ROLL_BACK: State.ROLLED_BACK}

TABLE: dict[State, dict[Event, State]] = {
    State.COLLECTING: {**_VERDICTS, Event.FORCE: State.AWAITING_APPROVAL, **_ENDS},
    State.BLOCKED: {**_VERDICTS, Event.FORCE: State.AWAITING_APPROVAL, **_ENDS},
    State.AWAITING_APPROVAL: {
        **_VERDICTS,
        Event.APPROVED: State.READY,
        Event.APPROVAL_VOIDED: State.AWAITING_APPROVAL,
        **_ENDS,
    },
    State.READY: {
        **_VERDICTS,
        # The approvals are bound to digests, not to the evidence: more of it leaves them standing.
        Event.EVALUATED_PASS: State.READY,
        Event.APPROVAL_VOIDED: State.AWAITING_APPROVAL,
        Event.START: State.RUNNING,
        **_ENDS,
    },
    State.RUNNING: {Event.HOLD: State.HELD, Event.APPROVAL_VOIDED: State.HELD, Event.COMPLETE: State.PROMOTED, **_LIVE_ENDS},
    State.HELD: {
        Event.APPROVED: State.HELD,
        Event.APPROVAL_VOIDED: State.HELD,
        Event.RESUME: State.RUNNING,
        **_LIVE_ENDS,
    },
    State.PROMOTED: {Event.ROLL_BACK: State.ROLLED_BACK},
    State.REJECTED: {},
    State.ABORTED: {},
    State.ROLLED_BACK: {},
    State.EXPIRED: {},
}

# What a person does to cause the event; events without a word come from the portal itself.
_ACTS: dict[Event, str] = {
    Event.EVALUATED_PASS: "evaluate",
    Event.EVALUATED_FAIL: "evaluate",
    Event.EVALUATED_INCONCLUSIVE: "evaluate",
    Event.FORCE: "force",
    Event.APPROVED: "approve",
    Event.START: "start",
    Event.HOLD: "hold",
    Event.RESUME: "advance",
    Event.REJECT: "reject",
    Event.ABORT: "abort",
    Event.ROLL_BACK: "roll back",
}


def possible(state: State | str) -> tuple[str, ...]:
    """The acts of people that the state allows now, in the order of the table, each once."""
    return tuple(dict.fromkeys(_ACTS[event] for event in TABLE[State(state)] if event in _ACTS))


def next_state(state: State | str, event: Event | str) -> State:
    """The state after the event. Raises Problem `already_decided` in a terminal state and `wrong_state` in another that does not know
    the event; both say what is possible now. Raises ValueError for a word that is no state or no event."""
    state, event = State(state), Event(event)
    following = TABLE[state].get(event)
    if following is not None:
        return following
    act = _ACTS.get(event, event.replace("_", " "))
    named, acts = state.replace("_", " "), possible(state)
    now = f"Possible now: {', '.join(acts)}." if acts else "Nothing more can happen to it; request a new promotion."
    if state in TERMINAL:
        raise problem("already_decided", f"The promotion is already {named}: too late to {act}. {now}", state=state.value)
    raise problem("wrong_state", f"The promotion is {named}: '{act}' is not possible in this state. {now}", state=state.value)


def event_of(outcome: str, *, forced: bool = False, forceable: bool = False) -> Event:
    """The event of a verdict: `outcome` is that of the evidence (`Verdict.evidence_outcome`). A promotion that was forced stays on its way
    while its verdict is still forceable."""
    if outcome != "pass" and forced and forceable:
        return Event.EVALUATED_PASS
    return Event(f"evaluated_{outcome}")
