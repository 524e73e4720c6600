"""Judging an open promotion by what is there now: evidence, thresholds, risk, approvals; and moving it accordingly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.utils import timezone

from apps.audit.services import record
from apps.core.context import ActionContext
from apps.packs.blast import layer_key
from apps.packs.chains import Pictures, violations_of
from apps.packs.domain.scopes import Scope
from apps.packs.domain.values import VersionRef
from apps.packs.selectors import Reach, blast_radius_of
from apps.promotions.deciders import capacities, every_manager_is_author, holders_of, limits
from apps.promotions.domain import approvals as rules
from apps.promotions.domain.evidence import Arm, Evidence
from apps.promotions.domain.gate import gate
from apps.promotions.domain.risk import Risk, RiskInput, assess
from apps.promotions.domain.thresholds import Thresholds
from apps.promotions.domain.transitions import Event, State, event_of, next_state
from apps.promotions.domain.verdict import Verdict
from apps.promotions.evidence import evidence_of
from apps.promotions.models import Approval, Invalid, Promotion
from apps.promotions.selectors import (
    Sides,
    as_given,
    author_kinds_of,
    authors_of,
    binding_of,
    demand_of,
    given_approvals,
)
from apps.promotions.services.decisions import close
from apps.promotions.services.telling import tell_decided, tell_requested

FIELDS = ["state", "forced", "risk_level", "risk_reasons", "thresholds", "verdict", "binding", "blast", "evaluated_at", "awaiting_since"]


@dataclass(frozen=True, slots=True)
class Assessment:
    """All that is true of a promotion now. `invalid`: the versions below that it makes invalid."""

    sides: Sides
    thresholds: Thresholds
    binding: str
    risk: Risk
    reach: Reach
    invalid: tuple[VersionRef, ...]
    authors: frozenset[UUID]
    sole_manager_is_author: bool
    demand: rules.Demand
    status: rules.Status
    verdict: Verdict
    # Why approvals were voided just now.
    voided: tuple[str, ...] = ()


def assess_now(ctx: ActionContext, promotion: Promotion, pictures: Pictures) -> Assessment:
    """Computes, changes nothing. `pictures`: what is live, read once, so that all of it is said of one state."""
    sides = Sides.of(promotion, pictures)
    thresholds = sides.thresholds
    reach = blast_radius_of(ctx, promotion.layer, promotion.challenger)
    below, broken = _offenders(promotion, reach)
    if promotion.challenger is not None:
        broken = [*(found.detail for found in violations_of(promotion.layer, promotion.challenger.content, pictures)), *broken]
    risk = _risk(promotion, sides, suspends=bool(below) and promotion.invalid == Invalid.SUSPEND)
    authors = authors_of(promotion)
    alone = every_manager_is_author(promotion, authors)
    demand = demand_of(promotion, level=risk.level)
    binding = binding_of(promotion, thresholds, pictures)
    status = rules.evaluate(
        demand,
        given_approvals(promotion),
        current_binding=binding,
        authors=authors,
        now=timezone.now(),
        sole_manager_is_author=alone,
    )
    names = sorted(layer_key(version.pack, str(version.scope)) for version in below)
    verdict = _verdict(promotion, sides, evidence_of(promotion, pictures), thresholds, names, broken, status)
    return Assessment(sides, thresholds, binding, risk, reach, below, authors, alone, demand, status, verdict)


def _offenders(promotion: Promotion, reach: Reach) -> tuple[tuple[VersionRef, ...], list[str]]:
    """The versions below that the change makes invalid, which wait or are suspended; and, a sentence each, those above, which it must not
    touch: they are others' too."""
    here = Scope.parse(promotion.layer.scope).type
    found = {version: why for version, why in reach.offenders().items() if version.version_id != str(promotion.challenger_id)}
    below = tuple(version for version in found if version.scope.type >= here)
    return below, [f"{version} stands above and would be left out: {why}" for version, why in found.items() if version.scope.type < here]


def _risk(promotion: Promotion, sides: Sides, *, suspends: bool) -> Risk:
    given = RiskInput(
        before=sides.champion.content if sides.champion else None,
        after=sides.challenger.content if sides.challenger else {},
        scope_type=promotion.layer.scope_type,
        author_kinds=author_kinds_of(promotion),
        aim=promotion.aim,
        no_champion=promotion.champion is None,
        suspends=suspends,
    )
    return assess(given)


