"""`snapshot/`: one orchestration as a tree, or the latest ones with their totals."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Any

from django.utils.http import urlencode
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.api.views import ContextView
from apps.core.errors import problem
from apps.telemetry.api.serializers import MicrosField
from apps.telemetry.domain.tree import Node, Oddity, State
from apps.telemetry.models import Run, Tier
from apps.telemetry.selectors.snapshot import Position, recent_roots, snapshot

MAX_LIMIT = 500


class TotalsSerializer(serializers.Serializer[Any]):
    """Of a task and all below it; latency is the work's, not the clock's."""

    tasks = serializers.IntegerField()
    runs = serializers.IntegerField()
    events = serializers.IntegerField()
    open = serializers.IntegerField(help_text="Tasks that have not ended.")
    failed = serializers.IntegerField()
    laggards = serializers.IntegerField(help_text="Open tasks of which nothing was heard for five minutes.")
    tokens_in = serializers.IntegerField()
    tokens_out = serializers.IntegerField()
    cost_usd = MicrosField(source="cost_micros")
    latency_ms = serializers.IntegerField()
    last_at = serializers.DateTimeField(allow_null=True)


class NodeSerializer(serializers.Serializer[Any]):
    """A task of the tree. It stands behind its parent and before its children."""

    id = serializers.CharField(help_text="The task's id; of a run that names no task, the run's.")
    parent = serializers.CharField(allow_null=True, help_text="null for the root.")
    children = serializers.ListField(child=serializers.CharField(), help_text="In the order in which they began.")
    depth = serializers.IntegerField()
    state = serializers.ChoiceField(choices=[str(state) for state in State])
    laggard = serializers.BooleanField()
    inferred = serializers.BooleanField(help_text="Nothing names its parent: tier and time decided.")
    oddities = serializers.ListField(child=serializers.ChoiceField(choices=[str(oddity) for oddity in Oddity]))
    status = serializers.CharField(allow_null=True, help_text="The harness's own word.")
    tier = serializers.ChoiceField(choices=Tier.values, allow_null=True)
    agent = serializers.CharField(allow_null=True)
    actor = serializers.CharField(allow_null=True)
    model_id = serializers.CharField(allow_null=True)
    label = serializers.CharField(allow_null=True, help_text="Task type of its run, else the action of its last event.")
    began_at = serializers.DateTimeField(allow_null=True)
    runs = serializers.ListField(child=serializers.CharField(), help_text="Its runs by `run_id`, oldest first.")
    totals = TotalsSerializer()

    def to_representation(self, node: Node) -> dict[str, Any]:
        said = {name: node.latest(name) for name in ("status", "tier", "agent", "actor", "label")}
        return {
            "id": node.id,
            "parent": node.parent,
            "children": node.children,
            "depth": node.depth,
            "state": str(node.state),
            "laggard": node.laggard,
            "inferred": node.inferred,
            "oddities": [str(oddity) for oddity in node.oddities],
            **said,
            "model_id": node.latest("model"),
            "began_at": _moment(node.began_at),
            "runs": [step.run_id for step in node.runs],
            "totals": TotalsSerializer(node.totals).data,
        }


class SnapshotSerializer(serializers.Serializer[Any]):
    root = serializers.CharField()
    at = serializers.DateTimeField(help_text="When it was put together.")
    truncated = serializers.BooleanField(
        help_text="There were more than 5,000 runs or events; the latest runs or the oldest events are left out."
    )
    nodes = NodeSerializer(many=True, help_text="Depth first; the first is the root.")


class RootSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="root", help_text="The root task's id: `?root=` of its tree.")
    began_at = serializers.DateTimeField()
    last_at = serializers.DateTimeField()
    runs = serializers.IntegerField()
    events = serializers.IntegerField()
    agents = serializers.IntegerField()
    open = serializers.IntegerField(help_text="Runs that are not final.")
    failed = serializers.IntegerField()
    tokens_in = serializers.IntegerField()
    tokens_out = serializers.IntegerField()
    cost_usd = MicrosField(source="cost_micros")
    latency_ms = serializers.IntegerField()


class RootListSerializer(serializers.Serializer[Any]):
    results = RootSerializer(many=True)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True, help_text="Always null: this list goes forward only.")


class RootQuerySerializer(serializers.Serializer[Any]):
    since = serializers.DateTimeField(default=None)
    until = serializers.DateTimeField(default=None)
    limit = serializers.IntegerField(default=50, min_value=1)
    cursor = serializers.CharField(default=None)


class SnapshotView(ContextView):
    """Orchestrations of the tenant's agents."""

    queryset = Run.objects.none()
    pagination_class = None
    filter_backends = ()

    @extend_schema(
        operation_id="snapshot_retrieve",
        summary="One orchestration as a tree, or the latest ones",
        description=(
            "With `root`: everything that was reported for this root task, as tasks in a tree (404 where nothing of it is visible). Without:"
            " the root tasks last heard of in the window, latest first, each with its totals. A page of these may hold fewer than `limit`"
            " and still have a `next`."
        ),
        parameters=[
            OpenApiParameter("root", description="A `root_task_id`."),
            OpenApiParameter(
                "since", OpenApiTypes.DATETIME, description="Without `root`: last heard of then or later; by default 24 hours back."
            ),
            OpenApiParameter("until", OpenApiTypes.DATETIME, description="Without `root`: last heard of before then."),
            OpenApiParameter("limit", OpenApiTypes.INT, description=f"Without `root`: 1 to {MAX_LIMIT}, 50 by default."),
            OpenApiParameter("cursor", description="Of `next`."),
        ],
        responses=PolymorphicProxySerializer(
            "Snapshots", [SnapshotSerializer, RootListSerializer], resource_type_field_name=None, many=False
        ),
    )
    def get(self, request: Request) -> Response:
        root = request.query_params.get("root")
        if root is not None:
            return Response(SnapshotSerializer(snapshot(self.ctx, root)).data)
        asked = RootQuerySerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        query = asked.validated_data
        after = _position(query["cursor"]) if query["cursor"] else None
        found, following = recent_roots(
            self.ctx, since=query["since"], until=query["until"], after=after, limit=min(query["limit"], MAX_LIMIT)
        )
        link = self._link(request, _cursor(following)) if following else None
        return Response({"results": RootSerializer(found, many=True).data, "next": link, "previous": None})

    def _link(self, request: Request, cursor: str) -> str:
        kept = {name: str(value) for name, value in request.query_params.items() if name != "cursor"}
        return request.build_absolute_uri(f"{request.path}?{urlencode({**kept, 'cursor': cursor})}")


def _moment(value: datetime | None) -> str | None:
    return serializers.DateTimeField().to_representation(value) if value else None


def _cursor(position: Position) -> str:
    return urlsafe_b64encode(f"{position.at.isoformat()}|{position.root}".encode()).decode()


def _position(cursor: str) -> Position:
    try:
        at, bar, root = urlsafe_b64decode(cursor.encode()).decode().partition("|")
        moment = datetime.fromisoformat(at) if bar and "\x00" not in root else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise problem("invalid", "This is not a cursor of this list; take `next` of an earlier answer.", pointer="/cursor")
    return Position(moment, root)
