"""What a reading costs the database: by the clock, and the time that its process was on a core."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from django.db import connection

from apps.core.context import ActionContext


def measured(ctx: ActionContext, call: Callable[[ActionContext], int], *, times: int) -> str:
    """The median of several calls, without parallel workers; `call` gives how many rows it found."""
    busy, waited, found = [], [], 0
    for _ in range(times):
        with ctx.transaction():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid(), set_config('max_parallel_workers_per_gather', '0', true)")
                process = cursor.fetchone()[0]
            begun, before = time.perf_counter(), on_core(process)
            found = call(ctx)
            busy.append(on_core(process) - before)
            waited.append(1000 * (time.perf_counter() - begun))
    return f"{statistics.median(busy):.1f} ms ({statistics.median(waited):.1f} ms by the clock; {found} rows)"


def on_core(process: int) -> float:
    """Milliseconds that a process has been on a core so far."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e6
