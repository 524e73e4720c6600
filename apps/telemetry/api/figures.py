"""`metrics/`, `runs/facets/`, `events/facets/` and `models/health/`: what roll-ups know. No run or event is read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from django.db.models import QuerySet
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.api.views import ContextView, ContextViewSet
from apps.core.errors import problem
from apps.identity.models import Agent
from apps.telemetry.api.serializers import MicrosField
from apps.telemetry.models import ModelHealth
from apps.telemetry.selectors.facets import facets
from apps.telemetry.selectors.metrics import GROUPS, STEPS, Figures, Metrics, metrics
from apps.telemetry.selectors.named import agent_named, groups_named
from apps.telemetry.selectors.rollups import rolled_up_since

DAY, WEEK = timedelta(days=1), timedelta(days=7)
MAX_FACETS = timedelta(days=32)


class WindowSerializer(serializers.Serializer[Any]):
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)


class MetricsQuerySerializer(WindowSerializer):
    step = serializers.ChoiceField(choices=STEPS, default=3600, help_text="Seconds of a point.")
    group_by = serializers.ChoiceField(choices=list(GROUPS), default="none")
    agent = serializers.CharField(required=False, help_text="`<agent>` or `<tenant>/<agent>`.")
    pack = serializers.CharField(required=False)
    pack_version = serializers.IntegerField(required=False, min_value=0, max_value=2**31 - 1)
    arm = serializers.CharField(required=False)
    provider = serializers.CharField(required=False)
    model_id = serializers.CharField(required=False)


class FiguresSerializer(serializers.Serializer[Any]):
    runs = serializers.IntegerField()
    successes = serializers.IntegerField()
    failures = serializers.IntegerField()
    success_rate = serializers.FloatField(allow_null=True, help_text="Of the runs that say whether they succeeded, 0 to 1.")
    tokens_in = serializers.IntegerField()
    tokens_out = serializers.IntegerField()
    cost_usd = MicrosField(source="cost_micros")
    score = serializers.FloatField(allow_null=True, help_text="Mean online score, 0 to 100.")
    p50_ms = serializers.SerializerMethodField(help_text="Latency, within 2 %.")
    p95_ms = serializers.SerializerMethodField()
    p99_ms = serializers.SerializerMethodField()

    def get_p50_ms(self, figures: Figures) -> int | None:
        return figures.latency(0.5)

    def get_p95_ms(self, figures: Figures) -> int | None:
        return figures.latency(0.95)

    def get_p99_ms(self, figures: Figures) -> int | None:
        return figures.latency(0.99)


class PointSerializer(FiguresSerializer):
    start = serializers.DateTimeField()


class SeriesSerializer(serializers.Serializer[Any]):
    group = serializers.DictField(
        child=serializers.CharField(allow_null=True), allow_null=True, help_text="Null: all groups beyond the largest ones together."
    )
    total = FiguresSerializer()
    points = PointSerializer(many=True)


class MetricsSerializer(serializers.Serializer[Any]):
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    step = serializers.IntegerField()
    five_users = serializers.BooleanField(
        help_text="Whether figures of runs that name a user are shown only where five users are behind them."
    )
    rolled_up_since = serializers.DateTimeField(
        allow_null=True, help_text="When the oldest run that is not in these figures yet was received; null: all are in."
    )
    series = SeriesSerializer(many=True)


class FacetValueSerializer(serializers.Serializer[Any]):
    value = serializers.CharField(help_text="Empty: all other values together.")
    count = serializers.IntegerField()


class FacetsSerializer(serializers.Serializer[Any]):
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    facets = serializers.DictField(
        child=FacetValueSerializer(many=True), help_text="For each filter of the list, its most frequent values."
    )


class MetricsView(ContextView):
    """Counts, success, tokens, cost, latency and score of final runs over time."""

    serializer_class = MetricsSerializer
    pagination_class = None

    @extend_schema(operation_id="metrics_retrieve", summary="Figures of runs over time", parameters=[MetricsQuerySerializer])
    def get(self, request: Request) -> Response:
        query = MetricsQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = dict(query.validated_data)
        until = asked.pop("until", None) or timezone.now()
        since = asked.pop("since", None) or until - DAY
        step, group_by, agent = asked.pop("step"), asked.pop("group_by"), asked.pop("agent", None)
        if agent is not None:
            found = agent_named(self.ctx, agent)
            asked["agent_id"] = found.pk if found else None
        # What names nothing has no figures.
        if asked.get("agent_id", "") is None:
            answer = Metrics(since, until, step, False, [])
        else:
            answer = metrics(self.ctx, since=since, until=until, step=step, group_by=group_by, filters=asked)
        series = [
            {
                "group": group,
                "total": _shown(each.total),
                "points": [{"start": start, **_shown(figures)} for start, figures in sorted(each.points.items())],
            }
            for each, group in zip(answer.series, groups_named(self.ctx, answer, group_by), strict=True)
        ]
        lag = rolled_up_since(self.ctx.tenant_id)
        body = {"since": answer.since, "until": answer.until, "step": step, "five_users": answer.limited}
        return Response({**body, "rolled_up_since": lag, "series": series})


def _shown(figures: Figures) -> dict[str, Any]:
    return dict(FiguresSerializer(figures).data)


class FacetsView(ContextView):
    """How often each value of a filter occurs among the final runs, or the events, of a window: by default of the last seven days."""

    serializer_class = FacetsSerializer
    pagination_class = None
    kind: Literal["run", "event"] = "run"

    @extend_schema(summary="Counts of the values that a list can be narrowed by", parameters=[WindowSerializer])
    def get(self, request: Request) -> Response:
        query = WindowSerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        until = query.validated_data.get("until") or timezone.now()
        since = query.validated_data.get("since") or until - WEEK
        if not timedelta() < until - since <= MAX_FACETS:
            raise problem("invalid", f"`until` must come after `since`, by at most {MAX_FACETS.days} days.", pointer="/until")
        found = facets(self.ctx, kind=self.kind, since=since, until=until)
        keys = [value for value, _ in found.get("agent", []) if value]
        slugs = {str(key): slug for key, slug in Agent.objects.filter(tenant_id=self.ctx.tenant_id, pk__in=keys).values_list("pk", "slug")}
        named = {**found, "agent": [(slugs.get(value, value), count) for value, count in found.get("agent", [])]}
        shown = {name: [{"value": value, "count": count} for value, count in values] for name, values in named.items()}
        return Response({"since": since, "until": until, "facets": shown})


class ModelHealthSerializer(serializers.ModelSerializer[ModelHealth]):
    avg_cost_usd = MicrosField(source="avg_cost_micros", allow_null=True)
    quality_score = serializers.SerializerMethodField(help_text="Mean online score, 0 to 100; null while no run is scored.")

    class Meta:
        model = ModelHealth
        fields = (
            *("provider", "model_id", "window", "total_calls", "success_calls", "failed_calls", "avg_latency_ms", "avg_cost_usd"),
            *("quality_score", "last_error", "last_error_at", "last_used_at", "updated_at"),
        )
        read_only_fields = fields

    def get_quality_score(self, health: ModelHealth) -> float | None:
        return None if health.quality_score is None else health.quality_score / 100


class ModelHealthFilter(filters.FilterSet):
    window = filters.ChoiceFilter(choices=ModelHealth.Window.choices)
    provider = filters.CharFilter("provider")
    model_id = filters.CharFilter("model_id")

    class Meta:
        model = ModelHealth
        fields: list[str] = []


class ModelHealthViewSet(mixins.ListModelMixin, ContextViewSet):
    """How models do, by the runs that name one: in the last hour, day and week."""

    queryset = ModelHealth.objects.none()
    serializer_class = ModelHealthSerializer
    filterset_class = ModelHealthFilter

    def get_queryset(self) -> QuerySet[ModelHealth]:
        rows: QuerySet[ModelHealth] = ModelHealth.objects.restrict(self.ctx)
        return rows
