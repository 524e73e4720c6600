"""Webhooks, and what was told."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.querysets import RestrictedQuerySet
from apps.identity.api.base import Resource
from apps.notices import services
from apps.notices.api import serializers as shapes
from apps.notices.models import KINDS, Notice, Webhook


class WebhookFilter(filters.FilterSet):
    search = filters.CharFilter(field_name="name", lookup_expr="icontains", help_text="In the name.")

    class Meta:
        model = Webhook
        fields = ["enabled"]


class NoticeFilter(filters.FilterSet):
    kind = filters.ChoiceFilter(choices=KINDS)
    subject = filters.UUIDFilter("subject_id")
    mine = filters.BooleanFilter(method="to_me", help_text="true: those that name the caller; false: the others.")
    since = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Notice
        fields = ["kind", "subject", "mine", "since", "until"]

    def to_me(self, rows: QuerySet[Notice], name: str, value: bool) -> QuerySet[Notice]:
        me = self.request.ctx.user_id if self.request is not None else None
        named = Q(recipients__contains=[me]) if me is not None else Q(pk__in=[])
        return rows.filter(named if value else ~named)


@extend_schema_view(list=extend_schema(summary="The tenant's webhooks"), retrieve=extend_schema(summary="A webhook, without its secret"))
class WebhookViewSet(Resource):
    """Where notices are posted."""

    queryset = Webhook.objects.all()
    serializer_class = shapes.WebhookSerializer
    filterset_class = WebhookFilter
    lookup_field = "pk"
    shown_once = frozenset({"secret"})

    @extend_schema(
        summary="Makes a webhook; its secret is in this answer only", request=shapes.WebhookCreate, responses={201: shapes.WebhookIssued}
    )
    def create(self, request: Request) -> Response:
        return self._issued(services.create_webhook(ctx=self.ctx, **self.body(shapes.WebhookCreate)), 201)

    @extend_schema(summary="Changes a webhook, or switches it on or off", request=shapes.WebhookChange, responses=shapes.WebhookSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        self.check_unchanged(request)
        changes = self.body(shapes.WebhookChange)
        enabled = changes.pop("enabled", None)
        webhook = services.update_webhook(ctx=self.ctx, webhook_id=pk, changes=changes)
        if enabled is not None:
            webhook = services.switch_webhook(ctx=self.ctx, webhook_id=pk, enabled=enabled)
        return self.answer(webhook)

    @extend_schema(
        summary="A new secret, in this answer only; the one before signs too for 24 hours",
        request=None,
        responses={200: shapes.WebhookIssued},
    )
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, pk: str) -> Response:
        return self._issued(services.rotate_secret(ctx=self.ctx, webhook_id=pk), 200)

    @extend_schema(summary="Sends a test message; the answer is its delivery", request=None, responses={202: shapes.DeliverySerializer})
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:
        return Response(shapes.DeliverySerializer(services.try_webhook(ctx=self.ctx, webhook_id=pk)).data, status=202)

    def _issued(self, shown: services.Shown, status: int) -> Response:
        data = {**self.get_serializer(shown.webhook).data, "secret": shown.secret}
        return Response(data, status=status, headers={"Cache-Control": "no-store"})


@extend_schema_view(list=extend_schema(summary="What was told in the tenant, newest first"))
class NoticeViewSet(Resource):
    """What people and webhooks were told."""

    queryset = Notice.objects.all()
    serializer_class = shapes.NoticeSerializer
    filterset_class = NoticeFilter
    lookup_field = "pk"

    def get_queryset(self) -> RestrictedQuerySet:
        # The list of recipients may be long, and is no part of an answer.
        return super().get_queryset().defer("recipients")

    @extend_schema(summary="A notice, and how its deliveries stand", responses=shapes.NoticeDetail)
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(shapes.NoticeDetail(self.get_object()).data)
