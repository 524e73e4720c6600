"""Who has to approve, by the table, and what an approval is worth."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import Problem
from apps.promotions.domain.approvals import (
    Approval,
    Capacity,
    Status,
    binding,
    capacity,
    check_may_approve,
    column,
    demand,
    evaluate,
    lapse,
)
from apps.promotions.domain.expiry import Limits, Reminder, is_over, reminder_due

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ANN, BEN, CYD, DOT = (UUID(int=number) for number in range(1, 5))
BOUND = "sha256:bound"
TIERS, LEVELS = ("personal", "team", "enterprise"), ("low", "medium", "high")


def yes(user: UUID, *roles: str, after: int = 0, bound: str = BOUND, delegated_from: UUID | None = None) -> Approval:
    return Approval(user, frozenset(roles), NOW + timedelta(minutes=after), bound, delegated_from=delegated_from)


MANAGER, OTHER = yes(BEN, "manager"), yes(DOT, "manager")
ADMIN = yes(CYD, "tenant_admin")
OF_AUTHOR, OF_AUTHOR_ADMIN = yes(ANN, "manager"), yes(ANN, "tenant_admin")
VIEWER, OPERATOR = yes(DOT, "viewer"), yes(DOT, "operator")
LATER = yes(CYD, "tenant_admin", after=10)
SOON = yes(CYD, "tenant_admin", after=9)


def status(level: str, tier: str, *approvals: Approval, forced: bool = False, sole: bool = False) -> Status:
    wanted = demand(level, tier, forced=forced)
    return evaluate(wanted, approvals, current_binding=BOUND, authors={ANN}, now=NOW, sole_manager_is_author=sole)


TABLE: dict[tuple[str, str], tuple[list[list[Approval]], list[list[Approval]]]] = {
    # (tier, level): enough, not enough
    ("personal", "low"): ([[]], []),
    ("personal", "medium"): ([[ADMIN], [OF_AUTHOR_ADMIN]], [[], [MANAGER], [VIEWER]]),
    ("personal", "high"): ([[ADMIN, LATER]], [[], [ADMIN], [ADMIN, SOON], [ADMIN, ADMIN]]),
    ("team", "low"): ([[]], []),
    ("team", "medium"): ([[MANAGER], [OF_AUTHOR, MANAGER]], [[], [OF_AUTHOR], [ADMIN], [OPERATOR]]),
    ("team", "high"): ([[MANAGER, ADMIN], [OF_AUTHOR, ADMIN]], [[ADMIN], [MANAGER, OTHER], [ADMIN, ADMIN], [ADMIN, VIEWER]]),
    ("enterprise", "low"): ([[MANAGER], [OF_AUTHOR]], [[], [VIEWER], [ADMIN]]),
    ("enterprise", "medium"): ([[MANAGER]], [[], [OF_AUTHOR], [OF_AUTHOR, OPERATOR]]),
    ("enterprise", "high"): (
        [[MANAGER, ADMIN], [ADMIN, yes(BEN, "tenant_admin")]],
        [[OF_AUTHOR, ADMIN], [MANAGER, OF_AUTHOR_ADMIN], [MANAGER]],
    ),
}


def test_the_table_is_whole() -> None:
    assert set(TABLE) == set(product(TIERS, LEVELS))


@pytest.mark.parametrize(("tier", "level"), list(TABLE))
def test_every_cell(tier: str, level: str) -> None:
    enough, lacking = TABLE[tier, level]
    for approvals in enough:
        assert status(level, tier, *approvals).missing == ()
        assert status(level, tier, *approvals).satisfied
    for approvals in lacking:
        found = status(level, tier, *approvals)
        assert not found.satisfied
        assert found.missing


@pytest.mark.parametrize(
    ("level", "tier", "approvals", "sentence"),
    [
        ("medium", "personal", [], "The owner has to confirm."),
        ("high", "personal", [], "The owner has to confirm twice, at least 10 minutes apart."),
        ("high", "personal", [ADMIN], "The owner has to confirm a second time, from 2026-03-01 12:10:00 UTC on."),
        ("medium", "team", [OF_AUTHOR], "One manager who is not an author has to approve."),
        ("high", "team", [MANAGER], "A tenant admin has to approve as well."),
        ("high", "enterprise", [MANAGER], "A tenant admin who is not an author has to approve as well."),
        ("high", "enterprise", [ADMIN], "One more manager or tenant admin who is not an author has to approve."),
        ("low", "enterprise", [], "One manager has to approve."),
    ],
)
def test_what_is_missing_is_said(level: str, tier: str, approvals: list[Approval], sentence: str) -> None:
    assert status(level, tier, *approvals).missing == (sentence,)


@pytest.mark.parametrize(("tier", "level"), list(product(TIERS, LEVELS)))
def test_force_takes_one_level_higher(tier: str, level: str) -> None:
    higher = {"low": "medium", "medium": "high", "high": "high"}[level]
    assert demand(level, tier, forced=True) == demand(higher, tier)


def test_an_admin_stands_in_only_for_managers_who_are_all_authors() -> None:
    assert not status("medium", "team", ADMIN).satisfied
    assert status("medium", "team", ADMIN, sole=True).satisfied
    assert not status("medium", "team", OF_AUTHOR_ADMIN, sole=True).satisfied
    assert status("medium", "team", sole=True).missing == (
        "One manager who is not an author has to approve. A tenant admin stands in: no manager is free of authorship.",
    )


def test_the_delegate_of_an_author_is_an_author() -> None:
    assert not status("medium", "enterprise", yes(BEN, "manager", delegated_from=ANN)).satisfied
    assert status("medium", "enterprise", yes(BEN, "manager", delegated_from=DOT)).satisfied


def test_layers_above_tenant_use_the_enterprise_column() -> None:
    assert [column("personal", scope) for scope in ("global", "segment", "domain")] == ["enterprise"] * 3
    assert [column("personal", scope) for scope in ("tenant", "team", "agent", "user")] == ["personal"] * 4


def test_stale_approvals_are_set_apart() -> None:
    old = yes(BEN, "manager", bound="sha256:old")
    found = status("medium", "team", old, VIEWER)
    assert (found.satisfied, found.stale, found.not_counted) == (False, (old,), (VIEWER,))


def test_the_binding_moves_with_each_of_its_parts() -> None:
    base = binding("sha256:c", {"layer-1": "sha256:a", "layer-2": None}, "sha256:t")
    assert base == binding("sha256:c", {"layer-2": None, "layer-1": "sha256:a"}, "sha256:t")
    others = [
        binding("sha256:d", {"layer-1": "sha256:a", "layer-2": None}, "sha256:t"),
        binding(None, {"layer-1": "sha256:a", "layer-2": None}, "sha256:t"),
        binding("sha256:c", {"layer-1": "sha256:b", "layer-2": None}, "sha256:t"),
        binding("sha256:c", {"layer-1": "sha256:a", "layer-2": "sha256:a"}, "sha256:t"),
        binding("sha256:c", {"layer-1": "sha256:a"}, "sha256:t"),
        binding("sha256:c", {"layer-1": "sha256:a", "layer-2": None}, "sha256:u"),
    ]
    assert len({base, *others}) == 7


def ask(level: str, tier: str, approval: Approval, *before: Approval, state: str = "awaiting_approval", sole: bool = False) -> str:
    """The code of the refusal, or "ok"."""
    try:
        check_may_approve(
            demand(level, tier),
            before,
            approval=approval,
            state=state,
            current_binding=BOUND,
            authors={ANN},
            sole_manager_is_author=sole,
        )
    except Problem as refused:
        return refused.code
    return "ok"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (ask("medium", "team", MANAGER), "ok"),
        (ask("medium", "team", OF_AUTHOR), "own_promotion"),
        (ask("medium", "team", OF_AUTHOR, state="collecting"), "own_promotion"),
        (ask("high", "enterprise", OF_AUTHOR_ADMIN), "own_promotion"),
        (ask("medium", "team", OF_AUTHOR_ADMIN, sole=True), "own_promotion"),
        # The table says nothing of authors here.
        (ask("low", "enterprise", OF_AUTHOR), "ok"),
        (ask("high", "team", OF_AUTHOR), "ok"),
        (ask("medium", "personal", OF_AUTHOR_ADMIN), "ok"),
        (ask("medium", "team", OPERATOR), "permission_denied"),
        (ask("medium", "team", ADMIN), "permission_denied"),
        (ask("medium", "team", ADMIN, sole=True), "ok"),
        (ask("medium", "team", yes(BEN, "manager", bound="sha256:old")), "approval_stale"),
        (ask("medium", "team", MANAGER, MANAGER), "already_decided"),
        (ask("medium", "team", MANAGER, yes(BEN, "manager", bound="sha256:old")), "ok"),
        (ask("medium", "team", MANAGER, state="promoted"), "already_decided"),
        (ask("medium", "team", MANAGER, state="rejected"), "already_decided"),
        (ask("medium", "team", MANAGER, state="collecting"), "wrong_state"),
        (ask("medium", "team", MANAGER, state="ready"), "wrong_state"),
        (ask("medium", "team", MANAGER, state="held"), "ok"),
        (ask("high", "personal", SOON, ADMIN), "wrong_state"),
        (ask("high", "personal", LATER, ADMIN), "ok"),
    ],
)
def test_who_may_approve_now(code: str, expected: str) -> None:
    assert code == expected


people = st.sampled_from([ANN, BEN, CYD, DOT])
approvals = st.builds(
    Approval,
    people,
    st.frozensets(st.sampled_from(["viewer", "operator", "manager", "tenant_admin"])),
    st.integers(0, 30).map(lambda minutes: NOW + timedelta(minutes=minutes)),
    st.sampled_from([BOUND, "sha256:old"]),
    st.booleans(),
    st.none() | people,
)


@given(st.sampled_from(LEVELS), st.sampled_from(TIERS), st.booleans(), st.booleans(), st.lists(approvals, max_size=5), st.sets(people))
def test_authors_never_satisfy_what_excludes_them(
    level: str, tier: str, forced: bool, sole: bool, given: list[Approval], authors: Collection[UUID]
) -> None:
    wanted = demand(level, tier, forced=forced)

    def satisfied(of: list[Approval]) -> bool:
        return evaluate(wanted, of, current_binding=BOUND, authors=authors, now=NOW, sole_manager_is_author=sole).satisfied

    if wanted.not_author:
        assert satisfied(given) == satisfied([approval for approval in given if not approval.by_author(authors)])
        assert not satisfied([approval for approval in given if approval.user_id in authors])
    assert satisfied(given) == satisfied([approval for approval in given if approval.binding == BOUND])
    if satisfied(given):
        assert len({approval.user_id for approval in given if approval.binding == BOUND}) >= wanted.people


@given(st.sampled_from(LEVELS), st.sampled_from(TIERS), st.lists(approvals, max_size=4), approvals)
def test_one_more_approval_never_undoes_the_rest(level: str, tier: str, given: list[Approval], more: Approval) -> None:
    if status(level, tier, *given).satisfied:
        assert status(level, tier, *given, more).satisfied


BOTH = st.builds(
    Approval,
    people,
    st.frozensets(st.sampled_from(["manager", "tenant_admin", "viewer"]), max_size=2),
    st.just(NOW),
    st.just(BOUND),
    delegated_from=st.none() | people,
).filter(lambda approval: approval.user_id != approval.delegated_from)


@given(st.sampled_from(["team", "enterprise"]), st.lists(BOTH, max_size=5), st.sets(people, max_size=2))
def test_two_people_are_two_persons_and_two_principals(tier: str, given: list[Approval], authors: set[UUID]) -> None:
    """Whoever acts for whom: two of the approvals share neither who spoke nor whose right it was, and one is an admin's."""
    found = evaluate(demand("high", tier), given, current_binding=BOUND, authors=authors, now=NOW)
    worth = [a for a in found.counted if a.roles & {"manager", "tenant_admin"}]
    pairs = [(a, b) for a in worth for b in worth if "tenant_admin" in a.roles and not a.people & b.people]
    assert found.satisfied == bool(pairs)
    for approval in found.counted:
        if approval.delegated_from is not None:
            assert not approval.people & authors


