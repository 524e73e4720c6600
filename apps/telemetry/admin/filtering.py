"""Filters of the lists of runs and events, and how they are said to an export. Values are typed in full; links lead here with them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from django.contrib.admin.options import ModelAdmin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from apps.core.admin import filters
from apps.core.context import ActionContext
from apps.core.http import context_of
from apps.identity.models import Agent
from apps.telemetry.domain.asked import TRUTHS, Kind
from apps.telemetry.models import Tier
from apps.telemetry.selectors.facets import facets

# Values that a filter names below it.
OFFERED: Final = 8
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


class Counted(filters.Typed):
    """By a value that is typed in; below it stand those that occur most in the list's window, with their counts of roll-ups."""

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> tuple[()]:
        kind: Literal["run", "event"] = "run" if model_admin.opts.model_name == "run" else "event"
        found = _facets(request, kind).get(str(self.parameter_name), [])
        # What is summed under no name is the rest.
        self.counted = [(value, count) for value, count in found if value][:OFFERED]
        return ()


def _facets(request: HttpRequest, kind: Literal["run", "event"]) -> dict[str, list[tuple[str, int]]]:
    """Asked once for all filters of a page."""
    known: dict[str, list[tuple[str, int]]] | None = getattr(request, "facets", None)
    if known is None:
        span, _ = filters.SPANS.get(request.GET.get("within", ""), filters.SPANS["24h"])
        now = timezone.now()
        known = facets(context_of(request), kind=kind, since=now - span, until=now)
        request.facets = known  # type: ignore[attr-defined]
    return known


class Flag(Counted):
    title, parameter_name = "flag", "flag"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(flags__contains=[self.value()]) if self.value() else queryset


class UsedServer(Counted):
    """By one of the MCP servers that a run has used."""

    title, parameter_name = "MCP server", "mcp_server"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(mcp_servers__contains=[self.value()]) if self.value() else queryset


_BOTH = (
    TIER,
    filters.typed("status", "status", Counted),
    filters.typed("provider", "provider", Counted),
    filters.typed("model_id", "model", Counted),
    filters.typed("persona", "persona", Counted),
    filters.typed("skill", "skill", Counted),
)
_KEYS = (Flag, filters.typed("run_id", "run"), filters.typed("root_task_id", "root task"))
OF_RUNS = (
    filters.within("created_at"),
    filters.when("created_at"),
    AGENT,
    filters.typed("pack", "pack", Counted),
    filters.typed("pack_version", "version"),
    filters.typed("arm", "arm", Counted),
    *_BOTH,
    UsedServer,
    filters.typed("task_type", "task type", Counted),
    _truth("success", "outcome", "success", "failure"),
    _truth("final", "finality", "final", "not final yet"),
    *_KEYS,
)
OF_EVENTS = (
    filters.within("created_at"),
    filters.when("created_at"),
    AGENT,
    filters.typed("action", "action", Counted),
    *_BOTH,
    filters.typed("mcp_server", "MCP server", Counted),
    filters.typed("mcp_tool", "MCP tool", Counted),
    *_KEYS,
)


def _names(listed: tuple[Any, ...]) -> tuple[str, ...]:
    """Parameters that mean to an export what they mean here; time and agent are said otherwise."""
    named = (each for each in listed if isinstance(each, type) and each not in (listed[0], AGENT))
    return tuple(str(getattr(each, "parameter_name", "")) for each in named)


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
