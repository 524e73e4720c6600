"""Filters of the registry's lists."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django_filters import rest_framework as filters

from apps.packs.models import AuthorKind, Layer, Pack, PackKind, PackVersion, ScopeKind, VersionStatus


class PackFilter(filters.FilterSet):
    kind = filters.ChoiceFilter(choices=PackKind.choices)
    domain = filters.CharFilter()
    search = filters.CharFilter(method="find", label="In slug, title and description.")

    class Meta:
        model = Pack
        fields = ["kind", "domain", "search"]

    def find(self, rows: QuerySet[Pack], name: str, value: str) -> QuerySet[Pack]:
        return rows.filter(Q(slug__icontains=value) | Q(title__icontains=value) | Q(description__icontains=value))


class LayerFilter(filters.FilterSet):
    scope_type = filters.ChoiceFilter(choices=ScopeKind.choices)
    scope = filters.CharFilter()

    class Meta:
        model = Layer
        fields = ["scope_type", "scope"]


class VersionFilter(filters.FilterSet):
    status = filters.ChoiceFilter(choices=VersionStatus.choices)
    scope = filters.CharFilter(field_name="layer__scope")
    author_kind = filters.ChoiceFilter(choices=AuthorKind.choices)
    since = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = PackVersion
        fields = ["status", "scope", "author_kind", "since", "until"]
