"""Commands to the fleet: whom they may be for, what takes the place of what, and the one table of a delivery's states (`domain.md` 10)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from apps.core.domain.redaction import redact_text
from apps.core.errors import problem

# How long a command waits for an answer, unless it says otherwise.
KEPT: Final = timedelta(hours=1)
SHORTEST: Final = timedelta(seconds=30)
LONGEST: Final = timedelta(days=7)
MAX_REASON: Final = 2_000
MAX_NAME: Final = 200
TIERS: Final = ("T1", "T2", "T3")


class Kind(StrEnum):
    """Whom a command is for."""

    TREE = "tree"
    TIER = "tier"
    AGENT = "agent"


class Order(StrEnum):
    """What a harness is told to do."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    RESTART = "restart"


# What an order takes the place of where it is still on its way to the same target. Nothing but a restart takes back a stop.
REPLACES: Final[Mapping[Order, frozenset[Order]]] = {
    Order.PAUSE: frozenset({Order.PAUSE, Order.RESUME}),
    Order.RESUME: frozenset({Order.PAUSE, Order.RESUME}),
    Order.STOP: frozenset(Order),
    Order.RESTART: frozenset(Order),
}


class State(StrEnum):
    """Where the delivery of a command to one harness stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    ACKNOWLEDGED = "acknowledged"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"


class Event(StrEnum):
    """What may happen to a delivery. It is handed out until it is acknowledged; who heard of it by the stream may acknowledge it before."""

    HAND_OUT = "hand_out"
    ACKNOWLEDGE = "acknowledge"
    EXPIRE = "expire"
    SUPERSEDE = "supersede"


OPEN: Final = (State.PENDING, State.DELIVERED)
_ON: Final = {Event.HAND_OUT: State.DELIVERED, Event.ACKNOWLEDGE: State.ACKNOWLEDGED}
_OFF: Final = {Event.EXPIRE: State.EXPIRED, Event.SUPERSEDE: State.SUPERSEDED}

TABLE: Final[Mapping[State, Mapping[Event, State]]] = {
    State.PENDING: {**_ON, **_OFF},
    State.DELIVERED: {**_ON, **_OFF},
    State.ACKNOWLEDGED: {},
    # It was done after all, late: the truth is kept.
    State.EXPIRED: {Event.ACKNOWLEDGE: State.ACKNOWLEDGED},
    State.SUPERSEDED: {},
}


def leads_to(event: Event) -> State:
    """The state after the event, which is the same from wherever it is possible."""
    return {**_ON, **_OFF}[event]


def possible_in(event: Event) -> list[str]:
    """The states in which the event may happen."""
    return [state.value for state in State if event in TABLE[state]]


@dataclass(frozen=True, slots=True)
class Target:
    """`tree:<root task id>`, `tier:T2`, or `agent:<tenant>/<agent>`."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


_AGENT = re.compile(r"[a-z0-9-]{1,63}/[a-z0-9-]{1,63}")


def parse_target(text: str) -> Target:
    """Raises Problem `invalid` at `/target`, with what a target looks like."""
    kind, colon, name = text.partition(":")
    if not colon or kind not in [each.value for each in Kind]:
        raise problem("invalid", "A target is tree:<root task id>, tier:T1 (T2, T3) or agent:<tenant>/<agent>.", pointer="/target")
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or redact_text(name)[1]:
        raise problem("invalid", f"The name after '{kind}:' is 1 to {MAX_NAME} printable characters, and no secret.", pointer="/target")
    if kind == Kind.TIER and name not in TIERS:
        raise problem("invalid", f"Tiers are {', '.join(TIERS)}.", pointer="/target")
    if kind == Kind.AGENT and not _AGENT.fullmatch(name):
        raise problem("invalid", "An agent is named <tenant>/<agent>.", pointer="/target")
    return Target(Kind(kind), name)


def refuse_after_stop(order: Order) -> None:
    """Raises Problem `wrong_state`: while a stop is on its way, its target is restarted or stopped, nothing else."""
    if Order.STOP not in REPLACES[order]:
        raise problem("wrong_state", f"A stop is on its way to this target, so there is nothing to {order}. Send a restart instead.")
