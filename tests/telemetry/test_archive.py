"""The archive cycle: what is written is what was there, and the database lets go of nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction

from apps.core.storage import StorageError, open_storage
from apps.evals.tasks import score_runs
from apps.telemetry.domain.archives import Kind, folder, read_manifest
from apps.telemetry.models import Archive, ArchivePart, RetentionPolicy
from apps.telemetry.selectors.archives import days_to_archive
from apps.telemetry.services import archive_files
from apps.telemetry.services.archiving import archive_day
from apps.telemetry.services.releasing import drop_days, prune_ledger, release
from apps.telemetry.tasks import archive_task
from tests.telemetry.archived import OLD, aged, archived, content, day_ago, furnished, hot, open_day
from tests.telemetry.sending import harness, run

pytestmark = pytest.mark.django_db(transaction=True)
OwnerSql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(autouse=True)
def address(settings: Any, tmp_path: Path) -> str:
    settings.ARCHIVE_STORE = str(tmp_path / "archives")
    return str(settings.ARCHIVE_STORE)


def partitions(owner_sql: OwnerSql, day: Any) -> int:
    return int(owner_sql("SELECT count(*) FROM pg_class WHERE relname LIKE %s", [f"telemetry_%_{day:%Y%m%d}"])[0][0])


def test_what_is_archived_is_what_was_there_and_only_then_is_it_dropped(
    owner_sql: OwnerSql, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_files, "PART_ROWS", 3)
    sender = harness()
    sender.send(*[run() for _ in range(3)])
    score_runs()
    sender, day = furnished(owner_sql, sender)
    before = hot(owner_sql, day)
    assert days_to_archive() == [(sender.tenant.pk, day)]
    assert drop_days() == {day: "unverified"}
    assert archive_task() == 1
    assert content(address, sender.tenant.pk, day) == before
    archive = Archive.objects.get()
    assert (archive.state, archive.rows, archive.error) == ("verified", 10 + 3 + 3, "")
    found = read_manifest(open_storage(address).get(archive.manifest))
    assert found.rows == {"run": 10, "event": 3, "score": 3}
    assert len([file for file in found.files if file.kind == Kind.RUN]) == 4
    moments = [datetime.fromisoformat(row["created_at"]) for rows in before.values() for row in rows]
    assert (min(moments), max(moments)) == (archive.first_at, archive.last_at)
    assert days_to_archive() == []
    assert drop_days() == {day: "dropped"}
    assert partitions(owner_sql, day) == 0 and drop_days() == {}
    archive.refresh_from_db()
    assert archive.state == "dropped" and archive.dropped_at is not None


def test_what_came_or_changed_after_it_was_read_is_archived_anew(owner_sql: OwnerSql, address: str) -> None:
    sender, day = furnished(owner_sql)
    archive_day(tenant_id=sender.tenant.pk, day=day)
    unfinished = next(row for row in hot(owner_sql, day)["run"] if not row["final"])
    sender.send({"run_id": unfinished["run_id"], "started_at": unfinished["started_at"], "final": True, "error_code": "late"})
    assert drop_days() == {day: "changed"}
    before = hot(owner_sql, day)
    archive_day(tenant_id=sender.tenant.pk, day=day)
    assert content(address, sender.tenant.pk, day) == before
    assert [row["error_code"] for row in before["run"]].count("late") == 1
    assert drop_days() == {day: "dropped"}
    names = [stored.path.rpartition("/")[2] for stored in open_storage(address).list(folder(sender.tenant.pk, day))]
    assert sorted(names) == ["event-002-0001.jsonl.zst", "manifest-002.json", "run-002-0001.jsonl.zst"], "the generation before is gone"


def test_a_run_whose_day_is_gone_is_not_completed_and_the_sender_is_told(owner_sql: OwnerSql) -> None:
    sender, day = furnished(owner_sql)
    unfinished = next(row for row in hot(owner_sql, day)["run"] if not row["final"])
    archived(sender.tenant.pk, day)
    item = {"run_id": unfinished["run_id"], "started_at": unfinished["started_at"], "final": True}
    assert sender.send(item)["rejected"][0]["code"] == "duplicate_conflict"


def test_a_batch_that_is_not_committed_yet_keeps_its_day(
    owner_sql: OwnerSql, owner_connection: psycopg.Connection[tuple[Any, ...]]
) -> None:
    sender, day = furnished(owner_sql)
    archive_day(tenant_id=sender.tenant.pk, day=day)
    with psycopg.connect(owner_connection.info.dsn, password=owner_connection.info.password) as late:
        late.execute(
            "INSERT INTO telemetry_event SELECT r.* FROM (SELECT * FROM telemetry_event LIMIT 1) e,"
            " LATERAL jsonb_populate_record(NULL::telemetry_event, to_jsonb(e) || %s::jsonb) r",
            [json.dumps({"id": "00000000-0000-7000-8000-00000000ffff", "event_id": "late"})],
        )
        assert drop_days() == {day: "busy"}
        late.commit()
        # Whoever is at the tenant's archives is not disturbed, and other days are not kept waiting.
        late.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"telemetry.archives:{sender.tenant.pk}"])
        assert drop_days() == {day: "changed"} and Archive.objects.get().state == "verified"
    assert drop_days() == {day: "changed"} and Archive.objects.get().state == "pending"


def test_one_tenants_longer_window_keeps_its_rows_and_nobody_elses(owner_sql: OwnerSql, address: str) -> None:
    short, day = furnished(owner_sql)
    keeps, _ = furnished(owner_sql)
    RetentionPolicy.objects.create(tenant=keeps.tenant, hot_days=20)
    assert days_to_archive() == [(short.tenant.pk, day)]
    archive_day(tenant_id=short.tenant.pk, day=day)
    assert drop_days() == {day: "partly"}
    assert {row["tenant_id"] for rows in hot(owner_sql, day).values() for row in rows} == {str(keeps.tenant.pk)}
    assert Archive.objects.get().state == "dropped"
    # By hand, before its window has passed: archived, and not dropped.
    archive_day(tenant_id=keeps.tenant.pk, day=day)
    assert drop_days() == {} and release(day) == {keeps.tenant.pk: "hot"}


@pytest.mark.parametrize("lie", ["rows", "mark", "state", "window"])
def test_the_database_itself_keeps_what_is_not_archived(owner_sql: OwnerSql, lie: str) -> None:
    sender, day = furnished(owner_sql, days=8 if lie != "window" else 7)
    archive_day(tenant_id=sender.tenant.pk, day=day)
    archive = Archive.objects.get()
    if lie == "rows":
        owner_sql("DELETE FROM telemetry_event WHERE id = (SELECT id FROM telemetry_event LIMIT 1)")
    elif lie == "mark":
        archive.marks["run"][1] += 1
        archive.save(update_fields=["marks"])
    elif lie == "state":
        archive.state = "written"
        archive.save(update_fields=["state"])
    expected = {"rows": "changed", "mark": "changed", "state": "unverified", "window": "hot"}
    assert release(day) == {sender.tenant.pk: expected[lie]}
    assert len(hot(owner_sql, day)["run"]) == 7
    if lie == "rows":
        drop_days()
        assert "fewer" in Archive.objects.get().error, "an archive is not given up for less"


def test_the_database_refuses_to_let_go_of_yesterday_or_of_a_table_directly(owner_sql: OwnerSql) -> None:
    for statement in (
        "SELECT telemetry_release(current_date - 1)",
        "SELECT telemetry_open_day(current_date - 20)",
        "SELECT telemetry_prune_ledger(0)",
    ):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


def test_a_file_that_is_not_what_was_written_is_never_verified(owner_sql: OwnerSql, address: str) -> None:
    sender, day = furnished(owner_sql)

    def spoil(step: str) -> None:
        if step == "part":
            path = next(Path(address).rglob("event-*.zst"), None) or next(Path(address).rglob("*.zst"))
            # Its first bytes are the same in every file: other ones are never what was written.
            path.write_bytes(b"spoilt" + path.read_bytes()[6:])

    with pytest.raises(StorageError):
        archive_day(tenant_id=sender.tenant.pk, day=day, reached=spoil)
    assert Archive.objects.get().state == "pending" and "is not what was written" in Archive.objects.get().error
    assert drop_days() == {day: "unverified"}


def test_old_keys_are_forgotten_and_younger_ones_are_not(owner_sql: OwnerSql) -> None:
    sender, other = harness(), harness()
    RetentionPolicy.objects.create(tenant=other.tenant, hot_days=30)
    other.send(run("kept"))
    for days in (12, 10, 9, 0):
        sender.send(run(f"r-{days}"))
        if days:
            aged(owner_sql, days)
    assert prune_ledger(1) == 1 and prune_ledger() == 0
    assert {key for (key,) in owner_sql("SELECT key FROM telemetry_ledger")} == {"r-10", "r-9", "r-0", "kept"}


def test_an_empty_day_is_dropped_without_an_archive(owner_sql: OwnerSql) -> None:
    for days in (OLD, 3):
        open_day(owner_sql, day_ago(days))
    assert drop_days() == {day_ago(OLD): "dropped"}
    assert partitions(owner_sql, day_ago(3)) == 3
    assert timedelta(days=OLD) > timedelta(days=7) and not ArchivePart.objects.exists()
