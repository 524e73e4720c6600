"""The registry: packs, layers, versions, subscriptions, and what they add up to."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.api.views import ContextView, ContextViewSet, check_if_match
from apps.core.errors import problem
from apps.core.querysets import RestrictedQuerySet
from apps.packs.api import serializers as s
from apps.packs.api.filters import LayerFilter, PackFilter, VersionFilter
from apps.packs.domain.content import content_schema
from apps.packs.domain.diff import structural, unified
from apps.packs.models import Layer, Pack, PackVersion, Subscription
from apps.packs.selectors import blast_radius_of, effective_for, whole_tenant
from apps.packs.services.packs import create_pack, subscribe, unsubscribe, update_pack
from apps.packs.services.versions import create_version

TEXT = OpenApiTypes.STR


def version_rows() -> RestrictedQuerySet:
    rows: RestrictedQuerySet = PackVersion.objects.select_related("layer__pack", "created_by")
    return rows


class PackViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, ContextViewSet):
    queryset = Pack.objects.all()
    serializer_class = s.PackSerializer
    lookup_field = "slug"
    filterset_class = PackFilter

    def get_queryset(self) -> QuerySet[Pack]:
        return Pack.objects.restrict(self.ctx).select_related("tenant")

    @extend_schema(request=s.NewPackSerializer, responses={201: s.PackSerializer})
    def create(self, request: Request) -> Response:
        sent = s.NewPackSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        return Response(s.PackSerializer(create_pack(ctx=self.ctx, **sent.validated_data)).data, status=201)

    @extend_schema(request=s.ChangedPackSerializer, responses=s.PackSerializer)
    def partial_update(self, request: Request, slug: str) -> Response:
        sent = s.ChangedPackSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        return Response(s.PackSerializer(update_pack(ctx=self.ctx, slug=slug, **sent.validated_data)).data)

    @extend_schema(
        responses=s.EffectiveSerializer,
        filters=False,
        parameters=[
            OpenApiParameter("agent", TEXT, description="Slug of an agent of your tenant."),
            OpenApiParameter("team", TEXT, description="Slug of a team, where no agent is named."),
            OpenApiParameter("user", TEXT, description="A harness's user reference."),
            OpenApiParameter("as_of", OpenApiTypes.DATETIME, description="What was live at that time."),
            OpenApiParameter("tenant", TEXT, description="Your tenant's slug; no other can be asked for."),
        ],
    )
    @action(detail=True)
    def effective(self, request: Request, slug: str) -> Response:
        """What resolve would answer, with origins, for people."""
        wanted = {name: request.query_params.get(name) or None for name in ("tenant", "agent", "team", "user", "as_of")}
        return Response(effective_for(self.ctx, pack_slug=slug, **wanted).as_json())


PACK = OpenApiParameter("slug", TEXT, OpenApiParameter.PATH, description="The pack's slug.")


@extend_schema(parameters=[PACK])
class PackLayersViewSet(mixins.ListModelMixin, ContextViewSet):
    """The pack's layers that you can see, each with its champion."""

    queryset = Layer.objects.all()
    serializer_class = s.LayerSerializer
    filterset_class = LayerFilter

    def get_queryset(self) -> QuerySet[Layer]:
        pack: Pack = Pack.objects.visible(self.ctx, slug=self.kwargs["slug"])
        return Layer.objects.restrict(self.ctx).filter(pack=pack).select_related("pack", "champion")


