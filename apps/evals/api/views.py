"""Eval sets, runs over them, and results, for people; leases and answers for agents."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.api.paging import CreatedCursorPagination
from apps.core.api.views import ContextViewSet
from apps.core.context import EVERY_USER
from apps.core.errors import problem
from apps.evals.api import filters, serializers
from apps.evals.models import EvalCase, EvalItem, EvalResult, EvalRun, EvalSet
from apps.evals.services.answers import MAX_LEASED, lease_cases, submit_outputs
from apps.evals.services.cases import add_cases, create_eval_set
from apps.evals.services.runs import start_eval_run
from apps.telemetry.api.screened import ScreenedMixin

LEASE = OpenApiParameter("lease", OpenApiTypes.INT, description=f"Agents: lease up to this many cases (1 to {MAX_LEASED}).")
PAGE = [
    OpenApiParameter("cursor", OpenApiTypes.STR, description="People: the page to begin with."),
    OpenApiParameter("limit", OpenApiTypes.INT, description="People: rows a page, up to 500."),
]
CASES = PolymorphicProxySerializer(
    component_name="EvalRunCases",
    serializers=[serializers.LeasedCasesSerializer, serializers.EvalItemPageSerializer],
    resource_type_field_name=None,
    many=False,
)


class ByNumber(CreatedCursorPagination):
    """Cases in the order of their numbers."""

    ordering = "number"


def uuid_or_404(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise problem("not_found", "There is no such resource.") from None


class EvalSetViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, ContextViewSet):
    """Sets of cases, each for one pack."""

    queryset = EvalSet.objects.none()
    serializer_class = serializers.EvalSetSerializer
    filterset_class = filters.EvalSetFilter

    def get_queryset(self) -> QuerySet[EvalSet]:
        return EvalSet.objects.restrict(self.ctx).select_related("pack", "tenant").annotate(case_count=Count("cases"))

    def get_object(self) -> EvalSet:
        found: EvalSet = self.get_queryset().visible(self.ctx, pk=uuid_or_404(self.kwargs["pk"]))  # type: ignore[attr-defined]
        return found

    @extend_schema(request=serializers.NewEvalSetSerializer, responses={201: serializers.EvalSetSerializer})
    def create(self, request: Request) -> Response:
        sent = serializers.NewEvalSetSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        made = create_eval_set(ctx=self.ctx, **sent.validated_data)
        return Response(self.get_serializer(self.get_queryset().get(pk=made.pk)).data, status=status.HTTP_201_CREATED)

    @extend_schema(responses=serializers.EvalCaseSerializer(many=True), filters=True)
    @action(
        detail=True,
        queryset=EvalCase.objects.none(),
        filterset_class=filters.EvalCaseFilter,
        serializer_class=serializers.EvalCaseSerializer,
        pagination_class=ByNumber,
    )
    def cases(self, request: Request, pk: str) -> Response:
        eval_set = EvalSet.objects.visible(self.ctx, pk=uuid_or_404(pk))
        rows = self.filter_queryset(EvalCase.objects.restrict(self.ctx).filter(eval_set=eval_set))
        return self.get_paginated_response(self.get_serializer(self.paginate_queryset(rows), many=True).data)

    @extend_schema(request=serializers.NewCasesSerializer, responses={201: serializers.AddedCasesSerializer}, filters=False)
    @cases.mapping.post
    def add(self, request: Request, pk: str) -> Response:
        sent = serializers.CasesEnvelopeSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        made = add_cases(ctx=self.ctx, eval_set_id=uuid_or_404(pk), cases=sent.validated_data["cases"])
        return Response(serializers.AddedCasesSerializer({"cases": made}).data, status=status.HTTP_201_CREATED)


class EvalRunViewSet(ScreenedMixin, mixins.ListModelMixin, mixins.RetrieveModelMixin, ContextViewSet):
    """Runs of a version over a set. An agent's token sees the runs it may answer."""

    # A version under evaluation may be of any user's layer.
    agents_reach = EVERY_USER
    queryset = EvalRun.objects.none()
    serializer_class = serializers.EvalRunSerializer
    filterset_class = filters.EvalRunFilter

    def get_queryset(self) -> QuerySet[EvalRun]:
        rows = EvalRun.objects.answerable(self.ctx) if self.ctx.agent_id else EvalRun.objects.restrict(self.ctx)
        return rows.select_related("layer__pack", "version", "eval_set", "created_by")

    def get_object(self) -> EvalRun:
        found: EvalRun | None = self.get_queryset().filter(pk=uuid_or_404(self.kwargs["pk"])).first()
        if found is None:
            raise problem("not_found", "There is no such evaluation run.")
        return found

    @extend_schema(request=serializers.NewEvalRunSerializer, responses={201: serializers.EvalRunSerializer})
    def create(self, request: Request) -> Response:
        sent = serializers.NewEvalRunSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        data: dict[str, Any] = sent.validated_data
        made = start_eval_run(
            ctx=self.ctx, eval_set_id=data["eval_set"], runner=data["runner"], version_id=data.get("version"), layer_id=data.get("layer")
        )
        return Response(self.get_serializer(self.get_queryset().get(pk=made.pk)).data, status=status.HTTP_201_CREATED)

    @extend_schema(parameters=[LEASE, *PAGE], responses=CASES, filters=True)
    @action(
        detail=True,
        queryset=EvalItem.objects.none(),
        filterset_class=filters.EvalItemFilter,
        serializer_class=serializers.EvalItemSerializer,
    )
    def cases(self, request: Request, pk: str) -> Response:
        """For an agent with `lease`: cases to answer, its own for two minutes. For a person: the items and how far they are."""
        wanted = request.query_params.get("lease")
        if wanted is None and self.ctx.agent_id is None:
            run = EvalRun.objects.visible(self.ctx, pk=uuid_or_404(pk))
            items = EvalItem.objects.restrict(self.ctx).filter(eval_run=run).select_related("case", "leased_to")
            rows = self.paginate_queryset(self.filter_queryset(items))
            return self.get_paginated_response(self.get_serializer(rows, many=True).data)
        if wanted is not None and not (wanted.isascii() and wanted.isdigit() and len(wanted) <= 6):
            raise problem("invalid", f"`lease` is a number from 1 to {MAX_LEASED}.", pointer="/lease")
        leased = lease_cases(ctx=self.ctx, eval_run_id=uuid_or_404(pk), limit=int(wanted or 10))
        return Response(serializers.LeasedCasesSerializer(leased).data, headers={"Cache-Control": "no-store"})

    @extend_schema(request=serializers.OutputsSerializer, responses={200: serializers.SubmissionSerializer})
    @action(detail=True, methods=["post"])
    def outputs(self, request: Request, pk: str) -> Response:
        """Answers to leased cases (agents), or recorded outputs of a `replay` run (people). Scored before the answer is sent."""
        sent = serializers.OutputsEnvelopeSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        submission = submit_outputs(ctx=self.ctx, eval_run_id=uuid_or_404(pk), **sent.validated_data)
        return Response(serializers.SubmissionSerializer(submission).data)


class EvalResultViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, ContextViewSet):
    """Scored answers. Append-only."""

    queryset = EvalResult.objects.none()
    serializer_class = serializers.EvalResultSerializer
    filterset_class = filters.EvalResultFilter

    def get_queryset(self) -> QuerySet[EvalResult]:
        rows = EvalResult.objects.restrict(self.ctx).with_regressions()
        return rows.select_related("eval_run__layer__pack", "case", "agent")

    def get_object(self) -> EvalResult:
        found: EvalResult = self.get_queryset().visible(self.ctx, pk=uuid_or_404(self.kwargs["pk"]))  # type: ignore[attr-defined]
        return found
