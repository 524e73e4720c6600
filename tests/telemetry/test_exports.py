"""Exports: files of runs and events, written in the background, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from apps.audit.models import Event as AuditEvent
from apps.core.context import EVERY_USER, in_tenant
from apps.core.domain import spreadsheet
from apps.core.errors import Problem
from apps.core.events import publish
from apps.core.storage import open_storage
from apps.identity.models import Membership
from apps.telemetry.api.filters import EventFilter, RunFilter
from apps.telemetry.domain.asked import FIELDS, Kind, parse, written
from apps.telemetry.models import Export, Run
from apps.telemetry.selectors.asked import narrowed
from apps.telemetry.services import exporting, exports
from tests import factories
from tests.isolation import in_production
from tests.telemetry.sending import Harness, event, harness, run

SECOND = "2099-01-01T00:00:{:02d}Z"


@pytest.fixture(autouse=True)
def files(settings: Any, tmp_path: Path) -> Path:
    settings.EXPORTS_STORE = str(tmp_path / "exports")
    return tmp_path / "exports"


class Desk:
    """An auditor, who may export, at the API of a harness's tenant."""

    def __init__(self, sender: Harness, role: str = "auditor") -> None:
        self.sender, self.person = sender, factories.user(sender.tenant, role)
        self.headers = factories.bearer(factories.api_token(self.person, sender.tenant))

    def call(self, method: str, path: str, body: Any = None) -> Any:
        call = getattr(Client(), method)
        if body is None:
            return call(f"/api/v1/{path}", headers=self.headers)
        return call(f"/api/v1/{path}", json.dumps(body), content_type="application/json", headers=self.headers)

    def ask(self, kind: str = "runs", file_format: str = "jsonl", **filters: str) -> str:
        answer = self.call("post", "exports/", {"kind": kind, "format": file_format, "filters": filters})
        assert answer.status_code == 202, answer.content
        assert (answer.json()["state"], answer.json()["download"]) == ("queued", None)
        key: str = answer.json()["id"]
        return key

    def write(self, key: str, **options: Any) -> bool:
        with in_production():
            return exporting.write_export(tenant_id=self.sender.tenant.pk, export_id=key, **options)

    def shown(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("get", f"exports/{key}/").json()
        return found

    def file(self, key: str) -> str:
        answer = self.call("get", f"exports/{key}/download/")
        assert answer.status_code == 200, answer.content
        data = b"".join(answer.streaming_content)
        assert len(data) == int(answer["Content-Length"])
        return data.decode()

    def export(self, kind: str = "runs", file_format: str = "jsonl", **filters: str) -> str:
        key = self.ask(kind, file_format, **filters)
        assert not self.write(key)
        assert self.shown(key)["state"] == "done", self.shown(key)
        return self.file(key)


@pytest.fixture
def desk(db: None) -> Desk:
    return Desk(harness())


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def stored(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_line_is_what_the_api_answers(desk: Desk) -> None:
    desk.sender.send(
        run("a", metadata={"k": [1, None]}, mcp_servers=["github"], checks={"x": True}), run("b", user_ref="u-1", success=None)
    )
    desk.sender.send_events(event("e", run_id="a", payload={"deep": {"er": 1}}, seq=3))
    for kind in ("runs", "events"):
        answers = []
        for row in desk.call("get", f"{kind}/").json()["results"]:
            answer = desk.call("get", f"{kind}/{row['id']}/").json()
            answer.pop("links", None)
            answers.append(answer)
        assert lines(desk.export(kind)) == answers


def test_every_filter_of_the_lists_is_one_of_exports() -> None:
    assert set(RunFilter.base_filters) <= set(FIELDS["runs"])
    assert set(EventFilter.base_filters) <= set(FIELDS["events"])


def test_an_export_holds_what_the_list_with_the_same_filters_does(desk: Desk) -> None:
    sender = desk.sender
    sender.send(
        run("a", pack="legal", pack_version=3, tier="T1", created_at=SECOND.format(1), root_task_id="root-1", mcp_servers=["github"]),
        run("b", pack="legal", success=False, status="failed", created_at=SECOND.format(2), provider="openai", persona="p", skill="s"),
        run("c", model_id="m-1", task_type="triage", created_at=SECOND.format(3), final=False, arm="challenger"),
    )
    sender.send_events(event("e", action="output", run_id="a"), event("f", mcp_server="github", mcp_tool="search", run_id="b"))
    queries: list[tuple[Kind, dict[str, str]]] = [
        *(("runs", {name: value}) for name, value in (
            ("pack", "legal"), ("pack_version", "3"), ("tier", "T1"), ("success", "false"), ("final", "false"), ("status", "failed"),
            ("provider", "openai"), ("model_id", "m-1"), ("task_type", "triage"), ("root_task_id", "root-1"), ("run_id", "c"),
            ("flag", "mismatch"), ("arm", "champion"), ("persona", "p"), ("skill", "s"), ("since", SECOND.format(2)),
            ("until", SECOND.format(2)), ("agent", sender.agent.slug), ("agent", f"elsewhere/{sender.agent.slug}"),
        )),
        *(("events", {name: value}) for name, value in (("action", "output"), ("mcp_tool", "search"), ("mcp_server", "github"), ("run_id", "a"))),
    ]  # fmt: skip
    ctx = factories.member_context(desk.person, sender.tenant)
    for kind, query in queries:
        listed = [row["id"] for row in Client().get(f"/api/v1/{kind}/", query, headers=desk.headers).json()["results"]]
        with ctx.transaction():
            assert [str(row.pk) for row in narrowed(ctx, kind, parse(kind, query))] == listed, query
    assert [row["run_id"] for row in lines(desk.export(mcp_server="github"))] == ["a"]


def test_csv_is_for_spreadsheets_and_runs_no_formula(desk: Desk) -> None:
    desk.sender.send(run("=1+1", output='=HYPERLINK("http://x")', input="say: \"a\", 'b'\nand, c", token_delta=-5, metadata={"k": [1]}))
    (row,) = csv.DictReader(io.StringIO(desk.export(file_format="csv"), newline=""))
    assert (row["run_id"], row["output"]) == ("'=1+1", '\'=HYPERLINK("http://x")')
    assert (row["input"], row["token_delta"], row["metadata"]) == ("say: \"a\", 'b'\nand, c", "-5", '{"k":[1]}')
    assert (row["success"], row["cost_usd"], row["user_ref"]) == ("true", "0.012500", "")
    empty = desk.export(file_format="csv", pack="nothing")
    assert empty.startswith("id,tenant,") and len(empty.splitlines()) == 1


@given(st.text(max_size=20))
def test_no_text_begins_a_formula_and_none_is_lost(text: str) -> None:
    (cell,) = next(csv.reader(io.StringIO(spreadsheet.line([text]).decode(), newline="")), [""])
    assert not cell.startswith(spreadsheet.FORMULA) and cell.removeprefix("'").strip("\r\n") in (
        text,
        text.removeprefix("'"),
        text.strip("\r\n"),
    )


@pytest.mark.parametrize("file_format", ["jsonl", "csv"])
def test_it_is_written_in_pieces_by_turns_and_survives_each_writer(
    desk: Desk, files: Path, file_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each turn dies after its piece is stored and before that is said: the next goes on where the last said piece ended."""
    monkeypatch.setattr(exporting, "PIECE_ROWS", 3)
    desk.sender.send(*[run(f"r-{n:02d}", created_at=SECOND.format(n // 4)) for n in range(10)])
    key = desk.ask(file_format=file_format)
    turns = 0
    while True:
        # What a writer that was killed just then leaves behind.
        export = Export.objects.get(pk=key)
        open_storage(str(files)).put_new(f"{export.folder}/{export.attempt + 1:04d}-999999", b"half a file")
        assert desk.call("get", f"exports/{key}/download/").json()["code"] == "wrong_state"
        Export.objects.filter(pk=key, state="running").update(beat_at=timezone.now() - timedelta(hours=1))
        turns += 1
        if not desk.write(key, turn_s=0):
            break
    assert (turns, desk.shown(key)["rows_done"]) == (4, 10)
    text = desk.file(key)
    rows = lines(text) if file_format == "jsonl" else list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["run_id"] for row in rows] == [f"r-{n:02d}" for n in sorted(range(10), key=lambda n: (n // 4, n), reverse=True)]
    assert not desk.write(key)


def test_two_writers_do_not_write_one_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was thought dead stores its piece after another has taken over: it counts for nothing."""
    monkeypatch.setattr(exporting, "PIECE_ROWS", 2)
    desk.sender.send(*[run(f"r-{n}") for n in range(4)])
    key = desk.ask()
    read = exporting._read

    def overtaken(ctx: Any, export: Export) -> Any:
        piece = read(ctx, export)
        if export.attempt == 1:
            with ctx.transaction():
                Export.objects.filter(pk=key).update(beat_at=None)
            desk.write(key)
        return piece

    monkeypatch.setattr(exporting, "_read", overtaken)
    assert not desk.write(key)
    assert len({row["id"] for row in lines(desk.file(key))}) == len(lines(desk.file(key))) == 4
    assert all(part.startswith("0002-") for part in Export.objects.get(pk=key).parts)


def test_what_a_newer_rule_finds_leaves_before_the_file_is_written(desk: Desk) -> None:
    """A row that was stored before there was a rule for what it holds."""
    desk.sender.send(run("old", final=False))
    secret = "sk-ant-api03-" + "a1B2" * 24
    Run.objects.filter(run_id="old").update(output=f"the key is {secret}", metadata={"note": [secret]})
    for file_format in ("jsonl", "csv"):
        assert secret not in desk.export(file_format=file_format)
    (row,) = lines(desk.export())
    assert row["output"].startswith("the key is [redacted:") and row["redactions"]
    refused = desk.call("post", "exports/", {"kind": "runs", "filters": {"run_id": secret}})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/filters")


def test_who_has_lost_the_right_gets_no_file(desk: Desk, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "PIECE_ROWS", 1)
    desk.sender.send(*[run() for _ in range(3)])
    key = desk.ask()
    assert desk.write(key, turn_s=0)
    Membership.objects.filter(user=desk.person).update(role="viewer")
    assert not desk.write(key)
    assert (desk.shown(key)["state"], desk.shown(key)["size_bytes"]) == ("failed", 0)
    assert "no longer export" in desk.shown(key)["error"]


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("author", 403), ("manager", 403), ("tenant_admin", 202)])
def test_exporting_is_a_right_of_its_own(role: str, status: int, db: None) -> None:
    assert Desk(harness(), role).call("post", "exports/", {"kind": "runs"}).status_code == status


def test_another_tenants_exports_do_not_exist(desk: Desk) -> None:
    key = desk.ask()
    stranger = Desk(harness())
    assert [stranger.call(*call).status_code for call in (("get", f"exports/{key}/"), ("get", f"exports/{key}/download/"))] == [404, 404]
    assert stranger.call("get", "exports/").json()["results"] == []
    stranger.sender.send(run("theirs"))
    assert desk.write(key) is False and desk.file(key) == ""


def test_what_cannot_be_asked_for_is_refused_with_every_finding(desk: Desk) -> None:
    wrong = {
        "tier": "T9",
        "success": "perhaps",
        "since": "yesterday",
        "until": "2026-01-01T00:00:00",
        "nonsense": "x",
        "pack_version": "-1",
    }
    answer = desk.call("post", "exports/", {"kind": "runs", "filters": wrong})
    assert answer.status_code == 422
    assert {error["pointer"] for error in answer.json()["errors"]} == {f"/filters/{name}" for name in wrong}
    window = {"since": SECOND.format(2), "until": SECOND.format(1)}
    assert desk.call("post", "exports/", {"kind": "runs", "filters": window}).json()["errors"][0]["pointer"] == "/filters/until"
    assert not Export.objects.exists()
    for _ in range(exports.MAX_UNDER_WAY):
        desk.ask()
    assert desk.call("post", "exports/", {"kind": "runs"}).json()["code"] == "wrong_state"


def test_what_grows_too_large_fails_and_says_what_to_do(desk: Desk, settings: Any) -> None:
    settings.EXPORTS_MAX_ROWS = 2
    desk.sender.send(*[run() for _ in range(3)])
    key = desk.ask()
    desk.write(key)
    assert desk.shown(key)["state"] == "failed" and "more than 2 rows" in desk.shown(key)["error"]


@pytest.mark.django_db(transaction=True)
def test_files_go_when_cancelled_deleted_expired_or_nobodys(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "PIECE_ROWS", 1)
    sent: list[str] = []
    monkeypatch.setattr(exporting, "enqueue", lambda name, tenant_id, export_id: sent.append(export_id))
    monkeypatch.setattr(exports, "enqueue_on_commit", lambda ctx, name, *arguments: None)
    desk = Desk(harness())
    desk.sender.send(run(user_ref="u-1"), run(user_ref="u-1"))
    system = factories.system(desk.sender.tenant.pk)
    cancelled, deleted, expired = (desk.ask() for _ in range(3))
    erased = desk.ask(user_ref="u-1")
    assert desk.write(cancelled, turn_s=0)
    assert desk.call("post", f"exports/{cancelled}/cancel/").json()["state"] == "cancelled"
    assert not desk.write(cancelled)
    assert desk.call("post", f"exports/{cancelled}/cancel/").status_code == 409
    assert stored(files) == []
    for key in (deleted, expired):
        desk.write(key)
    assert desk.call("delete", f"exports/{deleted}/").status_code == 204
    assert len(stored(files)) == 2
    # A message was lost: it is missed, as is that of a writer that died.
    with in_production():
        assert exporting.tend_exports()["sent"] == 0
    assert exporting.tend_exports(now=timezone.now() + timedelta(minutes=5))["sent"] == 1 and sent == [erased]
    desk.write(erased, turn_s=0)
    open_storage(str(files)).put_new(
        f"exports/{desk.sender.tenant.pk}/00000000-0000-7000-8000-00000000000f/0001-000000", b"of a purged tenant"
    )
    assert exporting.tend_exports(now=timezone.now() + timedelta(hours=23))["removed"] == 1
    with in_production(), system.transaction():
        publish(system, "telemetry.erased", user_ref="u-1", before=timezone.now(), run_ids=[])
    assert stored(files) == []
    assert {desk.shown(key)["state"] for key in (deleted, expired)} == {"expired"}
    assert desk.call("get", f"exports/{erased}/").status_code == 404
    late, stuck = desk.ask(), desk.ask()
    desk.write(late)
    with in_production():
        tended = exporting.tend_exports(now=timezone.now() + timedelta(hours=25))
    assert (tended["expired"], tended["given_up"], stored(files)) == (1, 1, [])
    assert (desk.shown(late)["state"], desk.shown(stuck)["state"]) == ("expired", "failed")
    with in_tenant(desk.sender.tenant.pk, EVERY_USER):
        acts = set(AuditEvent.objects.filter(action__startswith="telemetry.").values_list("action", flat=True))
    assert acts == {
        *("telemetry.export_requested", "telemetry.exported", "telemetry.export_cancelled", "telemetry.export_deleted"),
        *("telemetry.export_expired", "telemetry.export_failed"),
    }


def test_an_expired_file_is_not_given_out_though_nobody_has_removed_it_yet(desk: Desk) -> None:
    key = desk.ask()
    desk.write(key)
    Export.objects.filter(pk=key).update(expires_at=timezone.now())
    assert "expired" in desk.call("get", f"exports/{key}/download/").json()["detail"]


def test_a_download_is_recorded(desk: Desk) -> None:
    desk.export()
    assert AuditEvent.objects.filter(action="telemetry.export_downloaded", actor_id=desk.person.pk).count() == 1


@pytest.mark.parametrize("change", ["filters = '{}'", "requested_by_id = NULL"])
def test_what_was_asked_for_never_changes(desk: Desk, change: str) -> None:
    key = desk.ask()
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute(f"UPDATE telemetry_export SET {change} WHERE id = %s", [key])


def test_filters_are_read_back_as_they_were_written() -> None:
    given = {"success": True, "pack_version": "3", "since": "2026-01-01T00:00:00+01:00", "pack": "x"}
    assert parse("runs", written(parse("runs", given))) == parse("runs", given)
    with pytest.raises(Problem):
        parse("events", {"pack": "x"})