@extend_schema(parameters=[PACK])
class PackVersionsViewSet(mixins.ListModelMixin, ContextViewSet):
    """The pack's versions, newest first, without their content."""

    queryset = PackVersion.objects.all()
    serializer_class = s.VersionSummarySerializer
    filterset_class = VersionFilter

    def get_queryset(self) -> Any:
        pack: Pack = Pack.objects.visible(self.ctx, slug=self.kwargs["slug"])
        return version_rows().restrict(self.ctx).filter(layer__pack=pack).defer("content", "canonical")

    @extend_schema(request=s.NewVersionSerializer, responses={201: s.VersionSerializer})
    def create(self, request: Request, slug: str) -> Response:
        """Writes a draft into the layer at `scope`, or answers with every finding."""
        sent = s.NewVersionSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        data = sent.validated_data
        version = create_version(
            ctx=self.ctx,
            pack_slug=slug,
            scope=data["scope"],
            content=data["content"],
            notes=data["notes"],
            parent_id=data.get("parent"),
            replaces_id=data.get("replaces"),
        )
        return Response(s.VersionSerializer(version).data, status=201, headers={"ETag": f'"{version.digest}"'})


class VersionViewSet(mixins.RetrieveModelMixin, ContextViewSet):
    queryset = PackVersion.objects.all()
    serializer_class = s.VersionSerializer

    def get_queryset(self) -> Any:
        return version_rows().restrict(self.ctx)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        version: PackVersion = version_rows().visible(self.ctx, pk=kwargs["pk"])
        check_if_match(request, version.digest)
        return Response(s.VersionSerializer(version).data, headers={"ETag": f'"{version.digest}"'})

    @extend_schema(
        responses=s.DiffSerializer,
        parameters=[
            OpenApiParameter("against", OpenApiTypes.UUID, description="Another version of the pack; the layer's champion when left out.")
        ],
    )
    @action(detail=True)
    def diff(self, request: Request, pk: str) -> Response:
        """Structural and unified difference, from `against` to this version."""
        version: PackVersion = version_rows().visible(self.ctx, pk=pk)
        against = self._against(version, request.query_params.get("against"))
        before = against.content if against else {}
        changes = [asdict(change) for change in structural(before, version.content)]
        return Response(
            {
                "version": version.pk,
                "against": against.pk if against else None,
                "changes": changes,
                "unified": unified(before, version.content),
            }
        )

    def _against(self, version: PackVersion, wanted: str | None) -> PackVersion | None:
        if not wanted:
            return version.layer.champion
        against: PackVersion = version_rows().visible(self.ctx, pk=wanted)
        if against.layer.pack_id != version.layer.pack_id:
            raise problem("invalid", "Compare versions of one pack.", pointer="/against")
        return against

    @extend_schema(responses=s.BlastSerializer)
    @action(detail=True, url_path="blast-radius")
    def blast_radius(self, request: Request, pk: str) -> Response:
        """Whose effective pack changes if this version is promoted, and whose layers turn invalid."""
        version: PackVersion = version_rows().visible(self.ctx, pk=pk)
        whole_tenant(self.ctx, "the blast radius")
        return Response(blast_radius_of(self.ctx, version.layer, version).as_json())


class SubscriptionViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, ContextViewSet):
    queryset = Subscription.objects.all()
    serializer_class = s.SubscriptionSerializer

    def get_queryset(self) -> QuerySet[Subscription]:
        return Subscription.objects.restrict(self.ctx).select_related("pack")

    @extend_schema(request=s.NewSubscriptionSerializer, responses={201: s.SubscriptionSerializer})
    def create(self, request: Request) -> Response:
        """Subscribes to a shared pack, or changes the pin of a subscription."""
        sent = s.NewSubscriptionSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        made = subscribe(ctx=self.ctx, pack_slug=sent.validated_data["pack"], pinned_version_id=sent.validated_data.get("pinned"))
        return Response(s.SubscriptionSerializer(made).data, status=201)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        unsubscribe(ctx=self.ctx, subscription_id=pk)  # type: ignore[arg-type]
        return Response(status=204)


class ContentSchemaView(ContextView):
    """The published JSON Schema of pack content."""

    queryset = Pack.objects.none()

    @extend_schema(responses=OpenApiTypes.OBJECT, summary="The JSON Schema (draft 2020-12) of pack content")
    def get(self, request: Request) -> Response:
        """Of domain and of policy packs. What a schema cannot say (RE2 patterns, schemas in contracts, ancestors) a write still checks."""
        return Response(content_schema())
