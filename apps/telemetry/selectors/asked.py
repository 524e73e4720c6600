"""Runs and events as they were asked for, and as they are given out: one meaning for lists and exports."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final

from django.db.models import QuerySet

from apps.core.context import ActionContext
from apps.identity.models import Agent
from apps.telemetry.domain.asked import Kind
from apps.telemetry.models import Event, Run

MODELS: Final[Mapping[Kind, type[Run] | type[Event]]] = {"runs": Run, "events": Event}
# The partition's key, which is nobody's business.
_OURS: Final = frozenset({"day"})


def narrowed(ctx: ActionContext, kind: Kind, filters: Mapping[str, Any]) -> QuerySet[Any]:
    """The rows that `ctx` sees and that the filters (of `domain.asked.parse`) let through, newest first."""
    rows: QuerySet[Any] = MODELS[kind].objects.restrict(ctx).order_by("-created_at", "-id")
    for name, value in filters.items():
        if name == "agent":
            tenant, slash, slug = value.rpartition("/")
            agents = Agent.objects.restrict(ctx).filter(slug=slug, **({"tenant__slug": tenant} if slash else {}))
            rows = rows.filter(agent_id__in=list(agents.values_list("pk", flat=True)[:1]))
        elif name == "since":
            rows = rows.filter(created_at__gte=value)
        elif name == "until":
            rows = rows.filter(created_at__lt=value)
        elif name == "flag":
            rows = rows.filter(flags__contains=[value])
        elif name == "mcp_server" and kind == "runs":
            rows = rows.filter(mcp_servers__contains=[value])
        else:
            rows = rows.filter(**{name: value})
    return rows


def with_relatives(rows: QuerySet[Any]) -> QuerySet[Any]:
    """What `as_json` needs besides the row itself."""
    rows = rows.select_related("tenant", "team", "agent")
    return rows.prefetch_related("score") if rows.model is Run else rows


@cache
def columns(kind: Kind) -> tuple[str, ...]:
    """The keys of `as_json`, in their order."""
    names = [_name(field.name) for field in MODELS[kind]._meta.concrete_fields if field.name not in _OURS]
    return (*names, "score", "score_parts") if kind == "runs" else tuple(names)


def as_json(row: Any) -> dict[str, Any]:
    """A run or event as `runs/{id}/` and `events/{id}/` answer it, without the links."""
    found: dict[str, Any] = {}
    for field in row._meta.concrete_fields:
        if field.name in _OURS:
            continue
        if field.is_relation:
            relative = getattr(row, field.name)
            found[field.name] = relative.slug if relative is not None else None
        else:
            found[_name(field.name)] = _plain(field.name, getattr(row, field.attname))
    if isinstance(row, Run):
        score = getattr(row, "score", None)
        found["score"] = None if score is None else score.score / 100
        found["score_parts"] = None if score is None else {**score.parts, "baseline_ms": score.baseline_ms}
    return found


def _name(field: str) -> str:
    return "cost_usd" if field == "cost_micros" else field


def _plain(field: str, value: Any) -> Any:
    if field == "id":
        return str(value)
    if field == "cost_micros" and value is not None:
        return f"{Decimal(value).scaleb(-6):.6f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value
