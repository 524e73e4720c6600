"""The archive cycle: a day of a tenant is written, read again in full, and only then may the database let go of it.

Every step ends with a commit and is repeated safely: a process that is killed anywhere leaves rows in the database, or objects that no
manifest names and that the next run finds, compares and keeps or replaces. What may be dropped is decided by the database
(`telemetry_release`), which counts again under its own locks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone

from apps.audit.services import record
from apps.core.context import EVERY_USER, in_tenant, system_context
from apps.core.errors import Problem, problem
from apps.core.storage import Storage, StorageError, open_storage
from apps.telemetry.domain.archives import File, Kind, folder, manifest, manifest_path, part_path, read_manifest, totals
from apps.telemetry.models import Archive, ArchivePart, ArchiveState, Erasure
from apps.telemetry.services import archive_files as files
from apps.telemetry.services.storage import cursor

log = structlog.get_logger(__name__)

Reached = Callable[[str], None]
# Parts that are read, packed and checked side by side, each on a connection of its own.
WORKERS = 2


class OutOfTimeError(Exception):
    """The time that the caller has is over; what was done stays, and the next call goes on from there."""


class BusyError(Exception):
    """Another process is at the tenant's archives."""


def quietly(step: str) -> None:
    """For who does not want to be told of steps."""


def need_store() -> None:
    """Raises Problem `not_available` where no ARCHIVE_STORE is set."""
    if not settings.ARCHIVE_STORE:
        raise problem("not_available", "This installation has no archive: its operator sets ARCHIVE_STORE (docs/retention.md).")


def store() -> Storage:
    """ARCHIVE_STORE. Raises Problem `not_available` where none is set, StorageError where it cannot be opened."""
    need_store()
    return open_storage(settings.ARCHIVE_STORE)


@contextmanager
def alone(tenant_id: UUID) -> Iterator[None]:
    """Within, no other process is at this tenant's archives; a killed one's lock goes with its connection. Raises BusyError."""
    key = f"telemetry.archives:{tenant_id}"
    with connection.cursor() as cur:
        cur.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [key])
        if not cur.fetchone()[0]:
            raise BusyError
    try:
        yield
    finally:
        with connection.cursor() as cur:
            cur.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [key])


@contextmanager
def reading(tenant_id: UUID) -> Iterator[Any]:
    """A cursor in a transaction of one snapshot that reaches all of the tenant's rows."""
    with transaction.atomic():
        cur = cursor()
        cur.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with in_tenant(tenant_id, EVERY_USER):
            yield cur


def archive_day(*, tenant_id: UUID, day: date, deadline: float | None = None, reached: Reached = quietly) -> Archive:
    """Takes a day as far as `verified`, from wherever an earlier call left it; a day that is there already stays as it is.

    `deadline` is of `time.monotonic()`; `reached` is called after each step. Raises OutOfTimeError, BusyError, StorageError, Problem
    `not_available`, `wrong_state` (the day is not over).
    """
    storage = store()
    if day >= datetime.now(UTC).date():
        raise problem("wrong_state", "The day is not over: its rows are still coming in.", pointer="/day")
    with alone(tenant_id), noting_errors(tenant_id, day):
        return _archive(storage, tenant_id, day, deadline, reached)


@contextmanager
def noting_errors(tenant_id: UUID, day: date) -> Iterator[None]:
    """An attempt that came to nothing says so where people look."""
    try:
        yield
    except (StorageError, RuntimeError, Problem) as error:
        with in_tenant(tenant_id):
            Archive.objects.filter(tenant_id=tenant_id, day=day).update(error=str(error)[:500])
        raise


def _archive(storage: Storage, tenant_id: UUID, day: date, deadline: float | None, reached: Reached) -> Archive:
    archive = _begun(tenant_id, day)
    reached("begun")
    if archive.state == ArchiveState.PENDING:
        if not _parts(archive):
            _plan(archive)
            reached("planned")
        _write_parts(storage, archive, deadline, reached)
        _write_manifest(storage, archive, reached)
    if archive.state == ArchiveState.WRITTEN:
        _verify(storage, archive)
        reached("verified")
    if archive.unswept:
        sweep(storage, archive)
        reached("swept")
    return archive


