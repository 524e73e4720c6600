"""How far a command has come with those that it is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.fleet.domain.commands import OPEN, State

# What became of a command as a whole.
STATES = [(word, word) for word in ("open", "acknowledged", "superseded", "expired")]


@dataclass(frozen=True, slots=True)
class Progress:
    """Deliveries by state, and who is named for not having answered."""

    counts: dict[str, int]
    laggards: list[dict[str, str]]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def acknowledged(self) -> int:
        return self.counts[State.ACKNOWLEDGED]

    @property
    def state(self) -> str:
        """`open` while somebody is waited for; else what became of it: `expired` with anybody, `superseded` before anybody had done it,
        `acknowledged` by all that it still concerned."""
        if any(self.counts[state] for state in OPEN):
            return "open"
        if self.counts[State.EXPIRED]:
            return "expired"
        if self.counts[State.SUPERSEDED] and not self.acknowledged:
            return "superseded"
        return "acknowledged"


def progress_of(counts: Mapping[str, int], late: Sequence[dict[str, Any]], *, over: bool) -> Progress:
    """`over`: the command's time is up, so that whatever is open counts as expired, whether or not it is marked so yet."""
    found = {state.value: counts.get(state.value, 0) for state in State}
    if over:
        found[State.EXPIRED] += sum(found[state] for state in OPEN)
        found |= {state.value: 0 for state in OPEN}
    return Progress(found, [] if over else list(late))
