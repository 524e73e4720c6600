"""Teams, agents and members of the context's tenant."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.identity import services
from apps.identity.api import serializers as shapes
from apps.identity.api.base import Resource
from apps.identity.api.filters import AgentFilter, MemberFilter, TeamFilter
from apps.identity.models import Agent, Membership, Team


@extend_schema_view(list=extend_schema(summary="The tenant's teams"), retrieve=extend_schema(summary="A team"))
class TeamViewSet(Resource):
    """Teams of the tenant."""

    queryset = Team.objects.all()
    serializer_class = shapes.TeamSerializer
    filterset_class = TeamFilter
    lookup_field = "slug"
    related = ("tenant",)

    @extend_schema(summary="Makes a team", request=shapes.TeamCreate, responses={201: shapes.TeamSerializer})
    def create(self, request: Request) -> Response:
        return self.answer(services.create_team(ctx=self.ctx, **self.body(shapes.TeamCreate)), 201)

    @extend_schema(summary="Renames a team", request=shapes.NameChange, responses=shapes.TeamSerializer)
    def partial_update(self, request: Request, slug: str) -> Response:
        self.check_unchanged(request)
        return self.answer(services.update_team(ctx=self.ctx, slug=slug, **self.body(shapes.NameChange)))


@extend_schema_view(list=extend_schema(summary="The tenant's agents"), retrieve=extend_schema(summary="An agent"))
class AgentViewSet(Resource):
    """Agents of the tenant."""

    queryset = Agent.objects.all()
    serializer_class = shapes.AgentSerializer
    filterset_class = AgentFilter
    lookup_field = "slug"
    related = ("tenant", "team")

    @extend_schema(summary="Makes an agent", request=shapes.AgentCreate, responses={201: shapes.AgentSerializer})
    def create(self, request: Request) -> Response:
        return self.answer(services.create_agent(ctx=self.ctx, **self.body(shapes.AgentCreate)), 201)

    @extend_schema(summary="Changes an agent", request=shapes.AgentChange, responses=shapes.AgentSerializer)
    def partial_update(self, request: Request, slug: str) -> Response:
        self.check_unchanged(request)
        return self.answer(services.update_agent(ctx=self.ctx, slug=slug, **self.body(shapes.AgentChange)))

    @extend_schema(summary="Retires an agent for good: its tokens are revoked", request=None, responses={204: None})
    def destroy(self, request: Request, slug: str) -> Response:
        self.check_unchanged(request)
        services.retire_agent(ctx=self.ctx, slug=slug)
        return Response(status=204)

    @extend_schema(
        summary="Refuses an agent's tokens until it is activated", request=shapes.ReasonSerializer, responses=shapes.AgentSerializer
    )
    @action(detail=True, methods=["post"], filterset_class=None)
    def suspend(self, request: Request, slug: str) -> Response:
        return self.answer(services.suspend_agent(ctx=self.ctx, slug=slug, **self.body(shapes.ReasonSerializer)))

    @extend_schema(summary="Lifts an agent's suspension", request=shapes.ReasonSerializer, responses=shapes.AgentSerializer)
    @action(detail=True, methods=["post"], filterset_class=None)
    def activate(self, request: Request, slug: str) -> Response:
        return self.answer(services.activate_agent(ctx=self.ctx, slug=slug, **self.body(shapes.ReasonSerializer)))


@extend_schema_view(list=extend_schema(summary="The tenant's memberships"), retrieve=extend_schema(summary="A membership"))
class MemberViewSet(Resource):
    """Who holds which role in the tenant, or in one of its teams. Nobody can grant a role whose actions they lack."""

    queryset = Membership.objects.all()
    serializer_class = shapes.MemberSerializer
    filterset_class = MemberFilter
    lookup_field = "pk"
    lookup_url_kwarg = "pk"
    related = ("tenant", "team", "user")

    @extend_schema(
        summary="Gives a person a role in the tenant or one of its teams",
        request=shapes.MemberCreate,
        responses={201: shapes.MemberSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.answer(services.add_member(ctx=self.ctx, **self.body(shapes.MemberCreate)), 201)

    @extend_schema(summary="Changes role, end or harness reference", request=shapes.MemberChange, responses=shapes.MemberSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        self.check_unchanged(request)
        return self.answer(services.change_member(ctx=self.ctx, membership_id=pk, **self.body(shapes.MemberChange)))

    @extend_schema(summary="Takes the role away", request=None, responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        self.check_unchanged(request)
        services.remove_member(ctx=self.ctx, membership_id=pk)
        return Response(status=204)
