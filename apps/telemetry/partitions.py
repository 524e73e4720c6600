"""Daily partitions: made ahead of time by a function of the owner, so that the application need not be allowed to make tables."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.db import connection

DAYS_AHEAD = 7
PARENTS = ("telemetry_run", "telemetry_event", "telemetry_runscore")


def make_partitions(days_ahead: int = DAYS_AHEAD) -> int:
    """Makes the partitions from yesterday to `days_ahead` (0 to 31) days from today that are missing; how many that were."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT telemetry_make_partitions(%s)", [days_ahead])
        made: int = cursor.fetchone()[0]
    return made


def days_ready(today: date) -> int:
    """For how many days after `today` every table has its partition already: 0 means that midnight stops ingest."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT right(c.relname, 8) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent "
            "WHERE p.relname = ANY(%s) AND right(c.relname, 8) > %s GROUP BY 1 HAVING count(*) = %s ORDER BY 1",
            [list(PARENTS), f"{today:%Y%m%d}", len(PARENTS)],
        )
        found = [name for (name,) in cursor.fetchall()]
    ready = 0
    for name in found:
        if name != f"{date.fromordinal(today.toordinal() + ready + 1):%Y%m%d}":
            break
        ready += 1
    return ready


def prepare(owner: Any) -> None:
    """After every migrate, on the owner's connection: partitions ahead, and the two rights that belong to no table."""
    from apps.core.grants import APPLICATION_ROLE

    with owner.cursor() as cursor:
        cursor.execute("SELECT to_regprocedure('telemetry_make_partitions(integer)')")
        if cursor.fetchone()[0] is None:
            return
        cursor.execute(f"GRANT EXECUTE ON FUNCTION telemetry_make_partitions(integer) TO {APPLICATION_ROLE}")
        # Batches are copied into a temporary table first.
        cursor.execute("SELECT quote_ident(current_database())")
        cursor.execute(f"GRANT TEMPORARY ON DATABASE {cursor.fetchone()[0]} TO {APPLICATION_ROLE}")
        cursor.execute("SELECT telemetry_make_partitions(%s)", [DAYS_AHEAD])
