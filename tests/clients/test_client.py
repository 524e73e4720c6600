"""The Python client against a small control plane: caching, spooling, batches, commands and the stream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mission_control_client import Client, RefusedError, SpoolInUseError, UnavailableError
from mission_control_client.spool import ITEM, Position, Spool
from mission_control_client.stream import _trusted, parse

from tests.clients.plane import Plane

TOKEN = "mc_abcdefghijkl_secret"
Make = Callable[..., Client]


@pytest.fixture
def plane() -> Iterator[Plane]:
    made = Plane()
    yield made
    made.close()


@pytest.fixture
def make(plane: Plane, tmp_path: Path) -> Iterator[Make]:
    """A client without heartbeat and stream, unless they are asked for."""
    opened: list[Client] = []

    def open_client(**arguments: Any) -> Client:
        usual = {"spool_dir": tmp_path / "spool", "heartbeat_s": 0, "listen": False, "batch_s": 0.05}
        client = Client(plane.url, TOKEN, **{**usual, **arguments})
        opened.append(client)
        return client

    yield open_client
    for client in opened:
        client.close(0)


def eventually(condition: Callable[[], Any], timeout_s: float = 5) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# Resolve.


def test_a_fresh_answer_is_not_asked_for_again_and_a_stale_one_by_its_etag(plane: Plane, make: Make) -> None:
    client = make()
    first = client.resolve("p", user="u-1")
    assert (first.digest, first.stale) == ("sha256:1", False)
    assert client.resolve("p", user="u-1").digest == "sha256:1" and len(plane.asked("resolve")) == 1
    client.resolve("p", user="u-2")
    client.invalidate()
    client.resolve("p", user="u-1")
    assert [request[1].get("If-None-Match") for request in plane.asked("resolve")] == [None, None, '"sha256:1"']
    plane.pack = {**plane.pack, "digest": "sha256:2"}
    client.invalidate()
    assert client.resolve("p", user="u-1").digest == "sha256:2"


def test_the_last_good_answer_stands_in_while_the_plane_is_away_and_never_for_a_no(plane: Plane, make: Make) -> None:
    client = make()
    client.resolve("p")
    client.close(0)
    plane.down = True
    again = make()
    stale = again.resolve("p")
    assert stale.stale and stale.digest == "sha256:1" and 0 <= stale.age_s < 60
    asked = len(plane.asked("resolve"))
    assert all(again.resolve("p").stale for _ in range(50))
    assert len(plane.asked("resolve")) - asked < 5, "every call waits for a plane that is known to be away"
    with pytest.raises(UnavailableError):
        again.resolve("never-asked")
    plane.down = False
    assert eventually(lambda: not again.resolve("p").stale)
    for status in (401, 403, 404, 409):
        again.invalidate()
        plane.troubles = [status]
        with pytest.raises(RefusedError) as refused:
            again.resolve("p")
        assert refused.value.status == status
        plane.troubles = [503]
        with pytest.raises(UnavailableError):
            again.resolve("p")
        assert again.resolve("p").stale is False
    again.close(0)
    strict = make(max_stale_s=0.0)
    plane.down = True
    with pytest.raises(UnavailableError):
        strict.resolve("p")


# Telemetry.


def test_what_is_recorded_is_stored_once_whatever_goes_wrong_in_between(plane: Plane, make: Make) -> None:
    def stored_but_not_said(body: Any) -> Any:
        plane.store("runs" if "runs" in body else "events", body)
        return 502, {"code": "x"}, {}

    plane.troubles = [503, stored_but_not_said, lambda body: (429, {"code": "rate_limited"}, {"Retry-After": "0.2"}), 500]
    client = make(batch_items=10)
    runs = {client.record_run(task_type="t", number=number) for number in range(95)}
    events = {client.record_event({"event_id": f"e-{number}", "action": "tool_call"}) for number in range(7)}
    assert client.flush(15)
    assert set(plane.stored) == runs | events and None not in runs
    stats = client.stats
    assert (stats.recorded, stats.accepted + stats.duplicates, stats.rejected, stats.dropped, stats.waiting) == (102, 102, 0, 0, 0)
    distinct = sorted(set(plane.seqs))
    assert distinct == list(range(1, len(distinct) + 1)), "a number was left out"
    assert all(len(body.get("runs", ())) <= 10 for _, _, body in plane.asked("telemetry"))


def test_what_waits_out_an_outage_keeps_the_time_at_which_it_was_recorded(plane: Plane, make: Make) -> None:
    plane.down = True
    client = make()
    before = datetime.now(UTC)
    run, event = client.record_run(), client.record_event(action="tool_call")
    own = client.record_event(action="tool_call", created_at="2026-01-01T00:00:00Z")
    after = datetime.now(UTC)
    time.sleep(0.1)
    plane.down = False
    assert client.flush(15)
    for key in (run, event):
        assert before <= datetime.fromisoformat(plane.stored[key]["created_at"]) <= after
    assert plane.stored[own]["created_at"] == "2026-01-01T00:00:00Z"


def test_poison_is_taken_out_by_its_index_and_holds_nothing_up(plane: Plane, make: Make) -> None:
    told: list[tuple[str, str, str]] = []
    client = make(on_rejected=lambda kind, item, reason: told.append((kind, item["run_id"], reason["code"])))
    plane.poison = {"r-3"}
    for number in range(6):
        client.record_run(run_id=f"r-{number}")
    assert client.flush()
    # A batch that is refused whole is cut down until the one that spoils it is found.
    whole = {"code": "bad_encoding", "detail": "not JSON"}

    def refuse(body: Any) -> Any:
        bad = any(run["run_id"] == "x-5" for run in body["runs"])
        return (400, whole, {}) if bad else plane.store("runs", body)

    plane.troubles = [refuse] * 12
    for number in range(9):
        client.record_run(run_id=f"x-{number}")
    assert client.flush()
    assert set(plane.stored) == {f"r-{n}" for n in range(6) if n != 3} | {f"x-{n}" for n in range(9) if n != 5}
    assert told == [("runs", "r-3", "invalid"), ("runs", "x-5", "bad_encoding")]
    assert sorted(set(plane.seqs)) == list(range(1, max(plane.seqs) + 1))
    with pytest.raises(ValueError, match="not JSON"):
        client.record_run(value=object())


def test_a_refused_token_keeps_everything_until_it_is_mended(plane: Plane, make: Make) -> None:
    plane.troubles = [401, 403]
    client = make()
    client.record_run(run_id="r-1")
    assert not client.flush(0.05)
    assert client.flush(10) and set(plane.stored) == {"r-1"}


def test_a_full_spool_drops_what_is_new_and_the_gap_shows(plane: Plane, make: Make) -> None:
    plane.down = True
    client = make(spool_bytes=300_000, batch_items=100)
    taken = [key for number in range(100) if (key := client.record_run(run_id=f"r-{number}", input="x" * 10_000))]
    assert 20 < len(taken) < 31 and client.stats.dropped == 100 - len(taken)
    assert client.stats.spool_bytes < 320_000
    plane.down = False
    assert client.flush(15)
    taken.append(client.record_run(run_id="r-later") or "")
    assert client.flush()
    assert set(plane.stored) == set(taken)
    missing = set(range(1, max(plane.seqs))) - set(plane.seqs)
    assert 1 <= len(missing) <= 2, "the gap does not show"


KILLED = """
import os, sys
from mission_control_client import Client
client = Client(sys.argv[1], sys.argv[2], spool_dir=sys.argv[3], heartbeat_s=0, listen=False, batch_s=0.01, batch_items=50)
for number in range(10_000):
    key = client.record_run(run_id=f"k-{os.getpid()}-{number}", input="x" * 200)
    os.write(1, (key + "\\n").encode())
