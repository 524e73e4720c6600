"""`prices/`, `redaction/`, `redaction/patterns/` and `producers/`: what telemetry is judged by, and how complete it is."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.access import Action
from apps.core.api.views import ContextView, check_if_match
from apps.identity.api.base import Resource, etag
from apps.identity.permissions import require
from apps.telemetry import services
from apps.telemetry.api.serializers import MicrosField
from apps.telemetry.domain.gaps import Seen, gaps
from apps.telemetry.models import Content, Price, Producer, RedactionPattern, RedactionPolicy
from apps.telemetry.services.pricing import AMOUNTS
from apps.telemetry.services.redaction import MAX_TRIED, POLICY_FIELDS

MAX_GAPS = 256


class PriceSerializer(serializers.ModelSerializer[Price]):
    """Prices are US dollars for a million tokens; output includes reasoning."""

    tenant = serializers.CharField(source="tenant.slug", read_only=True, help_text="`platform`: everybody's.")
    input = MicrosField(source="input_micros", read_only=True)
    cache_read = MicrosField(source="cache_read_micros", read_only=True)
    cache_write = MicrosField(source="cache_write_micros", read_only=True)
    output = MicrosField(source="output_micros", read_only=True)

    class Meta:
        model = Price
        fields = ("id", "tenant", "provider", "model_id", "effective_from", *AMOUNTS, "note", "created_at")
        read_only_fields = fields


def _dollars() -> serializers.DecimalField:
    return serializers.DecimalField(max_digits=13, decimal_places=6, min_value=0, help_text="US dollars for a million tokens.")


class PriceCreate(serializers.Serializer[Any]):
    provider = serializers.CharField(max_length=100, help_text="As harnesses report it, or * for any.")
    model_id = serializers.CharField(max_length=200, help_text="Exact, or with * at the end for all that begin so.")
    effective_from = serializers.DateField(help_text="UTC date.")
    input = _dollars()
    cache_read = _dollars()
    cache_write = _dollars()
    output = _dollars()
    note = serializers.CharField(max_length=300, required=False, allow_blank=True)


class PriceFilter(filters.FilterSet):
    provider = filters.CharFilter("provider")
    model_id = filters.CharFilter("model_id")
    in_force = filters.DateFilter("effective_from", lookup_expr="lte", help_text="Begun on this UTC date or before.")

    class Meta:
        model = Price
        fields: list[str] = []


@extend_schema_view(
    list=extend_schema(summary="What models cost: everybody's prices and the tenant's own"), retrieve=extend_schema(summary="A price")
)
class PriceViewSet(Resource):
    """A price in force never changes; another row follows it."""

    queryset = Price.objects.all()
    serializer_class = PriceSerializer
    filterset_class = PriceFilter
    lookup_field = "pk"
    related = ("tenant",)

    @extend_schema(summary="Adds a price from a day on", request=PriceCreate, responses={201: PriceSerializer})
    def create(self, request: Request) -> Response:
        sent = self.body(PriceCreate)
        amounts = {name: sent.pop(name) for name in AMOUNTS}
        return self.answer(services.add_price(ctx=self.ctx, amounts=amounts, **sent), 201)

    @extend_schema(summary="Takes back a price that is not in force yet", responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        services.withdraw_price(ctx=self.ctx, price_id=pk)
        return Response(status=204)


class PolicySerializer(serializers.ModelSerializer[RedactionPolicy]):
    store_content = serializers.ChoiceField(Content.choices, help_text="`metrics_only` drops inputs, outputs, messages and payloads.")

    class Meta:
        model = RedactionPolicy
        fields = POLICY_FIELDS


class PolicyChange(serializers.Serializer[Any]):
    redact_email = serializers.BooleanField(required=False)
    redact_phone = serializers.BooleanField(required=False)
    store_content = serializers.ChoiceField(Content.choices, required=False)


class RedactionView(ContextView):
    """What is redacted besides secrets."""

    filter_backends = ()
    pagination_class = None
    serializer_class = PolicySerializer

    @extend_schema(operation_id="redaction_retrieve", summary="The tenant's redaction policy", parameters=list[OpenApiParameter]())
    def get(self, request: Request) -> Response:
        require(self.ctx, Action.VIEW, tenant_id=self.ctx.tenant_id)
        return self._answer(self._present())

    @extend_schema(operation_id="redaction_partial_update", summary="Changes it for what is received from now on", request=PolicyChange)
    def patch(self, request: Request) -> Response:
        if "If-Match" in request.headers:
            check_if_match(request, etag(PolicySerializer(self._present()).data))
        sent = PolicyChange(data=request.data)
        sent.is_valid(raise_exception=True)
        return self._answer(services.set_policy(ctx=self.ctx, changes=dict(sent.validated_data)))

    def _present(self) -> RedactionPolicy:
        return RedactionPolicy.objects.filter(tenant_id=self.ctx.tenant_id).first() or RedactionPolicy(tenant_id=self.ctx.tenant_id)

    def _answer(self, policy: RedactionPolicy) -> Response:
        data = PolicySerializer(policy).data
        return Response(data, headers={"ETag": f'"{etag(data)}"'})


class TryRequest(serializers.Serializer[Any]):
    text = serializers.CharField(max_length=MAX_TRIED, allow_blank=True, trim_whitespace=False)


class TriedSerializer(serializers.Serializer[Any]):
    text = serializers.CharField(help_text="What would be stored.")
    rules = serializers.ListField(child=serializers.CharField(), help_text="The rules that fired.")


class TryView(ContextView):
    """What the tenant's rules would make of a text."""

    filter_backends = ()
    pagination_class = None
    serializer_class = TriedSerializer
    shown_once = frozenset({"text"})

    @extend_schema(
        operation_id="redaction_try", summary="Redacts a text, of which nothing is kept", request=TryRequest, responses=TriedSerializer
    )
    def post(self, request: Request) -> Response:
        sent = TryRequest(data=request.data)
        sent.is_valid(raise_exception=True)
        tried = services.try_text(ctx=self.ctx, text=sent.validated_data["text"])
        return Response(TriedSerializer(tried).data, headers={"Cache-Control": "no-store"})


