"""What the lists of identity can be asked for."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet
from django_filters import rest_framework as filters

from apps.identity.domain.roles import MEMBER_ROLES
from apps.identity.models import Agent, AgentStatus, Autonomy, Membership, Organisation, Team, Tenant, TenantGroup, TenantStatus, Tier


class NamedFilter(filters.FilterSet):
    search = filters.CharFilter(method="by_words", help_text="In slug and name.")

    def by_words(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return rows.filter(Q(slug__icontains=value) | Q(name__icontains=value))


class OrganisationFilter(NamedFilter):
    class Meta:
        model = Organisation
        fields: list[str] = []


class TenantFilter(NamedFilter):
    organisation = filters.CharFilter(field_name="organisation__slug")
    tier = filters.ChoiceFilter(choices=Tier.choices)
    status = filters.ChoiceFilter(choices=[choice for choice in TenantStatus.choices if choice[0] != TenantStatus.DELETED])

    class Meta:
        model = Tenant
        fields: list[str] = []


class TeamFilter(NamedFilter):
    class Meta:
        model = Team
        fields: list[str] = []


class AgentFilter(NamedFilter):
    team = filters.CharFilter(field_name="team__slug")
    domain = filters.CharFilter()
    autonomy = filters.ChoiceFilter(choices=Autonomy.choices)
    status = filters.ChoiceFilter(choices=AgentStatus.choices)

    class Meta:
        model = Agent
        fields: list[str] = []


class MemberFilter(filters.FilterSet):
    role = filters.ChoiceFilter(choices=[(role, role) for role in MEMBER_ROLES])
    team = filters.CharFilter(field_name="team__slug")
    search = filters.CharFilter(method="by_words", help_text="In e-mail address and name.")

    class Meta:
        model = Membership
        fields: list[str] = []

    def by_words(self, rows: QuerySet[Membership], name: str, value: str) -> QuerySet[Membership]:
        return rows.filter(Q(user__email__icontains=value) | Q(user__name__icontains=value))


class GroupFilter(filters.FilterSet):
    search = filters.CharFilter(method="by_words", help_text="In name and description.")
    user = filters.CharFilter(method="by_user", help_text="The groups that the person with this e-mail address is in.")

    class Meta:
        model = TenantGroup
        fields: list[str] = []

    def by_words(self, rows: QuerySet[TenantGroup], name: str, value: str) -> QuerySet[TenantGroup]:
        return rows.filter(Q(name__icontains=value) | Q(description__icontains=value))

    def by_user(self, rows: QuerySet[TenantGroup], name: str, value: str) -> QuerySet[TenantGroup]:
        return rows.filter(members__user__email=value.strip().lower())
