"""Requests to use one tool (`domain.md` 10): what the effective pack lets an agent ask for, and the one table of a request's states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from apps.core.errors import problem
from apps.packs.domain.names import DEFAULT_RISK, LEVELS, RISKS, closest, covers

KEPT: Final = timedelta(minutes=15)
SHORTEST_S: Final = 30
LONGEST_S: Final = 86_400
MAX_ARGUMENT_BYTES: Final = 16 * 1024
MAX_REASON: Final = 2_000
# Requests of one agent that may wait at a time.
MAX_WAITING: Final = 50


class State(StrEnum):
    """Where a request stands."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    USED = "used"
    EXPIRED = "expired"


class Event(StrEnum):
    """What may happen to a request."""

    APPROVE = "approve"
    DENY = "deny"
    USE = "use"
    EXPIRE = "expire"


TABLE: Final[Mapping[State, Mapping[Event, State]]] = {
    State.PENDING: {Event.APPROVE: State.APPROVED, Event.DENY: State.DENIED, Event.EXPIRE: State.EXPIRED},
    # A yes may be taken back until it is used.
    State.APPROVED: {Event.USE: State.USED, Event.DENY: State.DENIED, Event.EXPIRE: State.EXPIRED},
    State.DENIED: {},
    State.USED: {},
    State.EXPIRED: {},
}
OPEN: Final = (State.PENDING, State.APPROVED)


def next_state(state: State | str, event: Event) -> State:
    """Raises Problem `already_decided` where nothing more can happen, `wrong_state` where the event cannot."""
    state = State(state)
    following = TABLE[state].get(event)
    if following is not None:
        return following
    if not TABLE[state]:
        raise problem("already_decided", f"The request is {state} already; make a new one.", state=state.value)
    raise problem("wrong_state", f"The request is {state}: '{event}' is not possible in this state.", state=state.value)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What an effective pack says of one tool: the agent's level for it, its risk, whether it must ask; `refused`: why it may not even ask."""

    level: str
    risk: str
    must_ask: bool
    refused: str


def ruling(content: Mapping[str, Any], autonomy: str, tool: str) -> Ruling:
    """Of a tool, by the effective pack's `content` and the agent's own `autonomy`.

    A2 asks for medium-risk tools, A3 for high-risk ones too, each for whatever is in `ask`; what is low and not in `ask` needs no
    question. Being in `ask` grants nothing.
    """
    tools = content.get("tools") or {}
    block = content.get("autonomy") or {}
    levels = [autonomy, block.get("ceiling"), closest(block.get("tools") or {}, tool)]
    level = min((found for found in levels if found), key=LEVELS.index)
    risk = closest(tools.get("risk") or {}, tool) or DEFAULT_RISK
    allow = tools.get("allow")
    asks = covers(tools.get("ask") or (), tool)
    must_ask = asks or risk != RISKS[0]
    refused = ""
    if (allow is not None and not covers(allow, tool)) or covers(tools.get("deny") or (), tool):
        refused = f"The effective pack does not permit the tool '{tool}'; no approval changes that."
    elif LEVELS.index(level) < LEVELS.index("A2"):
        refused = f"At {level} nothing is done by approval; requests are for A2 and A3."
    elif risk == "high" and level != "A3":
        refused = f"'{tool}' is of high risk, which takes A3; the agent is at {level} for it."
    return Ruling(level, risk, must_ask, refused)
