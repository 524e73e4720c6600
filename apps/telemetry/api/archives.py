"""`archives/`, `retention/` and `erasures/`: what is kept outside of the database, for how long, and what is removed for good."""

from __future__ import annotations

from typing import Any

from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.access import Action
from apps.core.api.views import ContextView
from apps.core.errors import problem
from apps.identity.api.base import Resource
from apps.identity.permissions import require
from apps.telemetry.domain.archives import Kind
from apps.telemetry.models import Archive, Erasure, RetentionPolicy
from apps.telemetry.selectors.archive_search import search_archives
from apps.telemetry.services.archives import request_verification
from apps.telemetry.services.erasing import request_erasure
from apps.telemetry.services.restoring import DEFAULT_DAYS, MAX_DAYS, request_restore
from apps.telemetry.services.retention import policy_of, request_archive, set_retention, shortens


class ArchiveSerializer(serializers.ModelSerializer[Archive]):
    class Meta:
        model = Archive
        fields = [
            *("id", "day", "generation", "state", "rows", "bytes", "first_at", "last_at", "manifest", "manifest_sha256", "error"),
            *("created_at", "verified_at", "checked_at", "dropped_at", "restored_until"),
        ]
        extra_kwargs = {"day": {"help_text": "UTC date of first receipt."}}


class ArchiveRequest(serializers.Serializer[Any]):
    day = serializers.DateField(help_text="A day that is over, by UTC.")
    reason = serializers.CharField(max_length=10_000, required=False, allow_blank=True)


class RestoreRequest(serializers.Serializer[Any]):
    confirm = serializers.DateField(help_text="The archive's day, as a confirmation.")
    days = serializers.IntegerField(min_value=1, max_value=MAX_DAYS, default=DEFAULT_DAYS, help_text="For how long it comes back.")
    reason = serializers.CharField(max_length=10_000, required=False, allow_blank=True)


class SearchQuery(serializers.Serializer[Any]):
    kind = serializers.ChoiceField([kind.value for kind in Kind], default=Kind.RUN.value)
    q = serializers.CharField(required=False, max_length=200, help_text="In the texts, whatever its case.")
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False, help_text="Not included.")
    limit = serializers.IntegerField(min_value=1, max_value=500, default=50)
    run_id = serializers.CharField(required=False, max_length=200)
    root_task_id = serializers.CharField(required=False, max_length=200)
    user_ref = serializers.CharField(required=False, max_length=200)
    agent = serializers.UUIDField(required=False)
    pack = serializers.CharField(required=False, max_length=200)
    status = serializers.CharField(required=False, max_length=200)


class SearchResult(serializers.Serializer[Any]):
    results = serializers.ListField(child=serializers.DictField(), help_text="Rows as they were archived, newest days first.")
    files = serializers.IntegerField(help_text="Files of the range.")
    searched = serializers.IntegerField(help_text="How many of them were read.")
    complete = serializers.BooleanField(help_text="False: there is more; narrow the time or raise the limit.")


class ArchiveFilter(filters.FilterSet):
    since = filters.DateFilter(field_name="day", lookup_expr="gte")
    until = filters.DateFilter(field_name="day", lookup_expr="lt")
    failing = filters.BooleanFilter(method="in_trouble", help_text="true: those whose last attempt came to nothing.")

    class Meta:
        model = Archive
        fields = ["state", "since", "until", "failing"]

    def in_trouble(self, rows: Any, name: str, value: bool) -> Any:
        return rows.exclude(error="") if value else rows.filter(error="")


@extend_schema_view(list=extend_schema(summary="Archived days, with their state"), retrieve=extend_schema(summary="An archived day"))
class ArchiveViewSet(Resource):
    """Days of telemetry in the archive."""

    queryset = Archive.objects.all()
    serializer_class = ArchiveSerializer
    filterset_class = ArchiveFilter
    lookup_field = "pk"

    @extend_schema(
        summary="Archives a day now; its rows stay in the database until their time",
        request=ArchiveRequest,
        responses={202: ArchiveSerializer},
    )
    def create(self, request: Request) -> Response:
        return self.answer(request_archive(ctx=self.ctx, **self.body(ArchiveRequest)), 202)

    @extend_schema(
        summary="Has every file read again; the result stands in checked_at and error", request=None, responses={202: ArchiveSerializer}
    )
    @action(detail=True, methods=["post"])
    def verify(self, request: Request, pk: str) -> Response:
        return self.answer(request_verification(ctx=self.ctx, archive_id=pk), 202)

    @extend_schema(summary="Brings a day's rows back for a while", request=RestoreRequest, responses={202: ArchiveSerializer})
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: str) -> Response:
        archive = self.get_object()
        require(self.ctx, Action.MANAGE_TENANT, tenant_id=archive.tenant_id)
        wanted = self.body(RestoreRequest)
        if wanted.pop("confirm") != archive.day:
            raise problem("invalid", "Repeat the archive's day to confirm.", pointer="/confirm")
        return self.answer(request_restore(ctx=self.ctx, archive_id=pk, **wanted), 202)

    @extend_schema(summary="Searches the files of the tenant's archives", parameters=[SearchQuery], responses=SearchResult, filters=False)
    @action(detail=False, methods=["get"], pagination_class=None, filterset_class=None)
    def search(self, request: Request) -> Response:
        require(self.ctx, Action.AUDIT, tenant_id=self.ctx.tenant_id)
        sent = SearchQuery(data=request.query_params)
        sent.is_valid(raise_exception=True)
        wanted = dict(sent.validated_data)
        wanted["kind"] = Kind(wanted["kind"])
        if "agent" in wanted:
            wanted["agent"] = str(wanted["agent"])
        found = search_archives(ctx=self.ctx, **wanted)
        return Response({"results": found.rows, "files": found.files, "searched": found.searched, "complete": found.complete})


