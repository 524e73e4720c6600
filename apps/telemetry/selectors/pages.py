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
from django.db.models import BooleanField, DateField, DateTimeField, QuerySet
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
_ANY_DAY = "date '-infinity' AS first_day, date 'infinity' AS last_day"
# So many terms are asked for one by one, in each minute; more are read in one go.
FEW = 3
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


# Every row has one of these terms: SQL of their hashes, and its parameters.
Reach = tuple[list[str], list[str]]


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
    reaches: list[Reach] = [([_TERM], [each]) for each in chosen]
    if asked.scopes is not None:
        reaches.append(([_TERM] * len(asked.scopes), [term(kind, (name,), {name: value}) for name, value in asked.scopes]))
    if limited:
        reaches.append(([_TERM, _OWN], [term(kind, ("user",), {"user": NO_USER}), term(kind, ("user",), {"user": ""})]))
    direction = "ASC" if order[0] == "created_at" else "DESC"
    minutes, parameters = _minutes(kind, reaches, asked, direction)
    ids, given = _ids(reaches)
    parameters += given
    table = rows.model._meta.db_table
    last = limit + offset
    plain = rows.order_by(*order).select_related(None).prefetch_related(None)
    plain = plain.filter(
        day__gte=RawSQL("m.first_day", [], output_field=DateField()), day__lte=RawSQL("m.last_day", [], output_field=DateField())
    )
    looked_through = plain.filter(
        RawSQL("k.ids IS NULL", [], output_field=BooleanField()),
        created_at__gte=RawSQL("m.since", [], output_field=DateTimeField()),
        created_at__lt=RawSQL("m.until", [], output_field=DateTimeField()),
    )
    known = plain.filter(RawSQL(f"k.ids IS NOT NULL AND {table}.id = ANY(k.ids)", [], output_field=BooleanField()))
    pieces = []
    for piece in (looked_through, known):
        sql, values = piece.values_list("id", "day", "created_at")[:last].query.sql_with_params()
        pieces.append(f"({sql})")
        parameters += values
    statement = f"""
        SELECT f.id, f.day FROM ({minutes}) m CROSS JOIN LATERAL ({ids}) k (ids)
        CROSS JOIN LATERAL ({" UNION ALL ".join(pieces)}) f (id, day, created_at)
        ORDER BY m.minute {direction}, f.created_at {direction}, f.id {direction} LIMIT %s OFFSET %s
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, [*parameters, limit, offset])
        return [(key, day) for key, day in cursor.fetchall()]


def _minutes(kind: str, reaches: Sequence[Reach], asked: Wanted, direction: str) -> tuple[str, list[Any]]:
    """SQL of the minutes that have all of the terms, as far as is known in one row, in order, and its parameters."""
    within = ""
    bounds: list[Any] = []
    for moment, sign in ((asked.since, ">="), (asked.until, "<=")):
        if moment is not None:
            within += f" AND minute {sign} %s"
            bounds.append(int(moment.timestamp() // 60))
    (first, terms_of_first), *others = reaches
    of_first = f"FROM telemetry_posting p WHERE tenant_id = {_TENANT} AND term IN ({', '.join(first)}){within}"
    if len(first) == 1:
        posted = f"SELECT minute, first_day, last_day {of_first}"
    else:
        posted = (
            f"SELECT * FROM (SELECT minute, min(first_day) AS first_day, max(last_day) AS last_day {of_first} GROUP BY minute) p WHERE true"
        )
    parameters: list[Any] = [*terms_of_first, *bounds]
    near, far = [each for each in others if len(each[0]) <= FEW], [each for each in others if len(each[0]) > FEW]
    for sql, given in far:
        posted += (
            f" AND p.minute IN (SELECT o.minute FROM telemetry_posting o WHERE o.tenant_id = {_TENANT} AND o.term IN ({', '.join(sql)}))"
        )
        parameters += given
    if near and 1 < len(first) <= FEW:
        # Put together by minute it has no keys to compare.
        near.insert(0, reaches[0])
    if near:
        posted += f" AND {_meeting([sql for sql, _ in near], before=['p'] if len(first) == 1 else [])}"
        parameters += [each for _, given in near for each in given]
    # What waits in the queue may be anything: its minutes are looked through, posted or not.
    waiting = f"FROM telemetry_unrolledbatch b, unnest(b.minutes) u (minute) WHERE b.tenant_id = {_TENANT} AND b.kind = %s"
    return (
        "SELECT minute, first_day, last_day, waiting, to_timestamp(minute * 60) AS since, to_timestamp(minute * 60 + 60) AS until FROM ("
        f"SELECT minute, first_day, last_day, false AS waiting FROM ({posted}) q"
        f" WHERE minute <> ALL (ARRAY(SELECT DISTINCT u.minute {waiting}))"
        f" UNION ALL SELECT * FROM (SELECT u.minute, {_ANY_DAY}, true {waiting} GROUP BY 1) w WHERE true{within}) a ORDER BY minute {direction}",
        [*parameters, kind, kind, *bounds],
    )


def _meeting(terms: Sequence[list[str]], before: Sequence[str]) -> str:
    """SQL of whether the minute `p.minute` has a posting of each of these terms, of which no two, nor one and one of `before`, are known to
    have no key in common."""
    (first, *others), name = terms, f"o{len(terms)}"
    apart = "".join(f" AND ({each}.ids && {name}.ids) IS NOT FALSE" for each in before)
    among = f"{name}.tenant_id = {_TENANT} AND {name}.term IN ({', '.join(first)}) AND {name}.minute = p.minute{apart}"
    rest = f" AND {_meeting(others, [*before, name])}" if others else ""
    return f"EXISTS (SELECT 1 FROM telemetry_posting {name} WHERE {among}{rest})"


def _ids(reaches: Sequence[Reach]) -> tuple[str, list[Any]]:
    """SQL of the fewest keys that are known to hold all rows of the minute `m`, null where none are."""
    parts: list[str] = []
    parameters: list[Any] = []
    for sql, given in reaches:
        parts.append(
            f"SELECT CASE WHEN bool_and(p.ids IS NOT NULL) THEN array_agg(x) END AS ids FROM telemetry_posting p"
            f" LEFT JOIN LATERAL unnest(p.ids) x ON true WHERE p.tenant_id = {_TENANT} AND p.term IN ({', '.join(sql)}) AND p.minute = m.minute"
        )
        parameters += given
    return (
        f"SELECT CASE WHEN NOT m.waiting THEN (SELECT ids FROM ({' UNION ALL '.join(parts)}) c ORDER BY cardinality(ids) NULLS LAST LIMIT 1) END",
        parameters,
    )
