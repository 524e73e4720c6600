"""What a promotion is judged from, as the present transaction sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from apps.core.access import Action
from apps.core.context import ActionContext
from apps.core.querysets import RestrictedQuerySet
from apps.evals.selectors.prefix import prefix_or_none
from apps.identity.holdings import granted_people
from apps.identity.models import Membership
from apps.identity.permissions import can
from apps.packs.chains import Pictures, ancestor_digests, prefix_entries
from apps.packs.domain.content import prompt_tokens
from apps.packs.domain.fold import fold
from apps.packs.models import Layer, PackKind, PackVersion
from apps.packs.pointers import references
from apps.packs.selectors import champion_of
from apps.promotions.domain import approvals as rules
from apps.promotions.domain.evidence import Arm
from apps.promotions.domain.rollback import DecisionFact
from apps.promotions.domain.thresholds import Thresholds, digest, strictest
from apps.promotions.models import Approval, Decision, Promotion

RELATED = (
    "layer__pack",
    "layer__tenant",
    "layer__champion",
    "layer__team",
    "layer__agent__team",
    "champion",
    "challenger__created_by",
    "requested_by",
    "tenant",
)


def promotion_rows() -> RestrictedQuerySet:
    rows: RestrictedQuerySet = Promotion.objects.select_related(*RELATED)
    return rows


@dataclass(frozen=True, slots=True)
class Side:
    """One arm with the effective content that it stands for."""

    arm: Arm
    content: Mapping[str, Any]


def side_of(layer: Layer, version: PackVersion | None, pictures: Pictures | None = None) -> Side | None:
    """The chain cut after the layer with `version` in its place; None where nothing is live or valid there."""
    if layer.pack.kind == PackKind.POLICY:
        effective = fold(references(prefix_entries(layer, version, pictures)))
        return Side(Arm(effective.digest, prompt_tokens(effective.content)), effective.content)
    prefix = prefix_or_none(layer, version, pictures)
    return Side(Arm(prefix.digest, prefix.prompt_tokens), prefix.content) if prefix else None


@dataclass(frozen=True, slots=True)
class Sides:
    """Both arms as they stand now. `champion` is the layer's champion or, without one, the effective pack without the layer."""

    champion: Side | None
    challenger: Side | None

    @classmethod
    def of(cls, promotion: Promotion, pictures: Pictures | None = None) -> Sides:
        layer = promotion.layer
        pictures = pictures or Pictures.of(layer.tenant_id)
        return cls(side_of(layer, champion_of(layer), pictures), side_of(layer, promotion.challenger, pictures))

    @property
    def thresholds(self) -> Thresholds:
        """Field by field the stricter of both packs' demands."""
        blocks = [side.content.get("promotion") if side else None for side in (self.champion, self.challenger)]
        return strictest(*blocks)


def binding_of(promotion: Promotion, thresholds: Thresholds, pictures: Pictures | None = None) -> str:
    """What approvals are bound to now."""
    challenger = promotion.challenger.digest if promotion.challenger else None
    return rules.binding(challenger, ancestor_digests(promotion.layer, pictures), digest(thresholds))


def authors_of(promotion: Promotion) -> frozenset[UUID]:
    """Everyone who wrote a version between champion and challenger, and the requester."""
    found = {promotion.requested_by_id}
    if promotion.challenger is not None:
        after = promotion.champion.number if promotion.champion else 0
        between = Q(number__gt=after, number__lte=promotion.challenger.number)
        found |= set(promotion.layer.versions.filter(between).values_list("created_by_id", flat=True))
    return frozenset(user for user in found if user is not None)


def author_kinds_of(promotion: Promotion) -> set[str]:
    if promotion.challenger is None:
        return set()
    after = promotion.champion.number if promotion.champion else 0
    between = promotion.layer.versions.filter(number__gt=after, number__lte=promotion.challenger.number)
    return set(between.values_list("author_kind", flat=True))


def every_manager_is_author(promotion: Promotion, authors: frozenset[UUID]) -> bool:
    """Whether no manager of the layer's tenant is free of authorship, so that a tenant admin stands in."""
    now = timezone.now()
    held = Membership.objects.filter(tenant_id=promotion.tenant_id, role=rules.MANAGER, user__is_active=True)
    held = held.filter(Q(until__isnull=True) | Q(until__gt=now)).filter(Q(team__isnull=True) | Q(team_id=promotion.layer.team_id))
    return not held.exclude(user_id__in=authors).exists() and not granted_people(promotion.tenant_id, promotion, Action.APPROVE) - authors


def roles_here(ctx: ActionContext, layer: Layer) -> frozenset[str]:
    """The actor's roles that count for this layer. Who may approve by a grant alone counts as a manager, never as a tenant admin."""
    if layer.tenant_id != ctx.tenant_id:
        return frozenset()
    held = frozenset(grant.role for grant in ctx.roles if grant.team_id in (None, layer.team_id))
    if held & {rules.MANAGER, rules.TENANT_ADMIN}:
        return held
    granted = can(ctx, Action.APPROVE, tenant_id=layer.tenant_id, team_id=layer.team_id, on=layer)
    return held | {rules.MANAGER} if granted else held


def given_approvals(promotion: Promotion) -> list[rules.Approval]:
    """The approvals that stand."""
    rows = Approval.objects.filter(promotion=promotion, approved=True, voided_at__isnull=True).order_by("created_at")
    return [rules.Approval(row.user_id, frozenset(row.roles), row.created_at, row.binding) for row in rows]


def demand_of(promotion: Promotion, *, level: str | None = None) -> rules.Demand:
    tier = rules.column(promotion.layer.tenant.tier, promotion.layer.scope_type)
    return rules.demand(level or promotion.risk_level, tier, forced=promotion.forced)


def history_of(layer: Layer, violations: Mapping[UUID, tuple[str, ...]]) -> list[DecisionFact]:
    """The layer's decisions in their order, with today's truth about each challenger."""
    rows = Decision.objects.filter(layer=layer).order_by("created_at", "id").select_related("challenger_version")
    facts = []
    for row in rows:
        version = row.challenger_version
        facts.append(
            DecisionFact(
                row.decision,
                row.champion_version_id,
                row.challenger_version_id,
                version.number if version else 0,
                bool(version and version.quarantined_at),
                violations.get(version.pk, ()) if version else (),
            )
        )
    return facts