"""


def test_a_harness_that_is_killed_loses_nothing_it_was_told_is_recorded(plane: Plane, make: Make, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    said: list[str] = []
    for _ in range(3):
        environ = {**os.environ, "PYTHONPATH": "clients/python"}
        process = subprocess.Popen([sys.executable, "-c", KILLED, plane.url, TOKEN, str(spool)], stdout=subprocess.PIPE, env=environ)
        assert process.stdout
        said += [process.stdout.readline().decode().strip() for _ in range(150)]
        process.kill()
        said += [line.decode().strip() for line in process.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
        process.wait()
        process.stdout.close()
    client = make()
    assert client.flush(15)
    assert set(said) <= set(plane.stored)
    assert sorted(set(plane.seqs)) == list(range(1, max(plane.seqs) + 1))


def test_one_folder_serves_one_process(make: Make, tmp_path: Path) -> None:
    client = make()
    with pytest.raises(SpoolInUseError):
        make()
    producer = client.producer
    client.close()
    assert make().producer == producer


@given(st.lists(st.binary(max_size=300), max_size=30), st.integers(0, 4000), st.integers(0, 255), st.integers(64, 2000), st.integers(1, 7))
def test_damage_costs_the_records_it_hits_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], at: int, byte: int, segment: int, limit: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder, segment_bytes=segment)
    for payload in payloads:
        spool.append(ITEM, payload)

    def everything(spool: Spool) -> list[bytes]:
        found, place = [], Position()
        while records := spool.read(place, limit_items=limit, limit_bytes=500):
            found += [record.payload for record in records]
            place = records[-1].end
        return found

    assert everything(spool) == payloads
    spool.close()
    files = sorted(folder.glob("*.seg"))
    for path in files:
        data = bytearray(path.read_bytes())
        if at < len(data):
            data[at] = byte
            path.write_bytes(data)
            break
        at -= len(data)
    again = Spool(folder, segment_bytes=segment)
    found = everything(again)
    assert len(found) >= len(payloads) - 1
    remaining = iter(payloads)
    assert all(any(payload == one for one in remaining) for payload in found), "what was not written, or another order"
    again.append(ITEM, b"later")
    assert everything(again)[-1] == b"later"
    again.close()


# Commands and heartbeats.


def test_a_command_is_handed_over_once_and_acknowledged(plane: Plane, make: Make) -> None:
    plane.commands = [{"id": "c-1", "action": "pause"}, {"id": "c-2", "action": "stop"}]
    heard: list[str] = []
    fails = [True]

    def on_command(command: Any) -> None:
        if command["id"] == "c-2" and fails:
            fails.clear()
            raise RuntimeError("not yet")
        heard.append(command["id"])

    client = make(on_command=on_command, heartbeat_s=0.1, status=lambda: "busy")
    client.resolve("p")
    client.record_run(run_id="r-1")
    assert eventually(lambda: not plane.commands)
    assert sorted(heard) == ["c-1", "c-2"]
    assert (plane.beats[-1]["status"], plane.beats[-1]["instance"]) == ("busy", client.producer)
    client.resolve("p", user="u-1")
    assert eventually(lambda: plane.beats[-1]["serving"] == [{"pack": "p", "digest": "sha256:1", "arm": "champion"}])
    assert client.clock_ahead_s is not None
    plane.pack, plane.stale = {**plane.pack, "digest": "sha256:2"}, ["p"]
    assert eventually(lambda: client.resolve("p").digest == "sha256:2")


# The stream.


def test_a_rollback_on_the_stream_is_effective_at_once_and_a_lost_stream_resumes(plane: Plane, make: Make) -> None:
    heard: list[str] = []
    commands: list[str] = []
    plane.frames = [
        "retry: 20\n\nid: 1-0\nevent: ping\ndata: {}\n\n",
        'id: 2-0\nevent: pack.rolled_back\ndata: {"pack": "p"}\n\nid: 3-0\nevent: control\ndata: {"id": "c-1", "action": "pause"}\n\n',
        'id: 4-0\nevent: resync\ndata: {"reason": "gap"}\n\n',
    ]
    client = make()
    client.resolve("p")
    client.close()
    plane.pack = {**plane.pack, "digest": "sha256:2"}
    client = make(listen=True, on_event=lambda event: heard.append(event.event), on_command=lambda command: commands.append(command["id"]))
    assert eventually(lambda: heard == ["pack.rolled_back", "control", "resync"])
    assert commands == ["c-1"]
    assert client.resolve("p").digest == "sha256:2"
    places = [request[1].get("Last-Event-ID") for request in plane.asked("stream")]
    assert places[:3] == [None, "1-0", "3-0"] and {request[1]["Authorization"] for request in plane.asked("stream")} == {f"Bearer {TOKEN}"}


def test_the_token_follows_a_redirect_to_its_own_host_only(plane: Plane, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    other = Plane()
    try:
        other.frames = ['id: 1-0\nevent: pack.changed\ndata: {"pack": "p"}\n\n']
        plane.redirect = f"{other.url}/api/v1/stream"
        heard: list[str] = []
        client = make(listen=True, on_event=lambda event: heard.append(event.event))
        assert eventually(lambda: heard == ["pack.changed"])
        assert other.asked("stream")[0][1]["Authorization"] == f"Bearer {TOKEN}"
        client.close()
        plane.redirect = f"{other.url}/api/v1/stream".replace("127.0.0.1", "127.0.0.2")
        asked = len(other.asked("stream"))
        make(listen=True)
        assert eventually(lambda: "name it with stream_url" in caplog.text)
        assert len(other.asked("stream")) == asked
    finally:
        other.close()


def test_a_redirect_among_this_machines_own_names_is_followed() -> None:
    to = "http://127.0.0.1:8001/api/v1/stream"
    assert _trusted("http://localhost:8000/api/v1/stream", to) == to
    assert _trusted(to, "http://[::1]:8001/in") == "http://[::1]:8001/in"
    for asked, target in (
        ("http://localhost:8000/in", "http://localhost.example/in"),
        ("https://localhost/in", to),
        ("http://a.example/in", to),
    ):
        with pytest.raises(RefusedError):
            _trusted(asked, target)


def test_the_parser_reads_what_the_standard_allows() -> None:
    lines = [
        ": comment",
        "id:7-0",
        "event: control",
        'data: {"a":',
        "data: 1}",
        "",
        "retry: 50",
        "",
        "id: 8-0",
        "",
        "data",
        "",
        "unknown: x",
        "data: late",
    ]
    blocks = list(parse(lines))
    assert blocks == [("7-0", "control", '{"a":\n1}', None), ("", "", "", 50), ("", "message", "", None)]
    assert json.loads(blocks[0][2]) == {"a": 1}
