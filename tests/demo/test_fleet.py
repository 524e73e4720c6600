"""The simulated fleet: it knows HTTP only, loses nothing while the portal is away, and tells its story once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.core.management import call_command

from apps.audit.services import verify_tenant
from apps.demo import catalogue
from apps.demo.fleet.outbox import Outbox
from apps.demo.fleet.portal import Away, Portal, Refused
from apps.demo.fleet.reports import event_items, run_item
from apps.demo.places import ROOT, Tokens, read_tokens, tokens_file, write_tokens
from apps.demo.simulate import answer
from apps.identity.models import Tenant
from apps.packs.domain.fold import fold
from apps.packs.models import Layer
from apps.promotions.models import Decision, Promotion
from apps.telemetry.domain.contract import decode_events, decode_runs
from apps.telemetry.models import Producer, Run
from tests import factories as make
from tests.demo import running
from tests.demo.chains import prefix
from tests.demo.running import eventually

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"
NO_DATABASE = {"DATABASE_URL": NOWHERE, "DATABASE_OWNER_URL": NOWHERE, "REDIS_URL": "redis://127.0.0.1:1/0"}


class Server(ThreadingHTTPServer):
    """Answers with what a test has laid ready, and keeps what it was sent."""

    ready: ClassVar[list[tuple[int, dict[str, str]]]] = []
    taken: ClassVar[list[dict[str, Any]]] = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, headers = Server.ready.pop(0) if Server.ready else (202, {})
        Server.taken.append({"path": self.path, "status": status, **body})
        items = body.get("runs") or body.get("events")
        answered = json.dumps({"accepted": len(items), "duplicates": 0, "rejected": [], "commands": []}).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(answered)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answered)

    def log_message(self, *args: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def server() -> Iterator[Server]:
    Server.ready, Server.taken = [], []
    serving = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield serving
    serving.shutdown()
    serving.server_close()


def send_all(outbox: Outbox, portal: Portal, *, within_s: float = 20) -> int:
    """Sends until nothing is left, as the crew does: after the wait that it is told."""
    deadline, sent = time.monotonic() + within_s, 0
    while outbox.batches or any(outbox.open.values()):
        assert time.monotonic() < deadline
        try:
            sent += outbox.send(portal, "mc_token")
        except Away as away:
            time.sleep(away.wait_s)
    return sent


def test_a_batch_is_sent_again_unchanged_until_it_is_acknowledged(server: Server) -> None:
    portal, outbox = Portal(f"http://127.0.0.1:{server.server_port}"), Outbox("p")
    Server.ready += [(503, {}), (429, {"Retry-After": "1"}), (202, {}), (500, {}), (202, {})]
    outbox.put("runs", {"run_id": "a"})
    with pytest.raises(Away) as away:
        outbox.send(portal, "mc_token")
    assert 0 < away.value.wait_s <= 1
    outbox.put("runs", {"run_id": "b"})
    outbox.put("events", {"event_id": "c"})
    assert send_all(outbox, portal) == 3
    runs = [batch for batch in Server.taken if "runs" in batch]
    assert [(batch["seq"], batch["runs"]) for batch in runs[:3]] == [(1, [{"run_id": "a"}])] * 3
    stored = [batch for batch in Server.taken if batch["status"] == 202]
    assert [batch["seq"] for batch in stored] == [1, 2, 3]
    assert [item for batch in stored for item in batch.get("runs", [])] == [{"run_id": "a"}, {"run_id": "b"}]


def test_a_portal_that_is_not_there_is_spared(server: Server) -> None:
    url = f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    portal, outbox = Portal(url), Outbox("p")
    outbox.put("runs", {"run_id": "a"})
    waits = []
    for _ in range(3):
        with pytest.raises(Away) as away:
            outbox.send(portal, "mc_token")
        waits.append(away.value.wait_s)
        time.sleep(away.value.wait_s)
    assert waits[0] < waits[1] < waits[2], "each wait is longer than the one before"
    assert outbox.batches, "and nothing is lost"


def test_a_refused_token_is_not_the_portal_being_away(server: Server) -> None:
    Server.ready.append((401, {}))
    outbox = Outbox("p")
    outbox.put("runs", {"run_id": "a"})
    with pytest.raises(Refused):
        outbox.send(Portal(f"http://127.0.0.1:{server.server_port}"), "mc_token")
    assert outbox.batches


@pytest.mark.parametrize("slug", catalogue.PACKS)
def test_what_the_fleet_reports_is_what_the_portal_takes(slug: str) -> None:
    cases = catalogue.eval_set(slug)
    effective = fold(prefix(slug, cases.tenant))
    lineage = [{"kind": "domain", "version": 3}, {"kind": "policy", "version": 9}]
    served = {
        "pack": slug,
        "digest": effective.digest,
        "arm": "champion",
        "rollout": None,
        "content": effective.content,
        "lineage": lineage,
    }
    runs, events = [], []
    for case in cases.cases:
        given = answer(effective.content, None, case.input, seed=f"{case.number}")
        runs.append(run_item(f"r-{case.number}", served, given, task_type=case.task_type, user="u-1", asked=case.input))
        events += event_items(f"r-{case.number}", given)
    assert all(item["format_passed"] is True and item["pack_version"] == 3 for item in runs)
    assert decode_runs(json.dumps({"runs": runs}).encode()).rejected == []
    assert decode_events(json.dumps({"events": events}).encode()).rejected == []
    assert {event["run_id"] for event in events} == {item["run_id"] for item in runs}


def test_the_fleet_knows_nothing_of_django() -> None:
    """Its modules are those of a harness: they work where Django is not even installed."""
    check = "import sys; sys.modules['django'] = sys.modules['psycopg'] = None; import apps.demo.fleet.crew, apps.demo.fleet.reports"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True)


def test_tokens_are_kept_where_only_their_owner_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "new"))
    tokens = Tokens({"acme/helpdesk-1": "mc_a"}, {"otto.author@acme.example": "mc_b"})
    write_tokens(tokens_file(), tokens)
    assert read_tokens(tokens_file()) == tokens
    assert tokens_file().stat().st_mode & 0o077 == 0
    tokens_file().write_text("{half")
    assert read_tokens(tokens_file()) == Tokens()


@pytest.mark.e2e
@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_the_story_happens_once_and_a_restart_of_the_portal_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    make.user(make.platform(), "tenant_admin", email="admin@example.com")
    call_command("seed_demo")
    portal = running.Portal(tmp_path)
    try:
        portal.start()
        begun = time.monotonic()
        # Without a database of its own: what it knows, it knows over HTTP.
        portal.run("fleet", "manage.py", "demo_fleet", "--url", portal.url, "--pace", "0.1", environ=NO_DATABASE)
        wanted = {story.name: story.ends_as for story in catalogue.challengers()}
        stories = {(story.pack, story.scope): story.name for story in catalogue.challengers()}

        def states() -> dict[str, str]:
            rows = Promotion.objects.values_list("layer__pack__slug", "layer__scope", "state")
            return {stories[pack, scope]: state for pack, scope, state in rows}

        # Killed in the middle, the portal comes back to a fleet that has kept everything.
        assert eventually(lambda: Run.objects.count() > 20, timeout_s=30), portal.output("fleet") + portal.output("web")
        portal.kill("web")
        time.sleep(1)
        portal.start_web()
        assert eventually(lambda: states() == wanted, timeout_s=120), (
            f"{states()}\n{portal.output('fleet')}\n{portal.output('worker')[-2000:]}"
        )
        took = time.monotonic() - begun
        assert took < 120

        blocked = Promotion.objects.get(state="blocked")
        failed = [rule["rule"] for rule in blocked.verdict["rules"] if rule["outcome"] == "fail"]
        assert failed == ["format_no_regression"]
        decisions = Counter(Decision.objects.exclude(reason__in=["bootstrap", "preset"]).values_list("decision", flat=True))
        assert decisions == {"promote": 2, "rollback": 1}
        promoted = Decision.objects.filter(decision="promote").exclude(reason__in=["bootstrap", "preset"])
        assert {row.promotion.verdict["evidence_outcome"] for row in promoted if row.promotion} == {"pass"}
        assert Layer.objects.get(pk=blocked.layer_id).champion_id == blocked.champion_id

        # The agents run on what was promoted: each of the desk's users has been told two things, one after the other.
        desk = Run.objects.filter(pack="hr-ops-pack", agent__slug__startswith="helpdesk").order_by()
        told = desk.values_list("agent", "user_ref", "effective_digest").distinct()
        assert eventually(lambda: len(told.all()) > len(desk.values_list("agent", "user_ref").distinct()), timeout_s=30)
        assert eventually(lambda: Run.objects.filter(score__isnull=False).count() > 20, timeout_s=20), "scored by the worker"

        process = portal.processes["fleet"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        fleet = portal.output("fleet")
        assert "The portal is away" in fleet and "The portal is back." in fleet and "Traceback" not in fleet
        for name, ranges, given_up, rejected in Producer.objects.values_list("name", "ranges", "given_up", "rejected"):
            assert len(ranges) == 1 and ranges[0][0] == 1, f"{name} has gaps: {ranges}"
            assert (given_up, rejected) == (0, 0)
        assert not Run.objects.exclude(flags=[]).exclude(flags=["redacted"]).exists(), "every run names a digest that the portal knows"

        # Started again, without the file of tokens, it has new ones issued and finds the story told.
        before = (Promotion.objects.count(), Decision.objects.count())
        tokens_file().unlink()
        portal.run("fleet-2", "manage.py", "demo_fleet")
        assert eventually(lambda: "The story is told" in portal.output("fleet-2"), timeout_s=60)
        assert (Promotion.objects.count(), Decision.objects.count()) == before
        for tenant in Tenant.objects.all():
            assert verify_tenant(tenant.pk) is None
    finally:
        portal.close()
