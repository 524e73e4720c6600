"""One page of runs or events among many millions, newest first: found by the minutes in which what it asks for occurs.

A row's terms (`domain/terms.py`) are posted by the roll-up, a few seconds after the row is there. Until then its minute waits in the queue,
and is looked through. So a page reads the minutes that have its rarest term, newest first, and stops when it is full; where a term is rare
within a minute, its rows are known by key. All conditions are asked of the rows themselves again, under row security: a posting only
says where to look.
"""

# ruff: noqa: S608, S611 -- every name in the SQL is a constant of this module; values are parameters

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import BooleanField, DateTimeField, QuerySet
from django.db.models.expressions import RawSQL

from apps.core.context import EVERY_USER, acting
from apps.telemetry.domain.terms import NO_USER, term, terms
from apps.telemetry.models import Event, Run
from apps.telemetry.querysets import Wanted, wanted

KINDS: dict[type[Any], str] = {Run: "r", Event: "e"}
# Literals of SQL, not of text: hashes are made where the roll-up made them.
_TERM = "hashtextextended(%s, 0)"
# The transaction's own user, whose term is begun by the parameter.
_OWN = "hashtextextended(%s || current_setting('app.user_ref', true), 0)"
_TENANT = "NULLIF(current_setting('app.tenant', true), '')::uuid"


def page(rows: QuerySet[Any], *, limit: int, offset: int = 0, back: bool = False) -> list[Any]:
    """The `limit` newest of `rows` by (created_at, id) after `offset` of them; `back`: the oldest, oldest first. `rows` are restricted and
    narrowed, and belong to the tenant whose transaction this runs in."""
    order = ("created_at", "id") if back else ("-created_at", "-id")
    kind = KINDS.get(rows.model)
    try:
        asked = wanted(rows)
        chosen = terms(kind, asked.values) if kind else []
        ctx = acting()
        limited = kind == "r" and ctx is not None and ctx.users != EVERY_USER
        if kind is None or not (chosen or asked.scopes or limited):
            return list(rows.order_by(*order)[offset : offset + limit])
        keys = _keys(rows, kind, asked, chosen, limited, order, limit, offset)
    except EmptyResultSet:
        return []
    found = rows.filter(pk__in=[key for key, _ in keys], day__in={day for _, day in keys})
    return list(found.order_by(*order)) if keys else []


def _keys(
    rows: QuerySet[Any],
    kind: str,
    asked: Wanted,
    chosen: Sequence[str],
    limited: bool,
    order: tuple[str, ...],
    limit: int,
    offset: int,
) -> list[tuple[Any, Any]]:
    """(id, day) of the page's rows."""
    reaches = []
    if asked.scopes is not None:
        reaches.append(([_TERM] * len(asked.scopes), [term(kind, (name,), {name: value}) for name, value in asked.scopes]))
    if limited:
        reaches.append(([_TERM, _OWN], [term(kind, ("user",), {"user": NO_USER}), term(kind, ("user",), {"user": ""})]))
    direction = "ASC" if order[0] == "created_at" else "DESC"
    minutes, parameters = _minutes(kind, chosen, reaches, asked, direction)
    table = rows.model._meta.db_table
    last = limit + offset
    plain = rows.order_by(*order).select_related(None).prefetch_related(None)
    looked_through = plain.filter(
        RawSQL("m.ids IS NULL", [], output_field=BooleanField()),
        created_at__gte=RawSQL("m.since", [], output_field=DateTimeField()),
        created_at__lt=RawSQL("m.until", [], output_field=DateTimeField()),
    )
    known = plain.filter(RawSQL(f"m.ids IS NOT NULL AND {table}.id = ANY(m.ids)", [], output_field=BooleanField()))
    pieces = []
    for piece in (looked_through, known):
        sql, given = piece.values_list("id", "day", "created_at")[:last].query.sql_with_params()
        pieces.append(f"({sql})")
        parameters += given
    statement = f"""
        SELECT f.id, f.day FROM ({minutes}) m CROSS JOIN LATERAL ({" UNION ALL ".join(pieces)}) f (id, day, created_at)
        ORDER BY m.minute {direction}, f.created_at {direction}, f.id {direction} LIMIT %s OFFSET %s
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, [*parameters, limit, offset])
        return [(key, day) for key, day in cursor.fetchall()]


def _minutes(
    kind: str, chosen: Sequence[str], reaches: Sequence[tuple[list[str], list[str]]], asked: Wanted, direction: str
) -> tuple[str, list[Any]]:
    """SQL of the minutes to look at, in order, with `ids` where the rows are known, and its parameters. `reaches`: of each of these lists of
    terms (SQL, parameters) every row has one."""
    within, bounds = "", []
    for moment, sign in ((asked.since, ">="), (asked.until, "<=")):
        if moment is not None:
            within += f" AND minute {sign} %s"
            bounds.append(int(moment.timestamp() // 60))
    # What waits in the queue may be anything: its minutes are looked through, posted or not.
    waiting = f"SELECT DISTINCT unnest(minutes) AS minute FROM telemetry_unrolledbatch WHERE tenant_id = {_TENANT} AND kind = %s"
    parts = [f"SELECT minute FROM telemetry_posting WHERE tenant_id = {_TENANT} AND term IN ({', '.join(sql)})" for sql, _ in reaches]
    if chosen:
        posted = f"SELECT minute, ids FROM telemetry_posting p WHERE tenant_id = {_TENANT} AND term = {_TERM}{within}"
        parameters: list[Any] = [chosen[0], *bounds]
        for other in chosen[1:]:
            posted += f" AND EXISTS (SELECT 1 FROM telemetry_posting o WHERE o.tenant_id = {_TENANT} AND o.term = {_TERM} AND o.minute = p.minute)"
            parameters.append(other)
    else:
        posted = f"SELECT DISTINCT minute, NULL::uuid[] AS ids FROM ({parts.pop(0)}{within}) s WHERE true"
        parameters = [*reaches[0][1], *bounds]
        reaches = reaches[1:]
    for part, (_, given) in zip(parts, reaches, strict=True):
        posted += f" AND minute IN ({part})"
        parameters += given
    return (
        f"SELECT minute, ids, to_timestamp(minute * 60) AS since, to_timestamp(minute * 60 + 60) AS until FROM ("
        f"SELECT minute, ids FROM ({posted}) q WHERE minute <> ALL (ARRAY({waiting}))"
        f" UNION ALL SELECT minute, NULL::uuid[] FROM ({waiting}) w WHERE true{within}) a ORDER BY minute {direction}",
        [*parameters, kind, kind, *bounds],
    )