def _begun(tenant_id: UUID, day: date) -> Archive:
    with in_tenant(tenant_id):
        archive, _ = Archive.objects.get_or_create(tenant_id=tenant_id, day=day)
    return archive


def _parts(archive: Archive) -> list[ArchivePart]:
    with in_tenant(archive.tenant_id):
        rows = ArchivePart.objects.filter(tenant_id=archive.tenant_id, archive=archive, generation=archive.generation)
        return list(rows.order_by("kind", "number"))


def _plan(archive: Archive) -> None:
    """Cuts the day's rows into parts. Rows that come later belong to the last part, whose end is open. What has come since of users who were
    erased goes first."""
    erase_late(archive.tenant_id, archive.day)
    with reading(archive.tenant_id) as cur:
        for kind in Kind:
            cur.execute(
                f"SELECT EXISTS (SELECT 1 FROM {files.TABLES[kind]} WHERE tenant_id = %b AND day = %b)",  # noqa: S608 -- a constant
                [archive.tenant_id, archive.day],
            )
            if cur.fetchone() == (False,):
                continue
            cuts = files.boundaries(cur, kind, archive.tenant_id, archive.day)
            for number, (after, upto) in enumerate(zip([files.FIRST, *cuts], [*cuts, files.LAST], strict=True), 1):
                _part(archive, kind, number, after, upto).save(force_insert=True)


def erase_late(tenant_id: UUID, day: date) -> None:
    """Removes from a day in the database the runs, of before their erasure, of users who were erased; and the events of runs that an erasure
    has found, whose ids are forgotten when the ledger forgets them."""
    with in_tenant(tenant_id, EVERY_USER):
        found = list(Erasure.objects.filter(tenant_id=tenant_id).values_list("salt", "hash", "created_at", "runs"))
        if found:
            runs = {run for *_, some in found for run in some}
            erase_hot(day, sorted(runs), [(salt, known, at) for salt, known, at, _ in found])


def erase_hot(day: date, runs: Sequence[str], erased: Sequence[tuple[Any, Any, datetime]]) -> tuple[list[str], int]:
    """Has the database remove a day's runs of erased users (salt, hash, when), with events and scores; and the events of `runs`. Inside a
    transaction of the tenant. The ids of the runs that went, and how many rows."""
    cur = cursor()
    salts, hashes, ats = [bytes(salt) for salt, _, _ in erased], [bytes(known) for _, known, _ in erased], [at for _, _, at in erased]
    cur.execute(
        "SELECT run_ids, removed FROM telemetry_erase_day(%b, %b::text[], %b::bytea[], %b::bytea[], %b)",
        [day, list(runs), salts, hashes, ats],
    )
    found = cur.fetchone()
    assert found is not None
    return list(found[0]), int(found[1])


def _part(archive: Archive, kind: Kind, number: int, after: UUID, upto: UUID) -> ArchivePart:
    return ArchivePart(
        tenant_id=archive.tenant_id,
        archive=archive,
        generation=archive.generation,
        kind=kind,
        number=number,
        after_id=after,
        upto_id=upto,
        path=part_path(archive.tenant_id, archive.day, kind, archive.generation, number),
    )


def _write_parts(storage: Storage, archive: Archive, deadline: float | None, reached: Reached) -> None:
    while waiting := [part for part in _parts(archive) if part.verified_at is None]:
        in_time(deadline)
        if len(waiting) == 1:
            _write_part(storage, archive, waiting[0], deadline, reached)
            continue
        with ThreadPoolExecutor(WORKERS) as pool:
            for done in [pool.submit(_in_thread, _write_part, storage, archive, part, deadline, reached) for part in waiting]:
                done.result()


