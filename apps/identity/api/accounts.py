"""Accounts of programs."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.access import Action, holds
from apps.core.api.views import ContextViewSet
from apps.identity import services
from apps.identity.api import serializers as shapes
from apps.identity.models import User


class ServiceAccountViewSet(mixins.ListModelMixin, ContextViewSet):
    """Service accounts of the tenant: they work by tokens, never sign in and never approve. Their roles stand among `members/`."""

    queryset = User.objects.none()
    serializer_class = shapes.ServiceAccountSerializer
    filter_backends = ()

    def get_queryset(self) -> QuerySet[User]:
        if getattr(self, "swagger_fake_view", False):
            return super().get_queryset()
        accounts = User.objects.filter(service_of_id=self.ctx.tenant_id)
        return accounts if holds(self.ctx, Action.VIEW) else accounts.none()

    @extend_schema(summary="The tenant's service accounts")
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().list(request, *args, **kwargs)

    @extend_schema(
        summary="Makes a service account with a role; `tokens/` issues its tokens",
        request=shapes.ServiceAccountCreate,
        responses={201: shapes.ServiceAccountSerializer},
    )
    def create(self, request: Request) -> Response:
        sent = shapes.ServiceAccountCreate(data=request.data)
        sent.is_valid(raise_exception=True)
        made = services.create_service_account(ctx=self.ctx, **sent.validated_data)
        return Response(self.get_serializer(made.user).data, status=201)
