"""Who has to approve a promotion, whether they have, and what their approval is bound to (`domain.md` 6)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from apps.core.domain.canonical import canonical_bytes, digest
from apps.core.errors import problem
from apps.packs.domain.scopes import ScopeType
from apps.promotions.domain.transitions import TERMINAL, Event, State, next_state

MANAGER: Final = "manager"
TENANT_ADMIN: Final = "tenant_admin"
COOLING: Final = timedelta(minutes=10)
_HIGHER: Final = {"low": "medium", "medium": "high", "high": "high"}


class Rule(StrEnum):
    """A cell of the table: whose word it takes."""

    AUTOMATIC = "automatic"
    OWNER = "owner"
    OWNER_TWICE = "owner_twice"
    MANAGER = "manager"
    TWO_PEOPLE = "two_people"


@dataclass(frozen=True, slots=True)
class Demand:
    """What one promotion needs. `level` is the risk level whose row applies, after `force`; `not_author`: an author's approval doesn't
    count."""

    level: str
    tier: str
    rule: Rule
    not_author: bool
    sentence: str

    @property
    def people(self) -> int:
        """How many different people have to approve."""
        return {Rule.AUTOMATIC: 0, Rule.TWO_PEOPLE: 2}.get(self.rule, 1)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of which an approver has at least one; a tenant admin may stand in for the manager of `Rule.MANAGER` (`evaluate`)."""
        return {
            Rule.AUTOMATIC: (),
            Rule.OWNER: (TENANT_ADMIN,),
            Rule.OWNER_TWICE: (TENANT_ADMIN,),
            Rule.MANAGER: (MANAGER,),
            Rule.TWO_PEOPLE: (MANAGER, TENANT_ADMIN),
        }[self.rule]

    def to_json(self) -> dict[str, object]:
        """For the API's `approvals.required`."""
        return {
            "level": self.level,
            "tier": self.tier,
            "rule": self.rule.value,
            "people": self.people,
            "not_author": self.not_author,
            "sentence": self.sentence,
        }


_AUTOMATIC = (Rule.AUTOMATIC, False, "Nobody has to approve.")
_ONE_MANAGER = (Rule.MANAGER, True, "One manager who is not an author has to approve.")
_TABLE: Final[dict[str, dict[str, tuple[Rule, bool, str]]]] = {
    "personal": {
        "low": _AUTOMATIC,
        "medium": (Rule.OWNER, False, "The owner has to confirm."),
        "high": (Rule.OWNER_TWICE, False, "The owner has to confirm twice, at least 10 minutes apart."),
    },
    "team": {
        "low": _AUTOMATIC,
        "medium": _ONE_MANAGER,
        "high": (Rule.TWO_PEOPLE, False, "Two people have to approve, one of them a tenant admin."),
    },
    "enterprise": {
        "low": (Rule.MANAGER, False, "One manager has to approve."),
        "medium": _ONE_MANAGER,
        "high": (Rule.TWO_PEOPLE, True, "Two people have to approve, one of them a tenant admin and neither of them an author."),
    },
}


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's yes. `roles` are those held in the layer's tenant when it was given, `binding` what it was given for; `delegated_from`
    is the person whose right was used, and an author's delegate counts as an author."""

    user_id: UUID
    roles: frozenset[str]
    at: datetime
    binding: str
    is_author: bool = False
    delegated_from: UUID | None = None

    def by_author(self, authors: Collection[UUID]) -> bool:
        return self.is_author or self.user_id in authors or (self.delegated_from is not None and self.delegated_from in authors)


@dataclass(frozen=True, slots=True)
class Status:
    """How far the approvals are. `counted` fulfil the demand or a part of it, `stale` were given for something else, `not_counted` are of
    people whose word the demand doesn't ask for. `missing` are sentences for a person, empty iff `satisfied`."""

    satisfied: bool
    missing: tuple[str, ...]
    counted: tuple[Approval, ...] = ()
    stale: tuple[Approval, ...] = ()
    not_counted: tuple[Approval, ...] = ()


def column(tier: str, scope_type: str) -> str:
    """The column of the table: layers above tenant are approved by the people of `platform`, by the enterprise column."""
    return "enterprise" if ScopeType(scope_type).above_tenant else tier


def demand(level: str, tier: str, *, forced: bool = False) -> Demand:
    """What a risk level demands in a tier (`column` first); `force` takes one level higher, high stays high."""
    level = _HIGHER[level] if forced else level
    rule, not_author, sentence = _TABLE[tier][level]
    return Demand(level, tier, rule, not_author, sentence)


def binding(challenger_digest: str | None, ancestor_champion_digests: Mapping[str, str | None], thresholds_digest: str) -> str:
    """The `sha256:…` that approvals are bound to. `ancestor_champion_digests` has, by layer, the champions of all layers at or above the
    promotion's own (None: no champion); the challenger is None when the layer is retired."""
    bound = {"challenger": challenger_digest, "champions": dict(ancestor_champion_digests), "thresholds": thresholds_digest}
    return digest(canonical_bytes(bound))


