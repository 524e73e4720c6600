"""The audit log of the context's tenant: browsing and verification. Read only."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.audit.api.filters import EventFilter
from apps.audit.api.serializers import EventSerializer, VerificationSerializer
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
