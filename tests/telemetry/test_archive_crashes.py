"""A process that is killed at any step of the archive's work: what it was about is finished by the next one, once, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apps.core.storage import open_storage
from apps.telemetry.domain.archives import folder
from apps.telemetry.models import Archive, Erasure
from apps.telemetry.services.erasing import request_erasure
from apps.telemetry.services.releasing import drop_days
from apps.telemetry.services.restoring import request_restore
from tests import factories as make
from tests.telemetry.archived import content, furnished, hot
from tests.telemetry.crashing import crashes

pytestmark = pytest.mark.django_db(transaction=True)
OwnerSql = Callable[..., list[tuple[Any, ...]]]
# Every step of a first generation; and those of a second one, which takes its place, that a first one does not tell all of.
STEPS = {1: ("begun", "planned", "packed", "put", "part", "checked", "manifest", "written", "verified"), 2: ("put", "manifest", "verified")}


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
        for generation, steps in STEPS.items():
            for step in steps:
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
        # A restoration and an erasure, killed likewise.
        ctx = make.member(sender.tenant, "tenant_admin")
        request_restore(ctx=ctx, archive_id=Archive.objects.get().pk)
        for step in ("opened", "part restored", "restored"):
            assert dying.killed("restore", tenant, day, step), step
        assert hot(owner_sql, day) == before
        request_erasure(ctx=ctx, user_ref="u-1", reason="asked")
        for step in ("collected", "hot", "rewritten", "described", "switched", "swept"):
            assert dying.killed("erase", tenant, day, step), step
        assert not dying.killed("erase", tenant, day)
    left = {kind: [row for row in rows if row.get("user_ref") != "u-1"] for kind, rows in before.items()}
    assert len(left["run"]) == 4 and hot(owner_sql, day) == left and content(address, tenant, day) == left
    assert (Archive.objects.get().state, Archive.objects.get().rows) == ("restored", 4 + 3)
    assert Erasure.objects.get().state == "done"
