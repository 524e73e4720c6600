"""Filters of the decisions API."""

from __future__ import annotations

from django_filters import rest_framework as filters

from apps.promotions.models import Decision, DecisionKind, Promotion, State


class PromotionFilter(filters.FilterSet):
    layer = filters.UUIDFilter("layer_id")
    state = filters.MultipleChoiceFilter(choices=State.choices)
    pack = filters.CharFilter(field_name="layer__pack__slug")
    scope = filters.CharFilter(field_name="layer__scope")
    risk = filters.ChoiceFilter(field_name="risk_level", choices=[(level, level) for level in ("low", "medium", "high")])
    since = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Promotion
        fields = ["state", "pack", "scope", "risk", "layer", "since", "until"]


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
