"""Erasure of one user's telemetry (GDPR, article 17): from the database, from archives, and from what comes later of before.

Archives are written anew without the user's rows: new objects, read again, then a manifest of the next generation, then one commit that makes
it the one that counts, and only then the old objects go. The keys of the user's runs stay (ids, no content), so that a repeated delivery is
not taken for new.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import Q
from django.utils import timezone

from apps.audit.services import record
from apps.core.access import Action
from apps.core.context import EVERY_USER, ActionContext, in_tenant, one_user, system_context
from apps.core.errors import Problem, problem
from apps.core.events import publish
from apps.core.jobs import enqueue_on_commit
from apps.core.storage import Storage, StorageError
from apps.identity.permissions import require
from apps.telemetry.domain.archives import Kind, part_path, subject_hash
from apps.telemetry.models import Archive, ArchivePart, ArchiveState, Erasure
from apps.telemetry.selectors.archives import hot_days_in_database
from apps.telemetry.selectors.rules import stored_reference
from apps.telemetry.services import archive_files as files
from apps.telemetry.services.archiving import (
    DESCRIBED,
    OutOfTimeError,
    Reached,
    alone,
    begin_again,
    describe,
    erase_hot,
    in_time,
    marks_of,
    quietly,
    store,
    sweep,
)
from apps.telemetry.services.storage import cursor

# Rows of these are in the files alone, or in both places.
_KEPT = (ArchiveState.DROPPED, ArchiveState.RESTORING, ArchiveState.RESTORED)


class _Row(msgspec.Struct):
    """What tells whose a row is."""

    created_at: str
    run_id: str | None = None
    user_ref: str | None = None


_decode = msgspec.json.Decoder(_Row).decode


def request_erasure(*, ctx: ActionContext, user_ref: str, reason: str) -> Erasure:
    """Has all telemetry of one user removed, of before now. Asked again while it is under way, it is the same one. Where redaction replaces
    such a name, rows hold what it made of it: that is erased as well. Raises Problem `permission_denied`, `invalid`."""
    with ctx.transaction():
        require(ctx, Action.MANAGE_TENANT, tenant_id=ctx.tenant_id)
        if not user_ref or len(user_ref) > 200 or one_user(user_ref) != user_ref:
            raise problem("invalid", "Name the user as the harness does, in 1 to 200 characters.", pointer="/user_ref")
        if not reason.strip():
            raise problem("invalid", "Say why: the log keeps it.", pointer="/reason")
        # Two at once wait for each other here.
        cursor().execute("SELECT pg_advisory_xact_lock(hashtextextended(%b, 0))", [f"telemetry.erasure:{ctx.tenant_id}"])
        stored = stored_reference(ctx.tenant_id, user_ref)
        if stored != user_ref:
            _requested(ctx, stored, reason)
        return _requested(ctx, user_ref, reason)


def _requested(ctx: ActionContext, subject: str, reason: str) -> Erasure:
    waiting: Erasure | None = Erasure.objects.filter(tenant_id=ctx.tenant_id, subject=subject).exclude(state=Erasure.State.DONE).first()
    if waiting is not None:
        return waiting
    salt = os.urandom(16)
    erasure = Erasure(tenant_id=ctx.tenant_id, subject=subject, salt=salt, hash=subject_hash(salt, ctx.tenant_id, subject))
    erasure.save(force_insert=True)
    record(ctx, "telemetry.erasure_requested", erasure, data={"user": erasure.hash.hex()}, reason=reason)
    enqueue_on_commit(ctx, "telemetry.erase", str(ctx.tenant_id))
    return erasure


def erase(*, tenant_id: UUID, deadline: float | None = None, reached: Reached = quietly) -> int:
    """Finishes what erasures the tenant waits for, the oldest first, from wherever an earlier call left them; how many. Raises
    OutOfTimeError, BusyError, StorageError, Problem `not_available`."""
    done = 0
    with alone(tenant_id):
        with in_tenant(tenant_id):
            waiting = list(Erasure.objects.filter(tenant_id=tenant_id).exclude(state=Erasure.State.DONE).order_by("id"))
        for erasure in waiting:
            with _noting_errors(erasure):
                _Erasing(erasure, deadline, reached).run()
            done += 1
    return done


@contextmanager
def _noting_errors(erasure: Erasure) -> Iterator[None]:
    """An attempt that came to nothing says so where people look, until one comes further."""
    try:
        yield
    except (StorageError, RuntimeError, Problem) as error:
        _note(erasure, str(error)[:500])
        raise
    except OutOfTimeError:
        _note(erasure, "")
        raise


def _note(erasure: Erasure, error: str) -> None:
    with in_tenant(erasure.tenant_id):
        Erasure.objects.filter(tenant_id=erasure.tenant_id, pk=erasure.pk).update(error=error)


class _Erasing:
    """One erasure on its way. What it need not read or look through again, a call after the time is over or a kill, stands in `read`: days of
    the database, and the archived day's objects by path, which are never written over. It begins anew with each phase, and its objects with
    each archived day."""

    def __init__(self, erasure: Erasure, deadline: float | None, reached: Reached) -> None:
        self.erasure, self.deadline, self.reached = erasure, deadline, reached
        self.tenant_id: UUID = erasure.tenant_id
        self.runs: set[str] = set(erasure.runs)
        self.read: list[str] = list(erasure.read)
        self._storage: Storage | None = None

    @property
    def storage(self) -> Storage:
        self._storage = self._storage or store()
        return self._storage

    def run(self) -> None:
        if self.erasure.phase == Erasure.Phase.COLLECT:
            self._collect()
        self._hot()
        for archive in self._archives():
            self._rewrite(archive)
            self._done_with(archive)
        self._sweep()
        self._finish()

    def _archives(self) -> Iterator[Archive]:
        with in_tenant(self.tenant_id):
            after = Q(day__gt=self.erasure.upto) if self.erasure.upto else Q()
            rows = list(Archive.objects.filter(after, tenant_id=self.tenant_id, state__in=_KEPT).order_by("day"))
        yield from rows

    def _parts(self, archive: Archive, **only: str) -> list[ArchivePart]:
        with in_tenant(self.tenant_id):
            return list(ArchivePart.objects.filter(tenant_id=self.tenant_id, archive=archive, **only).order_by("kind", "number"))

    def _save(self, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(self.erasure, name, value)
        with in_tenant(self.tenant_id):
            self.erasure.save(update_fields=list(fields))

    def _done_with(self, archive: Archive) -> None:
        self.read = [each for each in self.read if "/" not in each]
        self._save(upto=archive.day, runs=sorted(self.runs), read=self.read)

    def _collect(self) -> None:
        """The ids of the user's runs, wherever they are: an event of theirs may be on another day."""
        self._save(state=Erasure.State.RUNNING)
        with in_tenant(self.tenant_id, EVERY_USER):
            cur = cursor()
            cur.execute(
                "SELECT run_id FROM telemetry_run WHERE tenant_id = %b AND user_ref = %b AND least(created_at, received_at) <= %b",
                [self.tenant_id, self.erasure.subject, self.erasure.created_at],
            )
            self.runs |= {run_id for (run_id,) in cur.fetchall()}
        for archive in self._archives():
            for part in self._parts(archive, kind=Kind.RUN):
                if part.path in self.read:
                    continue
                in_time(self.deadline)
                found = {row.run_id for row, _ in self._read(part) if row.user_ref == self.erasure.subject and row.run_id}
                self.read.append(part.path)
                if found <= self.runs:
                    self._save(read=self.read)
                else:
                    self.runs |= found
                    self._save(runs=sorted(self.runs), read=self.read)
            self._done_with(archive)
        self.read = []
        self._save(phase=Erasure.Phase.REWRITE, upto=None, runs=sorted(self.runs), read=self.read)
        self.reached("collected")

    def _read(self, part: ArchivePart) -> Iterator[tuple[_Row, bytes]]:
        data = self.storage.get(part.path, sha256=bytes.fromhex(part.sha256))
        for line in files.lines(data, part.path):
            yield _decode(line), line

    def _hot(self) -> None:
        """The database; a day whose archive was not let go of yet is archived anew, without the user."""
        known = [(self.erasure.salt, self.erasure.hash, self.erasure.created_at)]
        days = {day for tenant_id, day, _ in hot_days_in_database() if tenant_id == self.tenant_id} | {timezone.now().date()}
        for day in sorted(days):
            if day.isoformat() in self.read:
                continue
            in_time(self.deadline)
            with in_tenant(self.tenant_id, EVERY_USER):
                _, removed = erase_hot(day, sorted(self.runs), known)
                archive = Archive.objects.select_for_update().filter(tenant_id=self.tenant_id, day=day).first()
                if removed and archive is not None:
                    if archive.state == ArchiveState.RESTORED:
                        archive.marks = marks_of(cursor(), self.tenant_id, day)
                        archive.save(update_fields=["marks"])
                    elif archive.state not in _KEPT:
                        begin_again(archive)
                self.read.append(day.isoformat())
                self.erasure.hot_rows, self.erasure.read = self.erasure.hot_rows + removed, self.read
                self.erasure.save(update_fields=["hot_rows", "read"])
            self.reached("hot")

    def _rewrite(self, archive: Archive) -> None:
        """The archive of a day without the user's rows: switched to in one commit, after all that changed was read again. When the time is
        over, what was rewritten so far is switched to, so that no call begins where the one before did."""
        changed: list[ArchivePart] = []
        gone, generation = 0, archive.generation + 1
        parts = self._parts(archive)
        late: OutOfTimeError | None = None
        for part in parts:
            if part.path in self.read:
                continue
            try:
                in_time(self.deadline)
            except OutOfTimeError as error:
                late = error
                break
            kept = [line for row, line in self._read(part) if not self._of_user(Kind(part.kind), row)]
            if len(kept) == part.rows:
                self.read.append(part.path)
                self._save(read=self.read)
                continue
            gone += part.rows - len(kept)
            data, part.sha256, part.rows = files.repack(iter(kept))
            part.path = part_path(self.tenant_id, archive.day, part.kind, generation, part.number)
            part.bytes, part.verified_at = len(data), timezone.now()
            files.put(self.storage, part.path, data, part.sha256)
            files.check(self.storage, part.path, sha256=part.sha256, size=part.bytes, rows=part.rows)
            changed.append(part)
            self.reached("rewritten")
        if changed:
            self._switch(archive, parts, changed, gone, generation)
        if late is not None:
            raise late

    def _switch(self, archive: Archive, parts: list[ArchivePart], changed: list[ArchivePart], gone: int, generation: int) -> None:
        describe(self.storage, archive, parts, generation)
        self.reached("described")
        with in_tenant(self.tenant_id):
            for part in changed:
                part.save(update_fields=["path", "rows", "bytes", "sha256", "verified_at"])
            ArchivePart.objects.filter(tenant_id=self.tenant_id, archive=archive).update(generation=generation)
            archive.generation, archive.unswept, archive.verified_at = generation, True, timezone.now()
            archive.save(update_fields=["generation", "unswept", "verified_at", *DESCRIBED])
            self.read += [part.path for part in changed]
            self.erasure.archived_rows, self.erasure.read = self.erasure.archived_rows + gone, self.read
            self.erasure.save(update_fields=["archived_rows", "read"])
        self.reached("switched")

    def _of_user(self, kind: Kind, row: _Row) -> bool:
        if kind == Kind.RUN:
            return row.run_id in self.runs and row.user_ref == self.erasure.subject
        return row.run_id in self.runs

    def _sweep(self) -> None:
        with in_tenant(self.tenant_id):
            unswept = list(Archive.objects.filter(tenant_id=self.tenant_id, unswept=True))
        for archive in unswept:
            in_time(self.deadline)
            sweep(self.storage, archive)
        self.reached("swept")

    def _finish(self) -> None:
        ctx = system_context("erasing", tenant_id=self.tenant_id)
        erasure = self.erasure
        with ctx.transaction():
            # Rooms that keep copies (exports, buffers) remove theirs in this transaction.
            publish(ctx, "telemetry.erased", user_ref=erasure.subject, before=erasure.created_at, run_ids=sorted(self.runs))
            # The ids stay as long as the ledger knows them: an event that comes later does not say whose it is.
            erasure.subject, erasure.runs, erasure.read, erasure.error = "", sorted(self.runs), [], ""
            erasure.state, erasure.done_at = Erasure.State.DONE, timezone.now()
            erasure.save(update_fields=["subject", "runs", "read", "error", "state", "done_at"])
            data = {"user": bytes(erasure.hash).hex(), "hot_rows": erasure.hot_rows, "archived_rows": erasure.archived_rows}
            record(ctx, "telemetry.erased", erasure, data=data)
