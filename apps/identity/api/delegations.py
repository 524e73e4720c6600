"""Roles that are lent while somebody is away."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.identity import services
from apps.identity.api.base import Resource
from apps.identity.api.serializers import ROLES as MEMBER_ROLES
from apps.identity.api.serializers import ReasonSerializer
from apps.identity.models import Delegation

ROLES = list(Delegation._meta.get_field("role").choices or ())


class DelegationSerializer(serializers.ModelSerializer[Delegation]):
    from_user = serializers.EmailField(source="from_user.email", help_text="Whose role it is.")
    to_user = serializers.EmailField(source="to_user.email", help_text="Who holds it meanwhile.")
    team = serializers.CharField(source="team.slug", allow_null=True, default=None)
    live = serializers.SerializerMethodField(help_text="Neither ended nor past its end.")

    class Meta:
        model = Delegation
        fields = ["id", "from_user", "to_user", "role", "team", "until", "reason", "live", "created_at", "revoked_at"]

    def get_live(self, row: Delegation) -> bool:
        return row.revoked_at is None and row.until > timezone.now()


class DelegationCreate(serializers.Serializer[Any]):
    to_user = serializers.EmailField(help_text="A member of the tenant.")
    role = serializers.ChoiceField(MEMBER_ROLES, help_text="One of your own roles; those that only look are not lent.")
    team = serializers.CharField(max_length=63, required=False, allow_null=True, help_text="A team's slug; else the role as a whole.")
    until = serializers.DateTimeField(help_text="At most 90 days from now.")
    reason = serializers.CharField(max_length=2000, required=False, allow_blank=True, default="")


class DelegationFilter(filters.FilterSet):
    from_user = filters.CharFilter(field_name="from_user__email", lookup_expr="iexact")
    to_user = filters.CharFilter(field_name="to_user__email", lookup_expr="iexact")
    role = filters.ChoiceFilter(choices=ROLES)
    team = filters.CharFilter(field_name="team__slug")
    live = filters.BooleanFilter(method="by_life", help_text="Neither ended nor past its end.")

    class Meta:
        model = Delegation
        fields: list[str] = []

    def by_life(self, rows: QuerySet[Delegation], name: str, value: bool) -> QuerySet[Delegation]:
        live = Q(revoked_at__isnull=True, until__gt=timezone.now())
        return rows.filter(live if value else ~live)


@extend_schema_view(list=extend_schema(summary="The tenant's delegations"), retrieve=extend_schema(summary="A delegation"))
class DelegationViewSet(Resource):
    """Who stands in for whom, in which role and until when. Nobody lends what they lack, or what is lent to them."""

    queryset = Delegation.objects.all()
    serializer_class = DelegationSerializer
    filterset_class = DelegationFilter
    lookup_field = "pk"
    lookup_url_kwarg = "pk"
    related = ("team", "from_user", "to_user")

    @extend_schema(summary="Lends one of your own roles", request=DelegationCreate, responses={201: DelegationSerializer})
    def create(self, request: Request) -> Response:
        return self.answer(services.delegate(ctx=self.ctx, **self.body(DelegationCreate)), 201)

    @extend_schema(summary="Takes a lent role back", request=ReasonSerializer, responses=DelegationSerializer)
    @action(detail=True, methods=["post"], filterset_class=None)
    def end(self, request: Request, pk: str) -> Response:
        return self.answer(services.end_delegation(ctx=self.ctx, delegation_id=pk, **self.body(ReasonSerializer)))
