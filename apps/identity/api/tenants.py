"""Organisations and tenants."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.identity import services
from apps.identity.api import serializers as shapes
from apps.identity.api.base import Resource
from apps.identity.api.filters import OrganisationFilter, TenantFilter
from apps.identity.models import Organisation, Tenant


@extend_schema_view(
    list=extend_schema(summary="The organisations that one sees: one's own; all as `platform`'s tenant admin"),
    retrieve=extend_schema(summary="An organisation"),
)
class OrganisationViewSet(Resource):
    """Organisations own tenants; `platform` makes them."""

    queryset = Organisation.objects.all()
    serializer_class = shapes.OrganisationSerializer
    filterset_class = OrganisationFilter
    lookup_field = "slug"

    @extend_schema(
        summary="Makes an organisation (`platform`)", request=shapes.OrganisationCreate, responses={201: shapes.OrganisationSerializer}
    )
    def create(self, request: Request) -> Response:
        return self.answer(services.create_organisation(ctx=self.ctx, **self.body(shapes.OrganisationCreate)), 201)

    @extend_schema(summary="Renames an organisation (`platform`)", request=shapes.NameChange, responses=shapes.OrganisationSerializer)
    def partial_update(self, request: Request, slug: str) -> Response:
        self.check_unchanged(request)
        return self.answer(services.update_organisation(ctx=self.ctx, slug=slug, **self.body(shapes.NameChange)))


@extend_schema_view(
    list=extend_schema(summary="The tenants that one sees: the present one; all as `platform`'s tenant admin"),
    retrieve=extend_schema(summary="A tenant"),
)
class TenantViewSet(Resource):
    """Tenants: made, shut and opened by `platform`, described by their own admins."""

    queryset = Tenant.objects.all()
    serializer_class = shapes.TenantSerializer
    filterset_class = TenantFilter
    lookup_field = "slug"
    related = ("organisation",)

    @extend_schema(summary="Makes a tenant (`platform`)", request=shapes.TenantCreate, responses={201: shapes.TenantSerializer})
    def create(self, request: Request) -> Response:
        return self.answer(services.create_tenant(ctx=self.ctx, **self.body(shapes.TenantCreate)), 201)

    @extend_schema(summary="Changes name, pooling or tier", request=shapes.TenantChange, responses=shapes.TenantSerializer)
    def partial_update(self, request: Request, slug: str) -> Response:
        self.check_unchanged(request)
        return self.answer(services.update_tenant(ctx=self.ctx, slug=slug, **self.body(shapes.TenantChange)))

    @extend_schema(summary="Deletes by status: tokens are revoked, all is hidden", request=None, responses={204: None})
    def destroy(self, request: Request, slug: str) -> Response:
        self.check_unchanged(request)
        services.delete_tenant(ctx=self.ctx, slug=slug)
        return Response(status=204)

    @extend_schema(summary="Shuts a tenant (`platform`)", request=shapes.ReasonSerializer, responses=shapes.TenantSerializer)
    @action(detail=True, methods=["post"], filterset_class=None)
    def suspend(self, request: Request, slug: str) -> Response:
        return self.answer(services.suspend_tenant(ctx=self.ctx, slug=slug, **self._reason()))

    @extend_schema(summary="Opens a suspended tenant (`platform`)", request=shapes.ReasonSerializer, responses=shapes.TenantSerializer)
    @action(detail=True, methods=["post"], filterset_class=None)
    def activate(self, request: Request, slug: str) -> Response:
        return self.answer(services.activate_tenant(ctx=self.ctx, slug=slug, **self._reason()))

    def _reason(self) -> dict[str, Any]:
        return self.body(shapes.ReasonSerializer)
