"""Which version a layer may be rolled back to (`domain.md` 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from apps.core.errors import Problem, problem

# After these the decision's challenger is the layer's champion; a rollback's challenger is the version gone back to.
_CROWNS: Final = frozenset({"promote", "force", "rollback"})


@dataclass(frozen=True, slots=True)
class DecisionFact:
    """One decision on the layer: it took the champion from `champion` to `challenger`, or, for `reject`, kept it from being `challenger`.

    What else is known is today's truth about `challenger`: its number, whether it is quarantined, and which constraints of its chain it
    breaks now, a sentence each.
    """

    decision: str
    champion: UUID | None
    challenger: UUID | None
    number: int = 0
    quarantined: bool = False
    violations: tuple[str, ...] = ()


def former_champions(history: Sequence[DecisionFact], current: UUID | None) -> dict[UUID, DecisionFact]:
    """The versions other than `current` that were champion by decision, the one that last became it first. A version that was rejected
    since is none. `history` is in the order of the decisions."""
    latest: dict[UUID, DecisionFact] = {}
    for fact in history:
        if fact.challenger is not None and fact.decision in _CROWNS | {"reject"}:
            latest.pop(fact.challenger, None)
            latest[fact.challenger] = fact
    return {version: fact for version, fact in reversed(latest.items()) if fact.decision in _CROWNS and version != current}


def choose(history: Sequence[DecisionFact], current: UUID | None, requested: UUID | None = None) -> UUID:
    """The version to roll back to: the requested one or, by default, the last former champion that may be gone back to.

    `current` is the champion in force; None when the layer is retired or suspended, so that its last champion may be restored. Of the
    default, versions that were themselves rolled back from come last: a second rollback must not bring back what the first took away.

    Raises Problem `not_a_former_champion`, `quarantined`, or `hard_rule` when the version breaks a constraint of today.
    """
    former = former_champions(history, current)
    if requested is not None:
        if requested not in former:
            raise _not_former(former, current, requested)
        chosen = requested
    else:
        if not former:
            raise problem("not_a_former_champion", "This layer has no former champion to roll back to.")
        failed = _rolled_back_from(history)
        ordered = sorted(former, key=lambda version: version in failed)
        # When none may be gone back to, the first in line says why.
        chosen = next((version for version in ordered if not former[version].quarantined and not former[version].violations), ordered[0])
    fact = former[chosen]
    if fact.quarantined:
        raise problem("quarantined", f"Version {fact.number} is quarantined; choose another former champion.")
    if fact.violations:
        raise problem("hard_rule", f"Version {fact.number} breaks constraints that hold today: {' '.join(fact.violations)}")
    return chosen


def _not_former(former: Mapping[UUID, DecisionFact], current: UUID | None, requested: UUID) -> Problem:
    if requested == current:
        return problem("not_a_former_champion", "That version is the champion now; name a former one.", pointer="/to_version")
    known = ", ".join(str(fact.number) for fact in former.values())
    offer = f"Its former champions are the versions {known}." if former else "The layer has no former champion."
    detail = f"That version was not made champion of this layer by a decision. {offer}"
    return problem("not_a_former_champion", detail, pointer="/to_version")


def _rolled_back_from(history: Sequence[DecisionFact]) -> set[UUID]:
    """The versions whose last reign was ended by a rollback."""
    failed: set[UUID] = set()
    for fact in history:
        if fact.decision in _CROWNS and fact.challenger is not None:
            failed.discard(fact.challenger)
        if fact.decision == "rollback" and fact.champion is not None:
            failed.add(fact.champion)
    return failed
