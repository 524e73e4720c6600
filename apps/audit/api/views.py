"""The audit log of the context's tenant: browsing and verification. Read only."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from apps.audit.api.filters import EventFilter
from apps.audit.api.serializers import EventSerializer, ExportQuerySerializer, VerificationSerializer
from apps.audit.exports import answer, export
from apps.audit.models import Event
from apps.audit.selectors import events, head
from apps.audit.services import verify_tenant
from apps.core.access import Action, demand
from apps.core.api.paging import CreatedCursorPagination
from apps.core.api.views import ContextViewSet


class ChainPagination(CreatedCursorPagination):
    """In the order of the chain, newest first."""

    ordering = "-seq"
    position_type = int


class AnyNegotiation(BaseContentNegotiation):
    """`format` is a parameter of the export, which chooses its own media type."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class AuditViewSet(mixins.ListModelMixin, ContextViewSet):
    """The tenant's audit log: one hash chain, append-only."""

    queryset = Event.objects.none()
    serializer_class = EventSerializer
    filterset_class = EventFilter
    pagination_class = ChainPagination

    def get_queryset(self) -> QuerySet[Event]:
        return super().get_queryset() if getattr(self, "swagger_fake_view", False) else events(self.ctx)

    @extend_schema(operation_id="audit_list", summary="The tenant's audit log, newest first")
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().list(request, *args, **kwargs)

    @extend_schema(
        operation_id="audit_verify",
        summary="Verifies the tenant's chain from its first event to its head",
        responses=VerificationSerializer,
    )
    @action(detail=False, methods=["get"], pagination_class=None, filterset_class=None)
    def verify(self, request: Request) -> Response:
        demand(self.ctx, Action.AUDIT)
        present, broken = head(self.ctx), verify_tenant(self.ctx.tenant_id)
        body = {
            "holds": broken is None,
            "events": present.seq if present else 0,
            "head": bytes(present.hash).hex() if present else None,
            "broken": {"seq": broken.seq, "reason": broken.reason} if broken else None,
        }
        return Response(VerificationSerializer(body).data)

    @extend_schema(
        operation_id="audit_export",
        summary="A range of the tenant's chain as a file, with its proof",
        description=(
            'Events in the order of the chain, none left out. The last line of a JSONL file is `{"proof": …}`: the hash before the first'
            " event, the last event's hash, the count and the chain's head, signed (Ed25519 over the RFC 8785 form without `signature`)"
            " where a key is configured, else `key` and `signature` are null. `manage.py verify_audit --export` checks it offline. The"
            " header `X-Audit-Proof` has the same proof. The export is recorded."
        ),
        parameters=[
            OpenApiParameter("since", OpenApiTypes.DATETIME, description="The first event is at this time or later."),
            OpenApiParameter("until", OpenApiTypes.DATETIME, description="The last event is before this time."),
            OpenApiParameter("format", OpenApiTypes.STR, enum=["jsonl", "csv"], default="jsonl"),
        ],
        responses={(200, "application/jsonl"): OpenApiTypes.STR, (200, "text/csv"): OpenApiTypes.STR},
    )
    @action(detail=False, methods=["get"], pagination_class=None, filterset_class=None, content_negotiation_class=AnyNegotiation)
    def export(self, request: Request) -> StreamingHttpResponse:
        demand(self.ctx, Action.AUDIT)
        asked = ExportQuerySerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        query = asked.validated_data
        exported = export(ctx=self.ctx, since=query["since"], until=query["until"], file_format=query["format"])
        return answer(self.ctx, exported, query["format"])
