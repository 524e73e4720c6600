"""Filters of the decisions API."""

from __future__ import annotations

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from apps.core.http import context_of
from apps.promotions.deciders import waiting_for
from apps.promotions.models import Decision, DecisionKind, Promotion, State


class PromotionFilter(filters.FilterSet):
    layer = filters.UUIDFilter("layer_id")
    state = filters.MultipleChoiceFilter(choices=State.choices)
    pack = filters.CharFilter(field_name="layer__pack__slug")
    scope = filters.CharFilter(field_name="layer__scope")
    risk = filters.ChoiceFilter(field_name="risk_level", choices=[(level, level) for level in ("low", "medium", "high")])
    since = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")
    awaiting = filters.ChoiceFilter(
        choices=[("me", "me")], method="by_decider", help_text="`me`: those that wait for your approval, and that you may give it to."
    )

    class Meta:
        model = Promotion
        fields = ["state", "pack", "scope", "risk", "layer", "since", "until", "awaiting"]

    def by_decider(self, rows: QuerySet[Promotion], name: str, value: str) -> QuerySet[Promotion]:
        return rows.filter(pk__in=list(waiting_for(context_of(self.request._request))))


class DecisionFilter(filters.FilterSet):
    layer = filters.UUIDFilter("layer_id")
    promotion = filters.UUIDFilter("promotion_id")
    decision = filters.ChoiceFilter(choices=DecisionKind.choices)
    pack = filters.CharFilter(field_name="layer__pack__slug")
    scope = filters.CharFilter(field_name="scope_id")
    since = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Decision
        fields = ["decision", "pack", "scope", "layer", "promotion", "since", "until"]