class RetentionSerializer(serializers.ModelSerializer[RetentionPolicy]):
    class Meta:
        model = RetentionPolicy
        fields = ["hot_days", "archive_days"]


class RetentionChange(serializers.Serializer[Any]):
    hot_days = serializers.IntegerField(required=False, help_text="Whole days in the database, 1 to 30.")
    archive_days = serializers.IntegerField(required=False, allow_null=True, help_text="Days that archives are kept; null: for good.")
    confirm = serializers.IntegerField(
        required=False, help_text="Fewer `archive_days` than now: the number again. Older archives are removed for good."
    )
    reason = serializers.CharField(max_length=10_000, required=False, allow_blank=True)


class RetentionView(ContextView):
    """How long telemetry is kept."""

    queryset = RetentionPolicy.objects.none()
    serializer_class = RetentionSerializer
    pagination_class = None
    filterset_class = None

    @extend_schema(summary="How long the tenant's telemetry is kept", operation_id="retention_retrieve")
    def get(self, request: Request) -> Response:
        require(self.ctx, Action.VIEW, tenant_id=self.ctx.tenant_id)
        return Response(RetentionSerializer(policy_of(self.ctx)).data)

    @extend_schema(summary="Changes it", request=RetentionChange)
    def patch(self, request: Request) -> Response:
        require(self.ctx, Action.MANAGE_TENANT, tenant_id=self.ctx.tenant_id)
        sent = RetentionChange(data=request.data)
        sent.is_valid(raise_exception=True)
        changes = dict(sent.validated_data)
        reason, confirm = changes.pop("reason", ""), changes.pop("confirm", None)
        if shortens(policy_of(self.ctx), days := changes.get("archive_days")) and confirm != days:
            raise problem("invalid", "Older archives are removed for good: repeat archive_days to confirm.", pointer="/confirm")
        return Response(RetentionSerializer(set_retention(ctx=self.ctx, changes=changes, reason=reason)).data)


class ErasureSerializer(serializers.ModelSerializer[Erasure]):
    class Meta:
        model = Erasure
        fields = ["id", "state", "phase", "upto", "hot_rows", "archived_rows", "error", "created_at", "done_at"]
        extra_kwargs = {"upto": {"help_text": "The last archived day that the phase is done with."}}


class ErasureRequest(serializers.Serializer[Any]):
    user_ref = serializers.CharField(max_length=200, help_text="The user, as the harness names them.")
    confirm = serializers.CharField(max_length=200, help_text="The same again, as a confirmation.")
    reason = serializers.CharField(max_length=10_000)


class ErasureFilter(filters.FilterSet):
    class Meta:
        model = Erasure
        fields = ["state"]


@extend_schema_view(
    list=extend_schema(summary="Erasures, with their progress; whom they are about is not said"),
    retrieve=extend_schema(summary="An erasure, with its progress"),
)
class ErasureViewSet(Resource):
    """Removal of one user's telemetry, from the database and from archives."""

    queryset = Erasure.objects.all()
    serializer_class = ErasureSerializer
    filterset_class = ErasureFilter
    lookup_field = "pk"

    @extend_schema(
        summary="Removes all telemetry of one user of before now; asked again while under way, it is the same one",
        request=ErasureRequest,
        responses={202: ErasureSerializer},
    )
    def create(self, request: Request) -> Response:
        require(self.ctx, Action.MANAGE_TENANT, tenant_id=self.ctx.tenant_id)
        wanted = self.body(ErasureRequest)
        if wanted.pop("confirm") != wanted["user_ref"]:
            raise problem("invalid", "Repeat the user to confirm.", pointer="/confirm")
        return self.answer(request_erasure(ctx=self.ctx, **wanted), 202)
