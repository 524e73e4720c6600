"""Promotions, decisions and rollback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.access import Action
from apps.core.api.views import ContextView, ContextViewSet
from apps.fleet.selectors.convergence import convergence
from apps.identity.permissions import can
from apps.promotions.api import serializers as s
from apps.promotions.api.filters import DecisionFilter, PromotionFilter
from apps.promotions.models import Approval, Decision, Promotion
from apps.promotions.selectors import promotion_rows
from apps.promotions.services.answering import Answer, answer_many
from apps.promotions.services.approving import approve_promotion, reject_promotion
from apps.promotions.services.going_live import rollback_layer, start_promotion
from apps.promotions.services.requests import (
    abort_promotion,
    advance_promotion,
    evaluate_promotion,
    hold_promotion,
    request_promotion,
)


class PromotionViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, ContextViewSet):
    queryset = Promotion.objects.all()
    serializer_class = s.PromotionSerializer
    filterset_class = PromotionFilter

    def get_queryset(self) -> QuerySet[Promotion]:
        approvals = Prefetch("approvals", Approval.objects.select_related("user", "on_behalf_of"))
        rows: QuerySet[Promotion] = promotion_rows().restrict(self.ctx).prefetch_related(approvals)
        return rows

    def get_serializer_context(self) -> dict[str, Any]:
        fake = getattr(self, "swagger_fake_view", False)
        whole = not fake and can(self.ctx, Action.VIEW, tenant_id=self.ctx.tenant_id)
        return {**super().get_serializer_context(), "whole_tenant": whole}

    @extend_schema(request=s.NewPromotionSerializer, responses={201: s.PromotionSerializer})
    def create(self, request: Request) -> Response:
        """Asks for the promotion of a draft, or for the retirement of a layer."""
        data = self._sent(s.NewPromotionSerializer, request)
        made = request_promotion(
            ctx=self.ctx,
            version_id=data.get("version"),
            layer_id=data.get("layer"),
            retire=data["retire"],
            aim=data["aim"],
            plan=data.get("plan"),
            invalid=data["invalid"],
            reason=data["reason"],
        )
        return self._shown(made.pk, status=201)

    @extend_schema(request=None, responses=s.PromotionSerializer)
    @action(detail=True, methods=["post"])
    def evaluate(self, request: Request, pk: str) -> Response:
        """Runs the gate on the evidence there is now."""
        return self._shown(evaluate_promotion(ctx=self.ctx, promotion_id=pk).pk)  # type: ignore[arg-type]

    @extend_schema(request=s.ApproveSerializer, responses=s.PromotionSerializer)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str) -> Response:
        return self._act(approve_promotion, s.ApproveSerializer, request, pk)

    @extend_schema(operation_id="promotions_approve_many", request=s.ApprovalsAtOnceSerializer, responses=s.ResultsSerializer)
    @action(detail=False, methods=["post"], url_path="approve", filterset_class=None, pagination_class=None)
    def approve_many(self, request: Request) -> Response:
        """Approves several with one comment. Each stands or falls by itself: a refusal is in its result and costs no other."""
        return self._answer_many(s.ApprovalsAtOnceSerializer, request, approve=True)

    @extend_schema(operation_id="promotions_reject_many", request=s.AnswersSerializer, responses=s.ResultsSerializer)
    @action(detail=False, methods=["post"], url_path="reject", filterset_class=None, pagination_class=None)
    def reject_many(self, request: Request) -> Response:
        """Rejects several with one comment, each by itself."""
        return self._answer_many(s.AnswersSerializer, request, approve=False)

    def _answer_many(self, serializer: Any, request: Request, *, approve: bool) -> Response:
        data = self._sent(serializer, request)
        answers = [Answer(each["id"], each.get("binding")) for each in data["promotions"]]
        read = set(data.get("read", ()))
        found = answer_many(ctx=self.ctx, answers=answers, approve=approve, comment=data["comment"], read=read)
        return Response(s.ResultsSerializer({"results": found}).data)

    @extend_schema(request=s.CommentSerializer, responses=s.PromotionSerializer)
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: str) -> Response:
        return self._act(reject_promotion, s.CommentSerializer, request, pk)

    @extend_schema(request=s.StartSerializer, responses=s.PromotionSerializer)
    @action(detail=True, methods=["post"])
    def start(self, request: Request, pk: str) -> Response:
        """Promotes at once, the plan being a single stage. With `force`, soft rules are set aside."""
        return self._act(start_promotion, s.StartSerializer, request, pk)

    @extend_schema(request=s.ActSerializer, responses=s.PromotionSerializer)
    @action(detail=True, methods=["post"])
    def advance(self, request: Request, pk: str) -> Response:
        return self._act(advance_promotion, s.ActSerializer, request, pk)

    @extend_schema(request=s.ActSerializer, responses=s.PromotionSerializer)
    @action(detail=True, methods=["post"])
    def hold(self, request: Request, pk: str) -> Response:
        return self._act(hold_promotion, s.ActSerializer, request, pk)

    @extend_schema(request=s.ActSerializer, responses=s.PromotionSerializer)
    @action(detail=True, methods=["post"])
    def abort(self, request: Request, pk: str) -> Response:
        return self._act(abort_promotion, s.ActSerializer, request, pk)

    def _sent(self, serializer: Any, request: Request) -> dict[str, Any]:
        sent = serializer(data=request.data)
        sent.is_valid(raise_exception=True)
        data: dict[str, Any] = sent.validated_data
        return data

    def _act(self, service: Callable[..., Promotion], serializer: Any, request: Request, pk: str) -> Response:
        return self._shown(service(ctx=self.ctx, promotion_id=pk, **self._sent(serializer, request)).pk)

    def _shown(self, promotion_id: UUID, status: int = 200) -> Response:
        return Response(self.get_serializer(self.get_queryset().get(pk=promotion_id)).data, status=status)


class DecisionViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, ContextViewSet):
    queryset = Decision.objects.all()
    serializer_class = s.DecisionSerializer
    filterset_class = DecisionFilter

    def get_queryset(self) -> QuerySet[Decision]:
        return Decision.objects.restrict(self.ctx).select_related("layer__pack")

    @extend_schema(responses=s.ConvergenceSerializer)
    @action(detail=True)
    def convergence(self, request: Request, pk: str) -> Response:
        """Which harnesses serve what is live in the decision's layer, and which do not yet."""
        decision = self.get_object()
        return Response(s.ConvergenceSerializer(convergence(self.ctx, decision.layer, since=decision.created_at)).data)


class RollbackView(ContextView):
    queryset = Decision.objects.none()
    serializer_class = s.RollbackSerializer

    @extend_schema(request=s.RollbackSerializer, responses={201: s.DecisionSerializer})
    def post(self, request: Request, layer_id: UUID) -> Response:
        """Takes the layer back to a former champion (by default the last), at once."""
        sent = s.RollbackSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        data = sent.validated_data
        made = rollback_layer(ctx=self.ctx, layer_id=layer_id, to_version=data.get("to_version"), reason=data["reason"])
        return Response(s.DecisionSerializer(made).data, status=201)
