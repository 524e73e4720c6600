"""What a promotion is judged from, as the present transaction sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import F, Q
from django.db.models.functions import Coalesce

from apps.core.querysets import RestrictedQuerySet
from apps.evals.selectors.prefix import prefix_or_none
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
    return authors_of_each([promotion])[promotion.pk]


def authors_of_each(promotions: Sequence[Promotion]) -> dict[UUID, frozenset[UUID]]:
    """The authors of several promotions, by one query."""
    found = {promotion.pk: {promotion.requested_by_id} for promotion in promotions}
    between = Q(layer__versions__number__gt=Coalesce("champion__number", 0), layer__versions__number__lte=F("challenger__number"))
    written = Promotion.objects.filter(between, pk__in=found).order_by().values_list("pk", "layer__versions__created_by")
    for promotion_id, user_id in written:
        found[promotion_id].add(user_id)
    return {promotion_id: frozenset(user for user in users if user is not None) for promotion_id, users in found.items()}


def author_kinds_of(promotion: Promotion) -> set[str]:
    if promotion.challenger is None:
        return set()
    after = promotion.champion.number if promotion.champion else 0
    between = promotion.layer.versions.filter(number__gt=after, number__lte=promotion.challenger.number)
    return set(between.values_list("author_kind", flat=True))


def given_of_each(promotions: Sequence[Promotion]) -> dict[UUID, list[rules.Approval]]:
    """The approvals that stand, of several promotions, by one query."""
    found: dict[UUID, list[rules.Approval]] = {promotion.pk: [] for promotion in promotions}
    rows = Approval.objects.filter(promotion__in=found, approved=True, voided_at__isnull=True).order_by("created_at")
    for row in rows:
        found[row.promotion_id].append(as_given(row))
    return found


def given_approvals(promotion: Promotion) -> list[rules.Approval]:
    """The approvals that stand."""
    return given_of_each([promotion])[promotion.pk]


def as_given(row: Approval) -> rules.Approval:
    return rules.Approval(row.user_id, frozenset(row.roles), row.created_at, row.binding, delegated_from=row.on_behalf_of_id)


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
