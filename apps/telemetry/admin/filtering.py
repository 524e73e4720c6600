"""Filters of the lists of runs and events, and how they are said to an export. Values are typed in full; links lead here with them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from apps.core.admin import filters
from apps.core.context import ActionContext
from apps.identity.models import Agent
from apps.telemetry.domain.asked import TRUTHS, Kind
from apps.telemetry.models import Tier

TIER = filters.values("tier", "tier", [(tier, tier) for tier in Tier.values])
AGENT = filters.related("agent", "identity.Agent", "agent")


class Truth(filters.Values):
    """Yes or no, by the words of the API."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        found = TRUTHS.get(self.value() or "")
        return queryset if found is None else queryset.filter(**{self.path: found})


def _truth(path: str, title: str, yes: str, no: str) -> type[Truth]:
    fields = {"path": path, "title": title, "parameter_name": path, "offered": (("true", yes), ("false", no))}
    return type(f"By{path.title()}", (Truth,), fields)


class Flag(filters.Typed):
    title, parameter_name = "flag", "flag"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(flags__contains=[self.value()]) if self.value() else queryset


class UsedServer(filters.Typed):
    """By one of the MCP servers that a run has used."""

    title, parameter_name = "MCP server", "mcp_server"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(mcp_servers__contains=[self.value()]) if self.value() else queryset


_BOTH = (
    TIER,
    filters.typed("status", "status"),
    filters.typed("provider", "provider"),
    filters.typed("model_id", "model"),
    filters.typed("persona", "persona"),
    filters.typed("skill", "skill"),
)
_KEYS = (Flag, filters.typed("run_id", "run"), filters.typed("root_task_id", "root task"))
OF_RUNS = (
    filters.within("created_at"),
    filters.when("created_at"),
    AGENT,
    filters.typed("pack", "pack"),
    filters.typed("pack_version", "version"),
    filters.typed("arm", "arm"),
    *_BOTH,
    UsedServer,
    filters.typed("task_type", "task type"),
    _truth("success", "outcome", "success", "failure"),
    _truth("final", "finality", "final", "not final yet"),
    *_KEYS,
)
OF_EVENTS = (
    filters.within("created_at"),
    filters.when("created_at"),
    AGENT,
    filters.typed("action", "action"),
    *_BOTH,
    filters.typed("mcp_server", "MCP server"),
    filters.typed("mcp_tool", "MCP tool"),
    *_KEYS,
)


def _names(listed: tuple[Any, ...]) -> tuple[str, ...]:
    """Parameters that mean to an export what they mean here; time and agent are said otherwise."""
    return tuple(each.parameter_name for each in listed if isinstance(each, type) and each not in (listed[0], AGENT))


_NAMES: Mapping[Kind, tuple[str, ...]] = {"runs": _names(OF_RUNS), "events": _names(OF_EVENTS)}


def as_asked(ctx: ActionContext, kind: Kind, query: Mapping[str, str]) -> dict[str, str]:
    """A list's query string as the filters of an export; what is not understood is left for `domain.asked.parse` to refuse."""
    found = {name: query[name].strip() for name in _NAMES[kind] if query.get(name, "").strip()}
    if query.get("agent"):
        agent = filters.matching(Agent.objects.restrict(ctx), pk=query["agent"]).first()
        # None has this name.
        found["agent"] = agent.slug if agent is not None else "/"
    span = filters.SPANS.get(query.get("within", ""))
    begins = [timezone.now() - span[0]] if span else []
    begins += [moment] if (moment := _moment(query, "from")) else []
    if begins:
        found["since"] = max(begins).isoformat()
    if ends := _moment(query, "to"):
        found["until"] = ends.isoformat()
    return found


def _moment(query: Mapping[str, str], end: str) -> datetime | None:
    day, time = query.get(f"created_at_{end}_0", ""), query.get(f"created_at_{end}_1", "")
    try:
        return datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=UTC) if day and time else None
    except ValueError:
        return None