@given(st.sampled_from(LEVELS), st.sampled_from(TIERS), st.lists(BOTH, max_size=3), people, st.lists(people, max_size=2), st.sets(people))
def test_what_waits_for_a_person_is_what_they_may_approve(
    level: str, tier: str, given: list[Approval], person: UUID, lenders: list[UUID], authors: set[UUID]
) -> None:
    wanted = demand(level, tier)
    held = [Capacity(frozenset({"manager"})), *(Capacity(frozenset({"tenant_admin"}), each) for each in lenders if each != person)]

    def allowed(each: Capacity) -> bool:
        approval = Approval(person, each.roles, NOW + timedelta(hours=1), BOUND, delegated_from=each.delegated_from)
        try:
            check_may_approve(wanted, given, approval=approval, state="awaiting_approval", current_binding=BOUND, authors=authors)
        except Problem:
            return False
        return wanted.rule != "automatic"

    found = capacity(wanted, given, user_id=person, capacities=held, current_binding=BOUND, authors=authors)
    assert (found is not None) == any(allowed(each) for each in held)
    assert found is None or allowed(found)


@pytest.mark.parametrize(
    ("approval", "held", "after", "word"),
    [
        (MANAGER, [Capacity(frozenset({"manager", "viewer"}))], 6, None),
        (MANAGER, [Capacity(frozenset({"manager"}))], 7, "7 days"),
        (MANAGER, [Capacity(frozenset({"viewer"}))], 1, "manager here any more"),
        (MANAGER, [], 1, "manager here any more"),
        (MANAGER, [Capacity(frozenset({"manager"}), CYD)], 1, "manager here any more"),
        (yes(BEN, "manager", delegated_from=CYD), [Capacity(frozenset({"manager"}), CYD)], 1, None),
        (yes(BEN, "manager", delegated_from=CYD), [Capacity(frozenset({"manager"}))], 1, "lent and is so no longer"),
        (yes(BEN, "manager", bound="other"), [Capacity(frozenset({"manager"}))], 1, "changed"),
    ],
)
def test_an_approval_lapses_with_what_it_rests_on(approval: Approval, held: list[Capacity], after: int, word: str | None) -> None:
    why = lapse(approval, current_binding=BOUND, still_held=held, now=NOW + timedelta(days=after), lasts=timedelta(days=7))
    assert why is None if word is None else word in (why or "")


LIMITS = Limits(timedelta(days=7), timedelta(days=7))


@given(st.floats(0.5, 30), st.lists(st.floats(0, 40), max_size=30))
def test_reminders_come_once_each_within_the_demand(length: float, looks: list[float]) -> None:
    limits = Limits(timedelta(days=length), timedelta(days=7))
    sent: list[Reminder] = []
    for at in sorted(looks):
        now = NOW + timedelta(days=at)
        found = reminder_due(NOW, now, limits, sent)
        if found is not None:
            assert found not in sent and not is_over(NOW, now, limits)
            assert now >= NOW + timedelta(days=1 if found is Reminder.FIRST else length - 1)
            sent.append(found)
    assert sent in ([], [Reminder.FIRST], [Reminder.LAST], [Reminder.FIRST, Reminder.LAST])


def test_reminders_after_one_day_and_one_day_before_the_end() -> None:
    said = [reminder_due(NOW, NOW + timedelta(days=day), LIMITS, ()) for day in range(9)]
    assert said == [None, *[Reminder.FIRST] * 5, Reminder.LAST, None, None]
    assert reminder_due(NOW, NOW + timedelta(days=6), LIMITS, [Reminder.FIRST]) is Reminder.LAST
