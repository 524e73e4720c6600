"""Harnesses, commands, requests to use a tool, suggestions."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.api.views import ContextView, ContextViewSet
from apps.core.context import EVERY_USER
from apps.fleet import services
from apps.fleet.api import serializers as s
from apps.fleet.models import ActionRequest, Command, Harness, Suggestion
from apps.fleet.models.commands import KINDS, ORDERS
from apps.fleet.models.requests import STATES
from apps.fleet.selectors.commands import counted
from apps.fleet.selectors.harnesses import STATES as HARNESS_STATES
from apps.fleet.selectors.harnesses import in_state
from apps.fleet.services.requests import visible_request
from apps.telemetry.api.screened import ScreenedMixin


class HarnessFilter(filters.FilterSet):
    agent = filters.CharFilter("agent__slug")
    pack = filters.CharFilter("serving__pack", distinct=True)
    state = filters.ChoiceFilter(choices=HARNESS_STATES, method="standing")

    class Meta:
        model = Harness
        fields: list[str] = []

    def standing(self, rows: QuerySet[Harness], name: str, value: str) -> QuerySet[Harness]:
        return in_state(rows, value)


class CommandFilter(filters.FilterSet):
    kind = filters.ChoiceFilter(choices=KINDS)
    name = filters.CharFilter("name", help_text="The target after its colon.")
    action = filters.ChoiceFilter(choices=ORDERS)
    since = filters.IsoDateTimeFilter("created_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter("created_at", lookup_expr="lt")

    class Meta:
        model = Command
        fields: list[str] = []


class ActionRequestFilter(filters.FilterSet):
    agent = filters.CharFilter("agent__slug")
    tool = filters.CharFilter("tool")
    state = filters.ChoiceFilter(choices=STATES)
    since = filters.IsoDateTimeFilter("created_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter("created_at", lookup_expr="lt")

    class Meta:
        model = ActionRequest
        fields: list[str] = []


class HarnessViewSet(mixins.ListModelMixin, ContextViewSet):
    """Who is there, who is silent, and what each serves."""

    queryset = Harness.objects.none()
    serializer_class = s.HarnessSerializer
    filterset_class = HarnessFilter

    def get_queryset(self) -> QuerySet[Harness]:
        rows: QuerySet[Harness] = Harness.objects.restrict(self.ctx).select_related("agent").prefetch_related("serving")
        return rows

    def paginate_queryset(self, queryset: Any) -> Any:
        now = timezone.now()
        rows = super().paginate_queryset(queryset)
        for row in rows or ():
            row.shown_state = row.state(now)
        return rows


class ControlViewSet(ScreenedMixin, mixins.ListModelMixin, ContextViewSet):
    """Pause, resume, stop or restart an agent, a tier or a tree, and see who has done so."""

    queryset = Command.objects.none()
    serializer_class = s.CommandSerializer
    filterset_class = CommandFilter

    def get_queryset(self) -> QuerySet[Command]:
        rows: QuerySet[Command] = counted(Command.objects.restrict(self.ctx))
        return rows

    @extend_schema(request=s.OrderSerializer, responses={201: s.CommandDetailSerializer})
    def create(self, request: Request) -> Response:
        """Handed to the agents in the answer to their next heartbeat or telemetry, and at once to those on the stream, until they
        acknowledge it."""
        sent = s.OrderSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        return self._shown(services.order(ctx=self.ctx, **sent.validated_data), 201)

    @extend_schema(responses=s.CommandDetailSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        """With the delivery to each harness."""
        return self._shown(Command.objects.visible(self.ctx, pk=pk), 200)

    def _shown(self, command: Command, status: int) -> Response:
        found = counted(Command.objects.prefetch_related("deliveries__agent")).get(pk=command.pk)
        return Response(s.CommandDetailSerializer(found).data, status=status)


class ActionRequestViewSet(ScreenedMixin, mixins.ListModelMixin, ContextViewSet):
    """Requests of agents to use one tool once. An agent's token sees its own."""

    queryset = ActionRequest.objects.none()
    serializer_class = s.ActionRequestSerializer
    filterset_class = ActionRequestFilter

    def get_queryset(self) -> QuerySet[ActionRequest]:
        rows: QuerySet[ActionRequest] = ActionRequest.objects.restrict(self.ctx).select_related("agent", "decided_by")
        return rows

    @extend_schema(request=s.NewActionRequestSerializer, responses={201: s.ActionRequestSerializer})
    def create(self, request: Request) -> Response:
        """Asks for one use of a tool, by an agent at A2 or A3. A manager answers; the answer holds until it expires, for one use."""
        sent = s.NewActionRequestSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        return Response(self.get_serializer(services.request_action(ctx=self.ctx, **sent.validated_data)).data, status=201)

    def retrieve(self, request: Request, pk: str) -> Response:
        """Its state: the answer, once there is one."""
        return Response(self.get_serializer(visible_request(self.ctx, pk)).data)

    @extend_schema(request=s.AnswerSerializer, responses=s.ActionRequestSerializer)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str) -> Response:
        return self._answer(request, pk, approve=True)

    @extend_schema(request=s.AnswerSerializer, responses=s.ActionRequestSerializer)
    @action(detail=True, methods=["post"])
    def deny(self, request: Request, pk: str) -> Response:
        """Also of a request that was approved and is not used yet."""
        return self._answer(request, pk, approve=False)

    @extend_schema(request=None, responses=s.ActionRequestSerializer)
    @action(detail=True, methods=["post"])
    def use(self, request: Request, pk: str) -> Response:
        """Uses the approval, once; the agent calls the tool after a 200 and never else."""
        return Response(self.get_serializer(services.use_request(ctx=self.ctx, request_id=pk)).data)

    def _answer(self, request: Request, pk: str, *, approve: bool) -> Response:
        sent = s.AnswerSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        made = services.answer_request(ctx=self.ctx, request_id=pk, approve=approve, **sent.validated_data)
        return Response(self.get_serializer(made).data)


class SuggestionView(ScreenedMixin, ContextView):
    # A suggestion may be for any of the harness's users.
    agents_reach = EVERY_USER
    queryset = Suggestion.objects.none()
    serializer_class = s.NewSuggestionSerializer

    @extend_schema(request=s.NewSuggestionSerializer, responses={201: s.SuggestionSerializer})
    def post(self, request: Request) -> Response:
        """A draft by a harness, which people evaluate and promote as any other, or leave."""
        sent = s.NewSuggestionSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        return Response(s.SuggestionSerializer(services.suggest(ctx=self.ctx, **sent.validated_data)).data, status=201)
