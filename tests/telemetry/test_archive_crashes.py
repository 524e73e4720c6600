"""A process that is killed at any step of the archive's work: what it was about is finished by the next one, once, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apps.core.storage import open_storage
from apps.telemetry.domain.archives import folder
from apps.telemetry.models import Archive
from apps.telemetry.services.releasing import drop_days
from tests.telemetry.archived import content, furnished, hot
from tests.telemetry.crashing import crashes

pytestmark = pytest.mark.django_db(transaction=True)
OwnerSql = Callable[..., list[tuple[Any, ...]]]
# Every step of a first generation, and of a second one that takes its place.
STEPS = ("begun", "planned", "packed", "put", "part", "checked", "manifest", "written", "verified")


@pytest.fixture
def address(settings: Any, tmp_path: Path) -> str:
    settings.ARCHIVE_STORE = str(tmp_path / "archives")
    return str(settings.ARCHIVE_STORE)


def test_a_kill_at_any_step_of_the_cycle_loses_nothing_and_archives_once(owner_sql: OwnerSql, address: str) -> None:
    """One day, killed at each step in turn: each next process goes on from where the one before was killed."""
    sender, day = furnished(owner_sql)
    before = hot(owner_sql, day)
    tenant = sender.tenant.pk
    with crashes(ARCHIVE_STORE=address) as dying:
        for generation in (1, 2):
            for step in STEPS:
                assert dying.killed("archive", tenant, day, step), (generation, step)
                assert hot(owner_sql, day) == before
                state = Archive.objects.get().state
                assert (state == "verified") == (step == "verified"), step
                if step != "verified":
                    assert drop_days() == {day: "unverified"}, "nothing is let go of before it is verified"
            assert not dying.killed("archive", tenant, day)
            assert content(address, tenant, day) == before
            if generation == 1:
                # A run is completed: what was archived is no longer what is there.
                unfinished = next(row for row in before["run"] if not row["final"])
                sender.send({"run_id": unfinished["run_id"], "started_at": unfinished["started_at"], "final": True, "error_code": "late"})
                before = hot(owner_sql, day)
                assert drop_days() == {day: "changed"}
        names = sorted(stored.path.rpartition("/")[2] for stored in open_storage(address).list(folder(tenant, day)))
        assert names == ["event-002-0001.jsonl.zst", "manifest-002.json", "run-002-0001.jsonl.zst", "run-002-0002.jsonl.zst"]
        assert dying.killed("release", tenant, day, "uncommitted"), "the release is one transaction"
        assert hot(owner_sql, day) == before and Archive.objects.get().state == "verified"
        assert dying.killed("drop", tenant, day, "dropped")
        assert drop_days() == {} and not any(hot(owner_sql, day).values())
        assert Archive.objects.get().state == "dropped"
        assert content(address, tenant, day) == before