def _verdict(
    promotion: Promotion,
    sides: Sides,
    evidence: Evidence,
    thresholds: Thresholds,
    invalid: list[str],
    broken: list[str],
    status: rules.Status,
) -> Verdict:
    challenger = sides.challenger
    if challenger is None:
        broken = broken or ["With this change nothing valid is left on the chain."]
    # A challenger that cannot be served still gets a verdict: the constraint rule names why it fails.
    arm = challenger.arm if challenger else Arm("", 0)
    return gate(
        arm,
        sides.champion.arm if sides.champion else None,
        evidence,
        thresholds,
        aim=promotion.aim,  # type: ignore[arg-type]
        invalid_descendants=invalid,
        invalid=promotion.invalid,  # type: ignore[arg-type]
        violations=broken,
        approvals=status,
    )


def reassess(ctx: ActionContext, promotion: Promotion) -> Assessment | None:
    """Judges an open promotion (its row locked by the caller) and moves it; None when its layer's champion moved and it has expired."""
    if promotion.layer.champion_id != promotion.champion_id:
        close(ctx, promotion, Event.EXPIRE, archived_reason="expired", reason="The layer's champion moved.")
        return None
    held = {name: getattr(promotion, name) for name in FIELDS}
    pictures = Pictures.of(promotion.layer.tenant_id)
    voided = void_lapsed(ctx, promotion, pictures)
    found = replace(assess_now(ctx, promotion, pictures), voided=tuple(voided))
    before = promotion.state
    if promotion.state == State.READY and not found.status.satisfied:
        promotion.state = next_state(promotion.state, Event.APPROVAL_VOIDED).value
    event = event_of(found.verdict.evidence_outcome.value, forced=promotion.forced, forceable=found.verdict.forceable)
    promotion.state = next_state(promotion.state, event).value
    if promotion.state == State.AWAITING_APPROVAL and found.status.satisfied:
        promotion.state = next_state(promotion.state, Event.APPROVED).value
    _keep(promotion, found, held)
    _tell(ctx, promotion, before)
    if promotion.state != before:
        facts = {"from": before, "to": promotion.state, "outcome": found.verdict.evidence_outcome.value, "risk": found.risk.level}
        record(ctx, "promotion.assessed", promotion, data=facts)
    return found


def _keep(promotion: Promotion, found: Assessment, held: dict[str, Any]) -> None:
    """Saves what moved: a judgement that changes nothing leaves no history."""
    risk = found.risk.to_json()
    promotion.risk_level, promotion.risk_reasons = risk["level"], risk["reasons"]
    promotion.thresholds, promotion.verdict = found.thresholds.to_json(), found.verdict.to_json()
    promotion.binding, promotion.blast = found.binding, found.reach.as_json()
    promotion.evaluated_at = timezone.now()
    waits = promotion.state == State.AWAITING_APPROVAL
    promotion.awaiting_since = (promotion.awaiting_since or promotion.evaluated_at) if waits else None
    promotion.save(update_fields=[name for name in FIELDS if getattr(promotion, name) != held[name]])


def _tell(ctx: ActionContext, promotion: Promotion, before: str) -> None:
    """Whom a new demand, or the end of one, concerns."""
    if promotion.state == State.AWAITING_APPROVAL and promotion.awaiting_since == promotion.evaluated_at:
        tell_requested(ctx, promotion)
    if promotion.state == State.READY and before != State.READY and demand_of(promotion).people:
        tell_decided(ctx, promotion, "approved")


def lapsed(promotion: Promotion, binding: str | None = None) -> list[tuple[Approval, str]]:
    """The standing approvals that no longer count, each with the reason: given for something else than `binding` (by default what was
    judged last), too long ago, or by somebody who could not give it now."""
    rows = list(Approval.objects.filter(promotion=promotion, approved=True, voided_at__isnull=True).order_by("created_at"))
    if not rows:
        return []
    held = holders_of(promotion.layer, {row.user_id for row in rows})
    now, found = timezone.now(), []
    for row in rows:
        why = rules.lapse(
            as_given(row),
            current_binding=promotion.binding if binding is None else binding,
            still_held=capacities(held.get(row.user_id, ()), promotion.layer),
            now=now,
            lasts=limits().approval,
        )
        if why is not None:
            found.append((row, why))
    return found


def void_lapsed(ctx: ActionContext, promotion: Promotion, pictures: Pictures) -> list[str]:
    """Voids, visibly, the approvals that no longer count, and tells people; why, a sentence each."""
    binding = binding_of(promotion, Sides.of(promotion, pictures).thresholds, pictures)
    said = []
    for approval, why in lapsed(promotion, binding):
        approval.voided_at, approval.voided_reason = timezone.now(), why
        approval.save(update_fields=["voided_at", "voided_reason"])
        record(ctx, "approval.voided", approval, data={"promotion": str(promotion.pk)}, reason=why)
        tell_decided(ctx, promotion, "voided", because=why)
        said.append(why)
    return said
