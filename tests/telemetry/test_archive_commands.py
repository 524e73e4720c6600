"""The archive on the command line: the whole way of a day, what is refused in words, and what a purged tenant leaves."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command

from apps.core.errors import Problem
from apps.core.storage import open_storage
from apps.telemetry.domain.archives import folder
from apps.telemetry.services.archiving import BusyError, verify_archive
from apps.telemetry.services.erasing import erase
from tests.telemetry.archived import archived, furnished, hot

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
OwnerSql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(autouse=True)
def address(settings: Any, tmp_path: Path) -> str:
    settings.ARCHIVE_STORE = str(tmp_path / "archives")
    return str(settings.ARCHIVE_STORE)


def told(*arguments: str) -> str:
    out = StringIO()
    call_command("telemetry_archive", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_a_day_is_archived_read_again_let_go_of_searched_and_brought_back(owner_sql: OwnerSql) -> None:
    sender, day = furnished(owner_sql)
    of = ("--tenant", sender.tenant.slug)
    before = hot(owner_sql, day)
    assert "verified, 10 rows" in told("run", *of, "--day", str(day), "--keep")
    assert f"{day}: 10 rows, as written" in told("verify", *of)
    assert f"{day}: dropped" in told("run")
    found = [json.loads(line) for line in told("search", *of, "broken", "--limit", "3").splitlines() if line.startswith("{")]
    assert len(found) == 3 and all("broken" in row["input"] for row in found)
    assert "10 rows are back for 2 days" in told("restore", *of, "--day", str(day), "--days", "2")
    assert {row["run_id"] for row in hot(owner_sql, day)["run"]} == {row["run_id"] for row in before["run"]}


def test_what_cannot_be_done_is_said_and_changes_nothing(owner_sql: OwnerSql, settings: Any) -> None:
    sender, day = furnished(owner_sql)
    of = ("--tenant", sender.tenant.slug)
    for arguments, said in (
        (("verify", *of), "no such archive"),
        (("restore", *of, "--day", str(day)), "no such archive"),
        (("run", "--day", str(day)), "--day needs --tenant"),
        (("run", "--tenant", "nobody"), "no tenant"),
    ):
        with pytest.raises(CommandError, match=said):
            told(*arguments)
    archive = archived(sender.tenant.pk, day)
    with pytest.raises(CommandError, match="not purged"):
        told("sweep", str(sender.tenant.pk))
    # Another process is at the archives of this tenant.
    with psycopg.connect(os.environ["DATABASE_URL"]) as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"telemetry.archives:{sender.tenant.pk}"])
        with pytest.raises(CommandError, match="try again in a minute"):
            told("restore", *of, "--day", str(day))
        with pytest.raises(BusyError):
            erase(tenant_id=sender.tenant.pk)
    settings.ARCHIVE_STORE = ""
    with pytest.raises(CommandError, match="ARCHIVE_STORE"):
        told("run")
    with pytest.raises(Problem, match="ARCHIVE_STORE"):
        verify_archive(archive=archive)


def test_a_purged_tenants_objects_go_and_nobody_elses(owner_sql: OwnerSql, address: str) -> None:
    (gone, day), (stays, _) = furnished(owner_sql), furnished(owner_sql)
    for sender in (gone, stays):
        archived(sender.tenant.pk, day)
    storage = open_storage(address)

    def objects(sender: Any) -> list[str]:
        return [found.path for found in storage.list(folder(sender.tenant.pk))]

    assert objects(gone) and objects(stays)
    call_command("purge_tenant", gone.tenant.slug, "--yes", "--force", stdout=StringIO())
    assert not objects(gone) and objects(stays)
    # What was written while the storage was away.
    storage.put_new(f"{folder(gone.tenant.pk)}/2026-01-01/run-001-0001.jsonl.zst", b"left")
    assert "1 objects removed" in told("sweep", str(gone.tenant.pk))
    assert not objects(gone)