def in_time(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise OutOfTimeError


def _in_thread(call: Callable[..., None], *arguments: Any) -> None:
    """On a connection of its own, which is gone afterwards."""
    try:
        call(*arguments)
    finally:
        connection.close()


def _write_part(storage: Storage, archive: Archive, part: ArchivePart, deadline: float | None, reached: Reached) -> None:
    in_time(deadline)
    if not part.sha256:
        with reading(archive.tenant_id) as cur:
            try:
                packed = files.pack(cur, Kind(part.kind), archive.tenant_id, archive.day, part.after_id, part.upto_id)
            except files.PartTooLargeError:
                packed = None
        if packed is None:
            _cut(archive, part)
            return
        if packed.rows == 0:
            with in_tenant(archive.tenant_id):
                part.delete()
            return
        reached("packed")
        files.put(storage, part.path, packed.data, packed.sha256)
        reached("put")
        part.rows, part.bytes, part.sha256, part.mark = packed.rows, len(packed.data), packed.sha256, packed.mark
        part.first_at, part.last_at = packed.first_at, packed.last_at
        with in_tenant(archive.tenant_id):
            part.save(update_fields=["rows", "bytes", "sha256", "mark", "first_at", "last_at"])
        reached("part")
    files.check(storage, part.path, sha256=part.sha256, size=part.bytes, rows=part.rows)
    part.verified_at = timezone.now()
    with in_tenant(archive.tenant_id):
        part.save(update_fields=["verified_at"])
    reached("checked")


def _cut(archive: Archive, part: ArchivePart) -> None:
    """Halves a part whose rows do not fit into one object."""
    with reading(archive.tenant_id) as cur:
        cur.execute(
            f"SELECT id FROM (SELECT id, percent_rank() OVER (ORDER BY id) AS at FROM {files.TABLES[Kind(part.kind)]}"  # noqa: S608
            " WHERE tenant_id = %b AND day = %b AND id > %b AND id <= %b) ranked WHERE at < 0.5 ORDER BY id DESC LIMIT 1",
            [archive.tenant_id, archive.day, part.after_id, part.upto_id],
        )
        middle = cur.fetchone()[0]
        rows = ArchivePart.objects.filter(tenant_id=archive.tenant_id, archive=archive, generation=archive.generation, kind=part.kind)
        number = rows.aggregate(last=Max("number"))["last"] + 1
        end, part.upto_id = part.upto_id, middle
        part.save(update_fields=["upto_id"])
        _part(archive, Kind(part.kind), number, middle, end).save(force_insert=True)


def listed(parts: Sequence[ArchivePart]) -> list[File]:
    return [File(part.path, Kind(part.kind), part.rows, part.bytes, part.sha256, part.first_at, part.last_at) for part in parts]


def _write_manifest(storage: Storage, archive: Archive, reached: Reached) -> None:
    parts = _parts(archive)
    describe(storage, archive, parts, archive.generation)
    reached("manifest")
    archive.state = ArchiveState.WRITTEN
    archive.marks = totals([{"kind": part.kind, "rows": part.rows, "mark": part.mark} for part in parts])
    save(archive, "state", "marks", *DESCRIBED)
    reached("written")


DESCRIBED = ("rows", "bytes", "first_at", "last_at", "manifest", "manifest_sha256", "error")


def describe(storage: Storage, archive: Archive, parts: Sequence[ArchivePart], generation: int) -> None:
    """Writes the manifest of these parts, and sets the fields of the archive that speak of it (`DESCRIBED`), unsaved."""
    import hashlib

    data = manifest(tenant_id=archive.tenant_id, day=archive.day, generation=generation, created_at=archive.created_at, files=listed(parts))
    archive.manifest = manifest_path(archive.tenant_id, archive.day, generation)
    archive.manifest_sha256 = hashlib.sha256(data).hexdigest()
    files.put(storage, archive.manifest, data, archive.manifest_sha256)
    found = read_manifest(data)
    archive.rows, archive.bytes = sum(found.rows.values()), sum(file.bytes for file in found.files)
    archive.first_at, archive.last_at, archive.error = found.first_at, found.last_at, ""


def _verify(storage: Storage, archive: Archive) -> None:
    """Each part was read again when it was written; the manifest is now, and is held against what the database knows of the parts."""
    found = read_manifest(storage.get(archive.manifest, sha256=bytes.fromhex(archive.manifest_sha256)))
    if sorted(found.files, key=lambda file: file.path) != sorted(listed(_parts(archive)), key=lambda file: file.path):
        raise StorageError(f"{storage.address}: {archive.manifest} names other files than were written")
    archive.state, archive.error = ArchiveState.VERIFIED, ""
    archive.verified_at = archive.checked_at = timezone.now()
    ctx = system_context("archiving", tenant_id=archive.tenant_id)
    with ctx.transaction():
        archive.save(update_fields=["state", "error", "verified_at", "checked_at"])
        record(ctx, "telemetry.day_archived", archive, data=facts(archive))


def facts(archive: Archive) -> dict[str, Any]:
    """What the log says of an archive."""
    return {
        "day": archive.day,
        "generation": archive.generation,
        "rows": archive.rows,
        "manifest": archive.manifest,
        "sha256": archive.manifest_sha256,
    }


def save(archive: Archive, *fields: str) -> None:
    with in_tenant(archive.tenant_id):
        archive.save(update_fields=list(fields))


def sweep(storage: Storage, archive: Archive) -> None:
    """Removes the day's objects that belong to no generation that counts."""
    with in_tenant(archive.tenant_id):
        parts = ArchivePart.objects.filter(tenant_id=archive.tenant_id, archive=archive)
        known = {archive.manifest, *parts.values_list("path", flat=True)} if archive.state != ArchiveState.EXPIRED else set()
    for stored in list(storage.list(folder(archive.tenant_id, archive.day))):
        if stored.path not in known:
            storage.delete(stored.path)
    archive.unswept = False
    save(archive, "unswept")


def renew(*, tenant_id: UUID, day: date) -> None:
    """Has a verified day archived anew from the database, since rows came or changed after it was read. Raises RuntimeError where the
    database holds fewer than the archive: that archive is never given up for less."""
    with reading(tenant_id) as cur:
        archive = Archive.objects.get(tenant_id=tenant_id, day=day)
        found = marks_of(cur, tenant_id, day)
        for kind in Kind:
            if found[kind.value][0] < archive.marks.get(kind.value, [0])[0]:
                raise RuntimeError(f"The database holds fewer {kind}s of {day} than their archive; neither is touched.")
        begin_again(archive)


def begin_again(archive: Archive) -> None:
    """The next generation, from the database: inside a transaction of the tenant. The objects of this one are swept once that one is verified."""
    ArchivePart.objects.filter(tenant_id=archive.tenant_id, archive=archive).delete()
    archive.generation += 1
    archive.state, archive.unswept, archive.marks = ArchiveState.PENDING, True, {}
    archive.manifest = archive.manifest_sha256 = ""
    archive.verified_at = archive.restored_until = None
    names = ("generation", "state", "unswept", "marks", "manifest", "manifest_sha256", "verified_at", "restored_until")
    archive.save(update_fields=names)


def marks_of(cur: Any, tenant_id: UUID, day: date) -> dict[str, list[int]]:
    """Kind -> [rows, mark] of what the database holds of a day now."""
    found = {}
    for kind in Kind:
        cur.execute(
            f"SELECT count(*), coalesce(sum(xmin::text::bigint), 0) FROM {files.TABLES[kind]} WHERE tenant_id = %b AND day = %b",  # noqa: S608
            [tenant_id, day],
        )
        found[kind.value] = [int(value) for value in cur.fetchone()]
    return found


def verify_archive(*, archive: Archive, deadline: float | None = None, since: datetime | None = None) -> None:
    """Reads every object of an archive again, in full; with `since`, those that were not read since. One that is being written anew, or whose
    files were removed meanwhile, is left alone. Raises StorageError for the first that is not as it was written, OutOfTimeError, BusyError."""
    storage = store()
    with alone(archive.tenant_id):
        with in_tenant(archive.tenant_id):
            archive.refresh_from_db()
            parts = list(ArchivePart.objects.filter(tenant_id=archive.tenant_id, archive=archive, generation=archive.generation))
        if archive.state in (ArchiveState.PENDING, ArchiveState.EXPIRED):
            return
        storage.get(archive.manifest, sha256=bytes.fromhex(archive.manifest_sha256))
        for part in parts:
            if since is not None and part.verified_at is not None and part.verified_at >= since:
                continue
            in_time(deadline)
            files.check(storage, part.path, sha256=part.sha256, size=part.bytes, rows=part.rows)
            part.verified_at = timezone.now()
            with in_tenant(archive.tenant_id):
                part.save(update_fields=["verified_at"])
        archive.checked_at, archive.error = timezone.now(), ""
        save(archive, "checked_at", "error")
