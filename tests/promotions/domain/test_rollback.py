"""Which version a layer goes back to."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from apps.core.errors import Problem
from apps.promotions.domain.rollback import DecisionFact, choose, former_champions

V = {number: UUID(int=number) for number in range(1, 7)}


def fact(decision: str, before: int | None, after: int | None, **more: Any) -> DecisionFact:
    champion, challenger = (V[number] if number else None for number in (before, after))
    return DecisionFact(decision, champion, challenger, number=after or 0, **more)


UP = [fact("promote", None, 1), fact("promote", 1, 2), fact("reject", 2, 3), fact("force", 2, 4)]


def test_the_default_is_the_last_former_champion() -> None:
    assert choose(UP, V[4]) == V[2]
    assert list(former_champions(UP, V[4])) == [V[2], V[1]]


def test_a_former_champion_may_be_named() -> None:
    assert choose(UP, V[4], V[1]) == V[1]


def test_a_second_rollback_goes_further_back_and_the_first_is_reversible() -> None:
    back = [*UP, fact("rollback", 4, 2)]
    assert choose(back, V[2]) == V[1]
    assert choose(back, V[2], V[4]) == V[4]
    only = [fact("promote", None, 1), fact("promote", 1, 2), fact("rollback", 2, 1)]
    assert choose(only, V[1]) == V[2]


def test_a_version_that_was_rolled_back_from_and_promoted_again_is_as_good_as_any() -> None:
    again = [*UP, fact("rollback", 4, 2), fact("promote", 2, 4), fact("promote", 4, 5)]
    assert choose(again, V[5]) == V[4]


def test_a_retired_or_suspended_layer_gets_its_last_champion_back() -> None:
    assert choose([*UP, fact("retire", 4, None)], None) == V[4]
    assert choose([*UP, fact("suspend", 4, None)], None) == V[4]


def test_the_default_skips_what_may_not_be_gone_back_to() -> None:
    history = [
        fact("promote", None, 1),
        fact("promote", 1, 2, quarantined=True),
        fact("promote", 2, 3, violations=("x",)),
        fact("promote", 3, 4),
    ]
    assert choose(history, V[4]) == V[1]


@pytest.mark.parametrize(
    ("history", "current", "requested", "code"),
    [
        (UP, 4, 3, "not_a_former_champion"),  # rejected
        (UP, 4, 6, "not_a_former_champion"),  # never decided on
        (UP, 4, 4, "not_a_former_champion"),  # the champion itself
        ([*UP, fact("reject", 4, 2)], 4, 2, "not_a_former_champion"),  # was champion, rejected since
        ([fact("promote", None, 1)], 1, None, "not_a_former_champion"),
        ([], None, None, "not_a_former_champion"),
        ([fact("promote", None, 1, quarantined=True), fact("promote", 1, 2)], 2, 1, "quarantined"),
        ([fact("promote", None, 1, quarantined=True), fact("promote", 1, 2)], 2, None, "quarantined"),
        ([fact("promote", None, 1, violations=("The house policy denies shell.*.",)), fact("promote", 1, 2)], 2, 1, "hard_rule"),
    ],
)
def test_refusals(history: list[DecisionFact], current: int | None, requested: int | None, code: str) -> None:
    with pytest.raises(Problem) as refused:
        choose(history, V[current] if current else None, V[requested] if requested else None)
    assert refused.value.code == code
    assert refused.value.status == 409


def test_a_refusal_names_the_versions_that_would_do() -> None:
    with pytest.raises(Problem, match=r"Its former champions are the versions 2, 1\."):
        choose(UP, V[4], V[3])
