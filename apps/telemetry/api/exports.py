"""`exports/`: files of runs and events, made in the background."""

from __future__ import annotations

from typing import Any

from django.http import StreamingHttpResponse
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.identity.api.base import Resource
from apps.telemetry.downloads import file_answer
from apps.telemetry.models import Export, ExportFormat, ExportKind, ExportState
from apps.telemetry.services import exports as services

STATES = [str(state) for state in ExportState]
KINDS = [str(kind) for kind in ExportKind]
FORMATS = [str(name) for name in ExportFormat]


class ExportSerializer(serializers.ModelSerializer[Export]):
    kind = serializers.ChoiceField(KINDS)
    format = serializers.ChoiceField(FORMATS)
    state = serializers.ChoiceField(STATES)
    filters = serializers.DictField(child=serializers.CharField(), help_text="As asked for.")
    requested_by = serializers.CharField(source="requested_by.email", default=None, allow_null=True)
    download = serializers.SerializerMethodField(help_text="Where the file is; null unless `state` is `done`.")

    class Meta:
        model = Export
        fields = (
            *("id", "kind", "format", "filters", "state", "rows_done", "rows_estimated", "size_bytes", "requested_by", "error"),
            *("created_at", "started_at", "finished_at", "expires_at", "download"),
        )
        read_only_fields = fields

    def get_download(self, export: Export) -> str | None:
        return f"/api/v1/exports/{export.pk}/download/" if export.state == ExportState.DONE else None


class ExportRequestSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(KINDS)
    format = serializers.ChoiceField(FORMATS, default="jsonl")
    filters = serializers.DictField(
        child=serializers.CharField(), default=dict, help_text="As the parameters of `runs/` or `events/`, but for `limit` and `cursor`."
    )


class ExportFilter(filters.FilterSet):
    kind = filters.ChoiceFilter(choices=ExportKind.choices)
    state = filters.ChoiceFilter(choices=ExportState.choices)

    class Meta:
        model = Export
        fields: list[str] = []


@extend_schema_view(
    list=extend_schema(summary="Exports of the tenant, newest first"), retrieve=extend_schema(summary="An export, and how far it is")
)
class ExportViewSet(Resource):
    """Files of runs and events, made in the background."""

    queryset = Export.objects.all()
    serializer_class = ExportSerializer
    filterset_class = ExportFilter
    lookup_field = "pk"
    related = ("requested_by",)

    @extend_schema(
        summary="Asks for a file of runs or events",
        description=(
            "It is written in the background; ask for it again until `state` is `done`. A line of JSONL is what `runs/{id}/` or `events/{id}/`"
            " answers, but for the links; CSV has the same fields as columns, values that are not plain as JSON. Newest first. Needs the right"
            " to export, which is asked for again while it is written."
        ),
        request=ExportRequestSerializer,
        responses={202: ExportSerializer},
    )
    def create(self, request: Request) -> Response:
        asked = self.body(ExportRequestSerializer)
        export = services.request_export(ctx=self.ctx, kind=asked["kind"], file_format=asked["format"], filters=asked["filters"])
        return self.answer(export, 202)

    @extend_schema(summary="Removes the file before its time", responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        services.delete_export(ctx=self.ctx, export_id=pk)
        return Response(status=204)

    @extend_schema(summary="Stops an export that is under way", request=None, responses=ExportSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        return self.answer(services.cancel_export(ctx=self.ctx, export_id=pk))

    @extend_schema(
        summary="The file of a finished export",
        description="409 `wrong_state` while it is not finished, and once it has expired. The download is recorded.",
        responses={(200, "application/jsonl"): OpenApiTypes.STR, (200, "text/csv"): OpenApiTypes.STR},
    )
    @action(detail=True, methods=["get"])
    def download(self, request: Request, pk: str) -> StreamingHttpResponse:
        return file_answer(services.open_export(ctx=self.ctx, export_id=pk))
