"""Archives brought back, searched and rid of a user; and what of the user comes later."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.core.context import EVERY_USER, in_tenant
from apps.core.errors import Problem
from apps.core.events import subscribe
from apps.core.storage import NotStoredError, StorageError, open_storage
from apps.evals.tasks import score_runs
from apps.telemetry.domain.archives import Kind, folder
from apps.telemetry.models import Archive, Erasure, Run, RunScore, UnscoredBatch
from apps.telemetry.selectors.archive_search import search_archives
from apps.telemetry.selectors.archives import state_of_archives
from apps.telemetry.services import archive_files
from apps.telemetry.services.archive_files import unpack
from apps.telemetry.services.archiving import OutOfTimeError, archive_day, verify_archive
from apps.telemetry.services.erasing import erase, request_erasure
from apps.telemetry.services.releasing import drop_days, expire, prune_ledger, release
from apps.telemetry.services.restoring import request_restore, restore_day
from apps.telemetry.services.retention import request_archive, set_retention
from apps.telemetry.services.rolling import roll_up
from tests import factories as make
from tests.s3 import BUCKET, running
from tests.telemetry.archived import aged, archived, content, day_ago, furnished, hot
from tests.telemetry.sending import Harness, event, harness, run
from tests.telemetry.spans import new_trace, send, span

pytestmark = pytest.mark.django_db(transaction=True)
OwnerSql = Callable[..., list[tuple[Any, ...]]]
GONE, STAYS = "anna-7", "bert-8"


@pytest.fixture(autouse=True)
def address(settings: Any, tmp_path: Path) -> str:
    settings.ARCHIVE_STORE = str(tmp_path / "archives")
    return str(settings.ARCHIVE_STORE)


def of_two(owner_sql: OwnerSql, days: int, sender: Harness | None = None, prefix: str = "") -> tuple[Harness, date]:
    """A day with two runs and an event of each of two users; scored."""
    sender = sender or harness()
    for who in (GONE, STAYS):
        sender.send(*[run(f"{prefix}{who}-{n}", user_ref=who, input=f"I am {who}.") for n in range(2)])
        sender.send_events(event(run_id=f"{prefix}{who}-0", message=f"{who} asked"))
    score_runs()
    return sender, aged(owner_sql, days) if days else day_ago(0)


def found_by(owner_sql: OwnerSql, term: str) -> set[str]:
    found = owner_sql("SELECT ids FROM telemetry_posting WHERE term = hashtextextended(%s, 0)", [term])
    return {str(each) for (ids,) in found for each in ids}


class OneStep(float):
    """A deadline that is over after one step."""

    asked = 0

    def __lt__(self, now: float) -> bool:
        self.asked += 1
        return self.asked > 1


def objects(address: str) -> str:
    """Whatever lies in the storage, unpacked."""
    storage = open_storage(address)
    return "\n".join(
        b"".join(unpack(storage.get(stored.path), stored.path)).decode()
        if stored.path.endswith(".zst")
        else storage.get(stored.path).decode()
        for stored in storage.list()
    )


def test_a_day_comes_back_as_it_was_once_and_goes_again(owner_sql: OwnerSql, address: str) -> None:
    sender, day = of_two(owner_sql, 9)
    before = hot(owner_sql, day)
    archive = archived(sender.tenant.pk, day)
    ctx = make.system(sender.tenant.pk)
    # As long ago as nothing finds its rows any more.
    owner_sql("DELETE FROM telemetry_posting; DELETE FROM telemetry_unrolledbatch")
    for _ in range(2):
        request_restore(ctx=ctx, archive_id=archive.pk, days=3)
        restore_day(tenant_id=sender.tenant.pk, day=day)
        assert hot(owner_sql, day) == before
    runs = {row["id"] for row in before["run"] if row["user_ref"] == GONE}
    assert len(runs) == 2 and found_by(owner_sql, f"r:user={GONE}") == runs
    assert found_by(owner_sql, "e:action=tool_call") == {row["id"] for row in before["event"]}
    assert owner_sql("SELECT count(*) FROM telemetry_facetcount")[0][0] == 0, "what comes back is counted once"
    with in_tenant(sender.tenant.pk, EVERY_USER):
        assert Run.objects.filter(day=day).count() == 4 and not UnscoredBatch.objects.filter(day=day).exists()
    archive_day(tenant_id=sender.tenant.pk, day=day)
    archive.refresh_from_db()
    assert (archive.generation, archive.state) == (1, "restored")
    assert release(day) == {sender.tenant.pk: "hot"}
    Archive.objects.update(restored_until=timezone.now())
    assert drop_days() == {day: "dropped"} and content(address, sender.tenant.pk, day) == before
    with pytest.raises(Problem, match="1 to 30"):
        request_restore(ctx=ctx, archive_id=archive.pk, days=31)


def test_a_user_is_gone_from_rows_archives_and_what_is_restored(owner_sql: OwnerSql, address: str) -> None:
    sender, dropped = of_two(owner_sql, 12, prefix="a")
    archived(sender.tenant.pk, dropped)
    _, verified = of_two(owner_sql, 10, sender, prefix="b")
    archive_day(tenant_id=sender.tenant.pk, day=verified)
    # An event of a run of another day; and today's.
    sender.send_events(event(run_id=f"a{GONE}-1", message=f"{GONE} again"))
    of_two(owner_sql, 0, sender, prefix="c")
    other, _ = of_two(owner_sql, 0)
    heard: list[dict[str, Any]] = []
    subscribe("telemetry.erased")(lambda ctx, **facts: heard.append(facts))

    ctx = make.member(sender.tenant, "tenant_admin")
    asked = request_erasure(ctx=ctx, user_ref=GONE, reason="she asked for it")
    assert request_erasure(ctx=ctx, user_ref=GONE, reason="again").pk == asked.pk
    assert erase(tenant_id=sender.tenant.pk) == 1 and erase(tenant_id=sender.tenant.pk) == 0

    done = Erasure.objects.get()
    assert (done.state, done.subject, len(done.runs), done.archived_rows) == ("done", "", 6, 2 + 1 + 2)
    assert GONE not in objects(address) and STAYS in objects(address)
    rows = owner_sql("SELECT tenant_id, t::text FROM telemetry_run t UNION ALL SELECT tenant_id, t::text FROM telemetry_event t")
    assert {tenant for tenant, row in rows if GONE in row} == {other.tenant.pk}
    assert RunScore.objects.filter(tenant=sender.tenant).count() == 4
    assert [(each["user_ref"], len(each["run_ids"])) for each in heard] == [(GONE, 6)]
    # The day that was not dropped yet is archived anew, and goes; the other comes back without her.
    archive_day(tenant_id=sender.tenant.pk, day=verified)
    assert drop_days() == {verified: "dropped"}
    archive = Archive.objects.get(day=dropped)
    verify_archive(archive=archive)
    request_restore(ctx=ctx, archive_id=archive.pk)
    restore_day(tenant_id=sender.tenant.pk, day=dropped)
    assert {row["user_ref"] for row in hot(owner_sql, dropped)["run"]} == {STAYS}
    # The same run once more is known; one that began before the erasure is not kept; a new one is.
    receipt = sender.send(run(f"a{GONE}-0", user_ref=GONE))
    assert receipt["accepted"] == 0
    early = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    sender.send(run("late", user_ref=GONE, started_at=early, created_at=early), run("new", user_ref=GONE))
    owner_sql("DELETE FROM telemetry_event WHERE day = current_date")
    # An event does not say whose it is; that of a run which went is not kept, though it comes when the erasure is done.
    sender.send_events(event("of-hers", run_id=f"a{GONE}-0"), event("of-new", run_id="new"))
    yesterday = aged(owner_sql, 1)
    archive_day(tenant_id=sender.tenant.pk, day=yesterday)
    stored = content(address, sender.tenant.pk, yesterday)
    kept = {row["run_id"] for row in stored["run"]}
    assert "late" not in kept and "new" in kept
    assert {row["event_id"] for row in stored["event"]} == {"of-new"}
    # The ids of her runs are forgotten when the keys of the ledger are, and not before.
    for days, kept in ((9, 6), (11, 0)):
        Erasure.objects.update(done_at=timezone.now() - timedelta(days=days))
        prune_ledger()
        assert len(Erasure.objects.get().runs) == kept


def test_a_step_that_waits_to_learn_whose_it_is_goes_with_its_user(owner_sql: OwnerSql) -> None:
    sender, hers, his = harness(), new_trace(), new_trace()
    for trace, who in ((hers, GONE), (his, STAYS)):
        send(sender, span("chat", {"gen_ai.request.model": "m", "gen_ai.completion": f"{who} asked"}, trace=trace, parent="aa" * 8))
        send(sender, span("invoke_agent", {"gen_ai.operation.name": "invoke_agent", "mc.user_ref": who}, trace=trace, id="aa" * 8))
    assert owner_sql("SELECT count(*) FROM telemetry_event WHERE run_id IS NULL AND 'unsettled' = ANY (flags)") == [(2,)]
    request_erasure(ctx=make.member(sender.tenant, "tenant_admin"), user_ref=GONE, reason="asked")
    erase(tenant_id=sender.tenant.pk)
    assert owner_sql("SELECT DISTINCT root_task_id FROM telemetry_event") == [(his,)]
    assert owner_sql("SELECT count(*) FROM telemetry_event") == [(2,)]


def test_an_erasure_comes_to_its_end_step_by_step_and_says_what_it_failed_of(
    owner_sql: OwnerSql, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_files, "PART_ROWS", 1)
    sender, day = of_two(owner_sql, 9)
    archive = archived(sender.tenant.pk, day)
    early = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    sender.send(run("today", user_ref=GONE, started_at=early, created_at=early))
    roll_up(ctx=make.system(sender.tenant.pk))
    assert found_by(owner_sql, f"r:user={GONE}")
    ctx = make.member(sender.tenant, "tenant_admin")
    with pytest.raises(Problem, match="Nothing came in"):
        request_archive(ctx=ctx, day=day - timedelta(days=1))
    request_erasure(ctx=ctx, user_ref=GONE, reason="asked")
    request_restore(ctx=ctx, archive_id=archive.pk)

    away = next(Path(address).rglob("run-001-0002*"))
    away.rename(away.with_suffix(".away"))
    for call in (lambda: erase(tenant_id=sender.tenant.pk), lambda: restore_day(tenant_id=sender.tenant.pk, day=day)):
        with pytest.raises(StorageError):
            call()
    assert Erasure.objects.get().error and Archive.objects.get().error and state_of_archives().startswith("failing: 2")
    away.with_suffix(".away").rename(away)

    calls = 0
    while Erasure.objects.get().state != "done":
        calls += 1
        assert calls < 40
        with suppress(OutOfTimeError):
            erase(tenant_id=sender.tenant.pk, deadline=OneStep())
    assert calls > 10, "each call did one step"
    done = Erasure.objects.get()
    # A run and an event of hers were back already when the restoration failed.
    assert (done.error, done.read, done.hot_rows, done.archived_rows) == ("", [], 1 + 2, 2 + 1 + 2)
    assert GONE not in objects(address) and STAYS in objects(address) and not found_by(owner_sql, f"r:user={GONE}")
    restore_day(tenant_id=sender.tenant.pk, day=day)
    assert {row["user_ref"] for row in hot(owner_sql, day)["run"]} == {STAYS} and state_of_archives() == "ok"

    archive, begun, checks = Archive.objects.get(), timezone.now(), 0
    archive_before = archive.checked_at
    while archive.checked_at == archive_before:
        checks += 1
        assert checks < 20
        with suppress(OutOfTimeError):
            verify_archive(archive=archive, deadline=OneStep(), since=begun)
    assert checks > 5


def test_what_is_removed_for_good_is_confirmed() -> None:
    sender = harness()
    headers = make.bearer(make.api_token(make.user(sender.tenant, "tenant_admin"), sender.tenant))

    def status(method: str, path: str, **body: Any) -> int:
        answer = getattr(Client(), method)(f"/api/v1/{path}", json.dumps(body), content_type="application/json", headers=headers)
        return int(answer.status_code)

    asked = {"user_ref": GONE, "reason": "asked"}
    assert [status("post", "erasures/", **asked), status("post", "erasures/", **asked, confirm=STAYS)] == [422, 422]
    assert not Erasure.objects.exists() and status("post", "erasures/", **asked, confirm=GONE) == 202
    assert status("patch", "retention/", archive_days=100) == 422
    assert status("patch", "retention/", archive_days=100, confirm=100) == 200
    assert status("patch", "retention/", archive_days=99, confirm=100) == 422
    assert status("patch", "retention/", archive_days=200) == status("patch", "retention/", archive_days=None) == 200


def test_archives_are_searched_by_text_field_and_time_and_nothing_else_is_read(owner_sql: OwnerSql, tmp_path: Path) -> None:
    sender, day = of_two(owner_sql, 9)
    other, _ = of_two(owner_sql, 9)
    for tenant in (sender.tenant.pk, other.tenant.pk):
        archive_day(tenant_id=tenant, day=day)
    ctx = make.member(sender.tenant, "auditor")
    found = search_archives(ctx=ctx, q=f"i AM {GONE}")
    assert {row["run_id"] for row in found.rows} == {f"{GONE}-0", f"{GONE}-1"} and found.complete
    assert {row["tenant_id"] for row in found.rows} == {str(sender.tenant.pk)}
    assert [row["run_id"] for row in search_archives(ctx=ctx, run_id=f"{STAYS}-1").rows] == [f"{STAYS}-1"]
    assert len(search_archives(ctx=ctx, kind=Kind.EVENT, q="asked").rows) == 2
    assert search_archives(ctx=ctx, since=timezone.now()).files == 0
    few = search_archives(ctx=ctx, limit=3)
    assert len(few.rows) == 3 and not few.complete
    for evil in ("' OR 1=1 --", "%", "\\", "') UNION SELECT json FROM read_json_objects('/etc/passwd') --"):
        assert search_archives(ctx=ctx, run_id=evil).rows == [] and search_archives(ctx=ctx, q=evil).rows == []
    with pytest.raises(Problem, match="compared"):
        search_archives(ctx=ctx, tenant_id="x")
    with pytest.raises(Problem):
        search_archives(ctx=make.member(sender.tenant, "author"))


def test_archives_are_kept_as_long_as_the_tenant_says(owner_sql: OwnerSql, address: str) -> None:
    sender, day = furnished(owner_sql, days=12)
    archived(sender.tenant.pk, day)
    ctx = make.member(sender.tenant, "tenant_admin")
    for bad in ({"hot_days": 31}, {"hot_days": 0}, {"archive_days": 0}, {"other": 1}):
        with pytest.raises(Problem):
            set_retention(ctx=ctx, changes=bad)
    set_retention(ctx=ctx, changes={"archive_days": 12})
    assert expire(sender.tenant.pk) == 0
    set_retention(ctx=ctx, changes={"archive_days": 11})
    assert expire(sender.tenant.pk) == 1 and expire(sender.tenant.pk) == 0
    assert list(open_storage(address).list()) == [] and Archive.objects.get().state == "expired"
    with pytest.raises(Problem, match="removed"):
        request_restore(ctx=ctx, archive_id=Archive.objects.get().pk)


def test_a_shorter_window_is_asked_of_late_items_too(owner_sql: OwnerSql) -> None:
    sender = harness()
    set_retention(ctx=make.member(sender.tenant, "tenant_admin"), changes={"hot_days": 2})
    old = (datetime.now(UTC) - timedelta(days=5)).isoformat()
    assert sender.send(run(started_at=old))["rejected"][0]["code"] == "too_old"
    assert harness().send(run(started_at=old))["accepted"] == 1


def test_the_cycle_on_s3(owner_sql: OwnerSql, settings: Any, tmp_path: Path) -> None:
    with running(tmp_path / "s3") as server:
        server.use(settings)
        settings.ARCHIVE_STORE = f"s3://{BUCKET}/mc"
        sender, day = of_two(owner_sql, 9)
        before = hot(owner_sql, day)
        archive = archived(sender.tenant.pk, day)
        verify_archive(archive=archive)
        ctx = make.member(sender.tenant, "tenant_admin")
        assert len(search_archives(ctx=ctx, q="i am").rows) == 4
        request_restore(ctx=ctx, archive_id=archive.pk)
        restore_day(tenant_id=sender.tenant.pk, day=day)
        assert hot(owner_sql, day) == before
        request_erasure(ctx=ctx, user_ref=GONE, reason="asked")
        erase(tenant_id=sender.tenant.pk)
        assert GONE not in objects(settings.ARCHIVE_STORE)
        storage = open_storage(settings.ARCHIVE_STORE)
        assert {stored.path.split("/")[1] for stored in storage.list()} == {str(sender.tenant.pk)}
        with pytest.raises(NotStoredError):
            storage.get(f"{folder(sender.tenant.pk, day)}/manifest-001.json")
