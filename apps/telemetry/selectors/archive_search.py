"""Search in a tenant's archives: DuckDB over the files, a few at a time, newest first.

DuckDB reads copies in a folder of their own and nothing else; whoever searches gives values, never SQL. Time, memory and files are bounded: what
was not searched any more is said, with the day to go on from.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings

from apps.core.access import Action
from apps.core.context import ActionContext, in_tenant
from apps.core.errors import problem
from apps.core.storage import Storage, open_storage
from apps.identity.permissions import require
from apps.telemetry.domain.archives import Kind
from apps.telemetry.models import ArchivePart, ArchiveState

MAX_SECONDS = 20.0
MAX_BYTES = 512 * 2**20
MEMORY = "256MB"
# Nothing is fetched, whatever a file seems to need.
_CLOSED = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
_TEXTS = {
    Kind.RUN: ("input", "output", "run_id", "error_code", "status", "metadata"),
    Kind.EVENT: ("message", "action", "event_id", "run_id", "mcp_tool", "payload"),
    Kind.SCORE: ("run_id", "pack"),
}
# Parameter -> the field that it is compared with.
_EXACT = {
    "run_id": "run_id",
    "root_task_id": "root_task_id",
    "user_ref": "user_ref",
    "agent": "agent_id",
    "pack": "pack",
    "status": "status",
}


class _InterruptedError(Exception):
    """The time was over before the file was searched."""


@dataclass(frozen=True, slots=True)
class Found:
    """`rows` as they were archived, newest first by file; `complete`: every file of the range was read, and no more rows than asked for.
    Where the time is over in the middle of a file, what earlier files gave stays."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    files: int = 0
    searched: int = 0
    complete: bool = True


def search_archives(
    *,
    ctx: ActionContext,
    kind: Kind = Kind.RUN,
    q: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 50,
    seconds: float = MAX_SECONDS,
    **exact: str,
) -> Found:
    """Rows of one kind whose text holds `q` (whatever its case) and whose fields are as `exact` says, from `since` to before `until`. Raises
    Problem `permission_denied`, `invalid`, `not_available`; StorageError."""
    require(ctx, Action.AUDIT, tenant_id=ctx.tenant_id)
    if since is not None and until is not None and until <= since:
        raise problem("invalid", "The range ends before it begins.", pointer="/until")
    if not settings.ARCHIVE_STORE:
        raise problem("not_available", "This installation has no archive: its operator sets ARCHIVE_STORE (docs/retention.md).")
    exact = {name: value for name, value in exact.items() if value}
    parts = _parts(ctx.tenant_id, kind, since, until)
    condition, values = _condition(kind, q, since, until, exact)
    if not parts:
        return Found()
    rows: list[dict[str, Any]] = []
    deadline, size, searched = time.monotonic() + seconds, 0, 0
    storage = open_storage(settings.ARCHIVE_STORE)
    for part in parts:
        size += part.bytes
        if len(rows) > limit or size > MAX_BYTES or (left := deadline - time.monotonic()) <= 0:
            break
        try:
            rows += _in_file(storage, part, condition, values, limit + 1 - len(rows), left)
        except _InterruptedError:
            break
        searched += 1
    return Found(rows[:limit], len(parts), searched, searched == len(parts) and len(rows) <= limit)


def _parts(tenant_id: UUID, kind: Kind, since: datetime | None, until: datetime | None) -> list[ArchivePart]:
    gone = (ArchiveState.PENDING, ArchiveState.EXPIRED)
    with in_tenant(tenant_id):
        rows = ArchivePart.objects.filter(tenant_id=tenant_id, kind=kind).exclude(sha256="").exclude(archive__state__in=gone)
        if since is not None:
            rows = rows.filter(last_at__gte=since)
        if until is not None:
            rows = rows.filter(first_at__lt=until)
        return list(rows.order_by("-archive__day", "-number"))


def _condition(kind: Kind, q: str, since: datetime | None, until: datetime | None, exact: dict[str, str]) -> tuple[str, list[Any]]:
    said = ["true"]
    values: list[Any] = []
    for name, value in exact.items():
        if name not in _EXACT:
            raise problem("unknown_key", f"Nothing is compared with '{name}'; what is: {', '.join(_EXACT)}.", pointer=f"/{name}")
        said.append(f"json ->> '$.{_EXACT[name]}' = ?")
        values.append(value)
    if since is not None:
        said.append("(json ->> '$.created_at')::timestamptz >= ?")
        values.append(since)
    if until is not None:
        said.append("(json ->> '$.created_at')::timestamptz < ?")
        values.append(until)
    if q:
        texts = ", ".join(f"json ->> '$.{name}'" for name in _TEXTS[kind])
        said.append(f"contains(lower(concat_ws(' ', {texts})), lower(?))")
        values.append(q)
    return " AND ".join(said), values


def _in_file(
    storage: Storage, part: ArchivePart, condition: str, values: list[Any], limit: int, seconds: float
) -> Iterator[dict[str, Any]]:
    import duckdb

    data = storage.get(part.path, sha256=bytes.fromhex(part.sha256))
    with tempfile.TemporaryDirectory(prefix="mc-search-") as folder:
        path = Path(folder) / "part.jsonl.zst"
        path.write_bytes(data)
        config: dict[str, Any] = {"memory_limit": MEMORY, "threads": 1, "temp_directory": folder}
        with duckdb.connect(":memory:", config={**config, **_CLOSED}) as db:
            db.execute(f"SET allowed_paths = ['{path}']")
            db.execute("SET enable_external_access = false")
            db.execute("SET TimeZone = 'UTC'")
            db.execute("SET lock_configuration = true")
            timer = threading.Timer(seconds, db.interrupt)
            timer.start()
            try:
                # A file's newest rows stand last.
                statement = (
                    "SELECT json FROM (SELECT json, row_number() OVER () AS n FROM read_json_objects(?, format = 'newline_delimited',"  # noqa: S608
                    f" compression = 'zstd')) WHERE {condition} ORDER BY n DESC LIMIT ?"
                )
                found = db.execute(statement, [str(path), *values, limit]).fetchall()
            except duckdb.InterruptException:
                raise _InterruptedError from None
            finally:
                timer.cancel()
    for (line,) in found:
        yield msgspec.json.decode(line)
