"""What lists of runs and events can be narrowed by."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from apps.telemetry.models import Event, Run, Tier
from apps.telemetry.selectors.named import agent_named
from apps.telemetry.selectors.rules import stored_reference


class ReportedFilter(filters.FilterSet):
    agent = filters.CharFilter(method="of_agent", help_text="`<agent>` or `<tenant>/<agent>`.")
    status = filters.CharFilter("status")
    tier = filters.ChoiceFilter(choices=Tier.choices)
    provider = filters.CharFilter("provider")
    model_id = filters.CharFilter("model_id")
    persona = filters.CharFilter("persona")
    skill = filters.CharFilter("skill")
    run_id = filters.CharFilter("run_id")
    root_task_id = filters.CharFilter("root_task_id", method="of_reference")
    flag = filters.CharFilter(
        method="with_flag", help_text="`untraced`, `mismatch`, `redacted`, `priced`, `unpriced`, `tokens_inconsistent`, `clock_skew`, …"
    )
    since = filters.IsoDateTimeFilter("created_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter("created_at", lookup_expr="lt")

    def of_agent(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """The agent's key first: then an index by agent and time answers."""
        found = agent_named(self.request._request.ctx, value)
        return rows.filter(agent_id=found.pk) if found else rows.none()

    def of_reference(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """As rows hold it: as it was sent, or what redaction makes of it."""
        stored = stored_reference(self.request._request.ctx.tenant_id, value)
        return rows.filter(**{name: value} if stored == value else {f"{name}__in": [value, stored]})

    def with_flag(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return rows.filter(flags__contains=[value])


class RunFilter(ReportedFilter):
    pack = filters.CharFilter("pack", help_text="Slug of the pack.")
    pack_version = filters.NumberFilter("pack_version")
    arm = filters.CharFilter("arm")
    task_type = filters.CharFilter("task_type")
    success = filters.BooleanFilter("success")
    final = filters.BooleanFilter("final")
    user_ref = filters.CharFilter("user_ref", method="of_reference", help_text="The harness's reference of a user.")
    mcp_server = filters.CharFilter(method="with_server", help_text="One of the MCP servers that the run used.")

    class Meta:
        model = Run
        fields: list[str] = []

    def with_server(self, rows: QuerySet[Run], name: str, value: str) -> QuerySet[Run]:
        return rows.filter(mcp_servers__contains=[value])


class EventFilter(ReportedFilter):
    action = filters.CharFilter("action")
    mcp_server = filters.CharFilter("mcp_server")
    mcp_tool = filters.CharFilter("mcp_tool")

    class Meta:
        model = Event
        fields: list[str] = []
