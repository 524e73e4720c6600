"""What a list of runs or events asks for, read from its query: whichever filter of the API or the admin put it there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import QuerySet
from django.db.models.expressions import Col, Value
from django.db.models.lookups import Exact, GreaterThan, GreaterThanOrEqual, In, LessThan, LessThanOrEqual
from django.db.models.sql.where import AND, OR, WhereNode

# Columns whose filter has another name (`domain/terms.py`).
_NAMES = {"flags": "flag", "mcp_servers": "mcp_server", "user_ref": "user"}
# Containers under which somebody may see rows, and how many of them are still looked up one by one.
_SCOPES = ("team", "agent", "pack")
MAX_SCOPES = 20


@dataclass(slots=True)
class Wanted:
    """`values` that every row has, as text, by name of the filter; rows lie from `since` to `until`, both included. `scopes`: every row has
    one of these values of team, agent or pack, for who sees no others; None where that is not known or they are many."""

    values: dict[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    scopes: list[tuple[str, str]] | None = None


def wanted(rows: QuerySet[Any]) -> Wanted:
    """What the conditions of the query, all of which hold for every row, say of columns of its own."""
    found = Wanted()
    for condition in _conditions(rows.query.where):
        if isinstance(condition, WhereNode):
            scopes = _scopes(rows, condition)
            if scopes is not None and found.scopes is None:
                found.scopes = scopes
            continue
        name, value = _column(rows, condition), getattr(condition, "rhs", None)
        if name == "created_at" and isinstance(value, datetime):
            if isinstance(condition, GreaterThan | GreaterThanOrEqual):
                found.since = max(value, found.since or value)
            elif isinstance(condition, LessThan | LessThanOrEqual):
                found.until = min(value, found.until or value)
        elif isinstance(condition, Exact) and name and not hasattr(value, "resolve_expression"):
            found.values[_NAMES.get(name, name)] = _text(value)
        elif name in _NAMES and condition.lookup_name == "contains":
            held = _held(value)
            if len(held) == 1:
                found.values[_NAMES[name]] = _text(held[0])
    return found


def _conditions(node: WhereNode) -> Iterator[Any]:
    """Lookups that all hold, and nodes of alternatives."""
    for child in node.children:
        if isinstance(child, WhereNode):
            if not child.negated and (child.connector == AND or len(child.children) == 1):
                yield from _conditions(child)
            elif not child.negated and child.connector == OR:
                yield child
        else:
            yield child


def _column(rows: QuerySet[Any], condition: Any) -> str:
    """The name of the model's own field on the left of a lookup, else ""."""
    left = getattr(condition, "lhs", None)
    return left.target.name if isinstance(left, Col) and left.alias == rows.model._meta.db_table else ""


def _held(value: Any) -> list[Any]:
    """The values of a list on the right: JSON as it is, an array as an expression of values."""
    if isinstance(value, list | tuple):
        return list(value)
    parts = value.get_source_expressions() if hasattr(value, "get_source_expressions") else []
    return [part.value for part in parts if isinstance(part, Value)]


def _scopes(rows: QuerySet[Any], alternatives: WhereNode) -> list[tuple[str, str]] | None:
    """The containers of `restrict`: each alternative names some of one kind, or nothing at all."""
    found: list[tuple[str, str]] = []
    for alternative in alternatives.children:
        parts = list(_conditions(alternative)) if isinstance(alternative, WhereNode) else [alternative]
        sets = [(_column(rows, part), part.rhs) for part in parts if isinstance(part, In)]
        if any(name == "id" and isinstance(keys, list | tuple | set) and not keys for name, keys in sets):
            continue
        keyed = [(name, keys) for name, keys in sets if name in _SCOPES]
        if len(keyed) != 1:
            return None
        name, keys = keyed[0]
        if not isinstance(keys, list | tuple | set):
            first = keys.clone()
            first.set_limits(high=MAX_SCOPES + 1)
            keys = [key for (key, *_) in first.get_compiler(connection=connection).results_iter()]
        found += [(name, _text(key)) for key in keys]
        if len(found) > MAX_SCOPES:
            return None
    return found


def _text(value: Any) -> str:
    """As PostgreSQL writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