class PatternSerializer(serializers.ModelSerializer[RedactionPattern]):
    class Meta:
        model = RedactionPattern
        fields = ("id", "name", "pattern", "enabled", "created_at", "updated_at")
        read_only_fields = fields


class PatternCreate(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=40, help_text="Small letters and underscores: it stands in the mark.")
    pattern = serializers.CharField(max_length=500, trim_whitespace=False, help_text="RE2; of one capturing group, that is replaced.")


class PatternChange(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=40, required=False)
    pattern = serializers.CharField(max_length=500, trim_whitespace=False, required=False)
    enabled = serializers.BooleanField(required=False)


class PatternFilter(filters.FilterSet):
    search = filters.CharFilter(field_name="name", lookup_expr="icontains", help_text="In the name.")

    class Meta:
        model = RedactionPattern
        fields = ["enabled"]


@extend_schema_view(list=extend_schema(summary="The tenant's own patterns"), retrieve=extend_schema(summary="A pattern"))
class PatternViewSet(Resource):
    """What only the tenant knows to be secret."""

    queryset = RedactionPattern.objects.all()
    serializer_class = PatternSerializer
    filterset_class = PatternFilter
    lookup_field = "pk"

    @extend_schema(summary="Adds a pattern, switched on", request=PatternCreate, responses={201: PatternSerializer})
    def create(self, request: Request) -> Response:
        return self.answer(services.add_pattern(ctx=self.ctx, **self.body(PatternCreate)), 201)

    @extend_schema(summary="Changes a pattern, or switches it on or off", request=PatternChange, responses=PatternSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        self.check_unchanged(request)
        return self.answer(services.update_pattern(ctx=self.ctx, pattern_id=pk, changes=self.body(PatternChange)))


class GapSerializer(serializers.Serializer[Any]):
    first = serializers.IntegerField()
    last = serializers.IntegerField()


class ProducerSerializer(serializers.ModelSerializer[Producer]):
    agent = serializers.CharField(source="agent.slug", read_only=True)
    missing = serializers.IntegerField(read_only=True, help_text="Batches lost, or still on their way.")
    gaps = serializers.SerializerMethodField(help_text=f"The numbers that are missing, at most the latest {MAX_GAPS} ranges.")
    given_up = serializers.IntegerField(read_only=True, help_text="Missing numbers whose ranges are not kept any more.")
    skew_ms = serializers.IntegerField(read_only=True, help_text="The most that its clock was seen to be off; 0 within 5 s.")

    class Meta:
        model = Producer
        fields = (
            *("id", "agent", "name", "last_seq", "missing", "gaps", "given_up", "accepted", "duplicates", "rejected", "too_old"),
            *("skew_ms", "skew_at", "first_seen_at", "last_seen_at"),
        )
        read_only_fields = fields

    @extend_schema_field(GapSerializer(many=True))
    def get_gaps(self, producer: Producer) -> list[dict[str, int]]:
        seen = Seen(tuple((first, last) for first, last in producer.ranges or []))
        return [{"first": first, "last": last} for first, last in gaps(seen)[-MAX_GAPS:]]


class ProducerFilter(filters.FilterSet):
    agent = filters.CharFilter("agent__slug")
    name = filters.CharFilter("name")
    with_gaps = filters.BooleanFilter(method="by_gaps", help_text="true: those of which batches are missing.")

    class Meta:
        model = Producer
        fields: list[str] = []

    def by_gaps(self, rows: QuerySet[Producer], name: str, value: bool) -> QuerySet[Producer]:
        return rows.filter(missing__gt=0) if value else rows.filter(missing=0)


@extend_schema_view(
    list=extend_schema(summary="Numbered sources of batches, with what is missing"),
    retrieve=extend_schema(summary="A producer and its gaps"),
)
class ProducerViewSet(Resource):
    """How complete each producer's stream is."""

    queryset = Producer.objects.all()
    serializer_class = ProducerSerializer
    filterset_class = ProducerFilter
    lookup_field = "pk"
    related = ("agent",)
