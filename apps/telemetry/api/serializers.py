"""Runs and events as people and dashboards read them. Money is a decimal string of US dollars, scores are points of 100."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.telemetry.models import Event, Run

_COMMON = (
    "id",
    "tenant",
    "team",
    "agent",
    "root_task_id",
    "task_id",
    "tier",
    "actor",
    "provider",
    "model_id",
    "persona",
    "skill",
    "status",
)
_FIGURES = ("latency_ms", "tokens_in", "tokens_out", "token_delta", "cost_usd")
_STAMP = ("created_at", "received_at", "producer", "producer_seq", "flags", "redactions")
_RUN = (
    *_COMMON,
    *(
        "run_id",
        "final",
        "user_ref",
        "pack",
        "pack_version",
        "effective_digest",
        "arm",
        "rollout",
        "task_type",
        "mcp_servers",
        "adapter_kind",
    ),
    *("started_at", "ended_at", *_FIGURES, "cached_tokens", "cache_write_tokens", "reasoning_tokens", "success", "error_code", "retries"),
    *("format_passed", "approval_passed", "safety_flags", "checks", "score", *_STAMP),
)


@extend_schema_field({"type": "string", "pattern": r"^\d+\.\d{6}$"})
class MicrosField(serializers.Field[int, Any, str, int]):
    """Integer micro-dollars inside, a decimal string of US dollars outside."""

    def to_representation(self, value: int) -> str:
        return f"{Decimal(value).scaleb(-6):.6f}"


class ReportedSerializer(serializers.ModelSerializer[Any]):
    tenant = serializers.CharField(source="tenant.slug", read_only=True)
    team = serializers.CharField(source="team.slug", read_only=True, default=None, allow_null=True)
    agent = serializers.CharField(source="agent.slug", read_only=True)
    tier = serializers.CharField(read_only=True, allow_null=True, help_text="T1, T2 or T3.")
    cost_usd = MicrosField(source="cost_micros", read_only=True, allow_null=True)
    flags = serializers.ListField(child=serializers.CharField(), read_only=True)
    redactions = serializers.ListField(child=serializers.CharField(), read_only=True)


class RunSerializer(ReportedSerializer):
    """A run in a list: without its texts."""

    score = serializers.SerializerMethodField(help_text="Online score, 0 to 100; null until it is computed.")
    mcp_servers = serializers.ListField(child=serializers.CharField(), read_only=True, allow_null=True)
    safety_flags = serializers.ListField(child=serializers.CharField(), read_only=True, allow_null=True)
    checks = serializers.DictField(read_only=True, allow_null=True)

    class Meta:
        model = Run
        fields: tuple[str, ...] = _RUN
        read_only_fields = fields

    def get_score(self, run: Run) -> float | None:
        found = getattr(run, "score", None)
        return None if found is None else found.score / 100


class RunLinksSerializer(serializers.Serializer[Any]):
    events = serializers.CharField(help_text="Its events.")
    snapshot = serializers.CharField(allow_null=True, help_text="The orchestration that it is part of.")


class RunDetailSerializer(RunSerializer):
    """A run with its texts, redacted, how its score came about, and where what belongs to it is found."""

    metadata = serializers.DictField(read_only=True, allow_null=True)
    score_parts = serializers.SerializerMethodField()
    links = serializers.SerializerMethodField()

    class Meta(RunSerializer.Meta):
        fields = (*_RUN, "input", "output", "metadata", "score_parts", "links")
        read_only_fields = fields

    @extend_schema_field(RunLinksSerializer)
    def get_links(self, run: Run) -> dict[str, str | None]:
        tree = reverse("snapshot", query={"root": run.root_task_id}) if run.root_task_id else None
        return {"events": reverse("event-list", query={"run_id": run.run_id}), "snapshot": tree}

    def get_score_parts(self, run: Run) -> dict[str, Any] | None:
        found = getattr(run, "score", None)
        return None if found is None else {**found.parts, "baseline_ms": found.baseline_ms}


class TelemetryEventSerializer(ReportedSerializer):
    payload = serializers.DictField(read_only=True, allow_null=True)

    class Meta:
        model = Event
        fields = (
            *(*_COMMON, "event_id", "run_id", "action", "phase", "message", "mcp_server", "mcp_tool", "retry_count"),
            *(*_FIGURES, "payload", "seq", *_STAMP),
        )
        read_only_fields = fields