def evaluate(
    demand: Demand,
    approvals: Sequence[Approval],
    *,
    current_binding: str,
    authors: Collection[UUID],
    now: datetime,
    sole_manager_is_author: bool = False,
) -> Status:
    """Whether what is demanded has been given for what stands now.

    `sole_manager_is_author`: there is no manager in the tenant who isn't an author; then a tenant admin stands in for the manager.
    `now` only words what is missing: an approval counts by its own time.
    """
    stale = tuple(approval for approval in approvals if approval.binding != current_binding)
    bound = [approval for approval in approvals if approval.binding == current_binding]
    counted = tuple(a for a in bound if _counts(demand, a.roles, a.by_author(authors), sole_manager_is_author))
    missing = _missing(demand, counted, now, sole_manager_is_author)
    not_counted = tuple(approval for approval in bound if approval not in counted)
    return Status(not missing, missing, counted, stale, not_counted)


def check_may_approve(
    demand: Demand,
    approvals: Sequence[Approval],
    *,
    approval: Approval,
    state: State | str,
    current_binding: str,
    authors: Collection[UUID],
    sole_manager_is_author: bool = False,
) -> None:
    """Whether this approval may be given now, beside those given before.

    `approval.binding` is what the approver was shown. Raises Problem `already_decided` when the promotion is over or this person has
    approved it already, `own_promotion` when the demand excludes authors, `permission_denied` for a role whose word isn't asked for,
    `approval_stale` when what was shown has changed since, `wrong_state` when there is nothing to approve yet or the owner's second
    confirmation comes less than 10 minutes after the first.
    """
    if State(state) in TERMINAL:
        next_state(state, Event.APPROVED)
    if demand.not_author and approval.by_author(authors):
        raise problem("own_promotion", f"You are an author of this change: you wrote, requested or started it. {demand.sentence}")
    if not _counts(demand, approval.roles, False, sole_manager_is_author) and demand.rule is not Rule.AUTOMATIC:
        note = " A tenant admin stands in only when no manager is free of authorship." if TENANT_ADMIN in approval.roles else ""
        raise problem("permission_denied", f"{demand.sentence}{note}")
    if approval.binding != current_binding:
        raise problem(
            "approval_stale",
            "The challenger, a champion at or above its layer, or the thresholds have changed since this was shown to you. "
            "Read the promotion again, then approve.",
        )
    before = [a.at for a in approvals if a.user_id == approval.user_id and a.binding == current_binding]
    if before and demand.rule is not Rule.OWNER_TWICE:
        raise problem("already_decided", f"You approved this promotion at {_clock(min(before))}; once is enough.")
    next_state(state, Event.APPROVED)
    if before and approval.at < min(before) + COOLING:
        when = _clock(min(before) + COOLING)
        raise problem("wrong_state", f"The second confirmation is possible from {when}, 10 minutes after the first.")


def _counts(demand: Demand, roles: Collection[str], by_author: bool, sole_manager_is_author: bool) -> bool:
    if demand.not_author and by_author:
        return False
    stand_in = demand.rule is Rule.MANAGER and sole_manager_is_author and TENANT_ADMIN in roles
    return stand_in or any(role in demand.roles for role in roles)


def _missing(demand: Demand, counted: Sequence[Approval], now: datetime, sole_manager_is_author: bool) -> tuple[str, ...]:
    if demand.rule is Rule.AUTOMATIC:
        return ()
    if demand.rule is Rule.TWO_PEOPLE:
        return _missing_of_two(demand, counted)
    if not counted:
        stand_in = demand.rule is Rule.MANAGER and sole_manager_is_author
        return (f"{demand.sentence} A tenant admin stands in: no manager is free of authorship." if stand_in else demand.sentence,)
    if demand.rule is Rule.OWNER_TWICE:
        times = [approval.at for approval in counted]
        possible = min(times) + COOLING
        if max(times) < possible:
            when = "which is possible now" if now >= possible else f"from {_clock(possible)} on"
            return (f"The owner has to confirm a second time, {when}.",)
    return ()


def _missing_of_two(demand: Demand, counted: Sequence[Approval]) -> tuple[str, ...]:
    people = {approval.user_id for approval in counted}
    has_admin = any(TENANT_ADMIN in approval.roles for approval in counted)
    not_author = " who is not an author" if demand.not_author else ""
    if not people:
        return (demand.sentence,)
    if not has_admin:
        return (f"A tenant admin{not_author} has to approve as well.",)
    return () if len(people) > 1 else (f"One more manager or tenant admin{not_author} has to approve.",)


def _clock(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S %Z").strip()
