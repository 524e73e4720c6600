"""Who has to approve a promotion, whether they have, and what their approval is bound to (`domain.md` 6)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from apps.core.domain.canonical import canonical_bytes, digest
from apps.core.errors import problem
from apps.packs.domain.scopes import ScopeType
from apps.promotions.domain.expiry import days
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
    """One person's yes. `roles` are those by which it was given, `binding` what it was given for; `delegated_from` is the person whose
    right was used, and an author's delegate counts as an author."""

    user_id: UUID
    roles: frozenset[str]
    at: datetime
    binding: str
    is_author: bool = False
    delegated_from: UUID | None = None

    def by_author(self, authors: Collection[UUID]) -> bool:
        return self.is_author or not self.people.isdisjoint(authors)

    @property
    def people(self) -> frozenset[UUID]:
        """Who spoke: the person and, by delegation, the one whose right it was. Two approvals are of two people where they share neither."""
        return frozenset({self.user_id} if self.delegated_from is None else {self.user_id, self.delegated_from})


@dataclass(frozen=True, slots=True)
class Capacity:
    """In which a person may answer: their own roles, or those of somebody who delegated them."""

    roles: frozenset[str]
    delegated_from: UUID | None = None


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
    counted = tuple(a for a in bound if _counts(demand, a, authors, sole_manager_is_author))
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
    or the one whose right they use has approved it already, `own_promotion` when the demand, or a delegated right, excludes authors,
    `permission_denied` for a role whose word isn't asked for,
    `approval_stale` when what was shown has changed since, `wrong_state` when there is nothing to approve yet or the owner's second
    confirmation comes less than 10 minutes after the first.
    """
    if State(state) in TERMINAL:
        next_state(state, Event.APPROVED)
    if (demand.not_author or approval.delegated_from is not None) and approval.by_author(authors):
        raise problem("own_promotion", _own(demand, approval, authors))
    if not _asked(demand, approval.roles, sole_manager_is_author) and demand.rule is not Rule.AUTOMATIC:
        note = " A tenant admin stands in only when no manager is free of authorship." if TENANT_ADMIN in approval.roles else ""
        raise problem("permission_denied", f"{demand.sentence}{note}")
    if approval.binding != current_binding:
        raise problem(
            "approval_stale",
            "The challenger, a champion at or above its layer, or the thresholds have changed since this was shown to you. "
            "Read the promotion again, then approve.",
        )
    same = [a for a in approvals if a.binding == current_binding and not a.people.isdisjoint(approval.people)]
    before = [a.at for a in same]
    if before and demand.rule is not Rule.OWNER_TWICE:
        who = "You" if any(a.user_id == approval.user_id for a in same) else "The person you act for, or who acts for them,"
        raise problem("already_decided", f"{who} approved this promotion at {_clock(min(before))}; once is enough.")
    next_state(state, Event.APPROVED)
    if before and approval.at < min(before) + COOLING:
        when = _clock(min(before) + COOLING)
        raise problem("wrong_state", f"The second confirmation is possible from {when}, 10 minutes after the first.")


def capacity(
    demand: Demand,
    approvals: Sequence[Approval],
    *,
    user_id: UUID,
    capacities: Sequence[Capacity],
    current_binding: str,
    authors: Collection[UUID],
    sole_manager_is_author: bool = False,
    now: datetime | None = None,
) -> Capacity | None:
    """In which of the capacities the person's approval would bring the promotion on; None where they have nothing to decide: an author,
    somebody who has answered, or whose word isn't asked for. One's own right goes before a delegated one that would do no more. With
    `now`, also None while an owner's second confirmation would come too early.
    """
    if demand.rule is Rule.AUTOMATIC:
        return None
    bound = [approval for approval in approvals if approval.binding == current_binding]
    at = max((approval.at for approval in bound), default=None)
    possible = []
    for each in capacities:
        approval = Approval(
            user_id, each.roles, at or datetime.max.replace(tzinfo=UTC), current_binding, delegated_from=each.delegated_from
        )
        heard = [a.at for a in bound if not a.people.isdisjoint(approval.people)]
        early = heard and (demand.rule is not Rule.OWNER_TWICE or (now is not None and now < min(heard) + COOLING))
        if not early and _counts(demand, approval, authors, sole_manager_is_author):
            possible.append((each, approval))
    for each, approval in possible:
        counted = [a for a in bound if _counts(demand, a, authors, sole_manager_is_author)]
        if demand.rule is not Rule.TWO_PEOPLE or not _missing_of_two(demand, [*counted, approval]):
            return each
    # Nobody's word alone is enough yet: an admin's brings it further than a manager's.
    possible.sort(key=lambda found: TENANT_ADMIN not in found[0].roles)
    return possible[0][0] if possible else None


def lapse(approval: Approval, *, current_binding: str, still_held: Collection[Capacity], now: datetime, lasts: timedelta) -> str | None:
    """Why an approval no longer stands, a sentence; None where it does. `still_held`: the capacities that its giver has now.

    It stands for what was shown, for so long, and while its giver could still give it: each approving role by which it was given.
    """
    if approval.binding != current_binding:
        return "The challenger, a champion at or above the layer, or the thresholds changed."
    if now >= approval.at + lasts:
        return f"It was given on {_clock(approval.at)} and the promotion was not started within {days(lasts)}."
    used = approval.roles & {MANAGER, TENANT_ADMIN}
    held = {role for each in still_held if each.delegated_from == approval.delegated_from for role in each.roles}
    lost = sorted(used - held)
    if lost:
        names = " and ".join(role.replace("_", " ") for role in lost)
        by = "" if approval.delegated_from is None else ", a role that was lent and is so no longer"
        return f"Who gave it is not {names} here any more{by}."
    return None


def _own(demand: Demand, approval: Approval, authors: Collection[UUID]) -> str:
    who = "You are" if approval.user_id in authors or approval.is_author else "The person for whom you act is"
    why = demand.sentence if approval.delegated_from is None else "By a delegated right nobody approves what either of the two made."
    return f"{who} an author of this change: wrote, requested or started it. {why}"


def _counts(demand: Demand, approval: Approval, authors: Collection[UUID], sole_manager_is_author: bool) -> bool:
    """A delegated right never serves what either of the two has made, whatever the tier lets an author do in their own right."""
    if (demand.not_author or approval.delegated_from is not None) and approval.by_author(authors):
        return False
    return _asked(demand, approval.roles, sole_manager_is_author)


def _asked(demand: Demand, roles: Collection[str], sole_manager_is_author: bool) -> bool:
    """Whether the demand asks for the word of somebody with these roles."""
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
    not_author = " who is not an author" if demand.not_author else ""
    if not counted:
        return (demand.sentence,)
    admins = [approval for approval in counted if TENANT_ADMIN in approval.roles]
    if not admins:
        return (f"A tenant admin{not_author} has to approve as well.",)
    # Two people: a delegate and the one they act for are one.
    if any(admin.people.isdisjoint(other.people) for admin in admins for other in counted):
        return ()
    return (f"One more manager or tenant admin{not_author} has to approve.",)


def _clock(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S %Z").strip()
