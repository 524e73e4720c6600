"""Two minutes of `benchmarks/mixed.py`: web, worker and database are killed under load, and what was acknowledged is stored, exactly. Before that a
flood: more at once than the portal can take is sent away before memory grows."""

from __future__ import annotations

import http.client
import json
import threading
from pathlib import Path

import pytest

from benchmarks.load import MOMENT
from benchmarks.mixed import new_tokens, trial
from tests.embedded.portal import Portal

pytestmark = pytest.mark.e2e

FLOOD, FLOOD_ITEMS, TEXT = 60, 500, 8_000


def test_a_flood_is_turned_away_and_what_was_acknowledged_survives_every_kill() -> None:
    portal = Portal()
    try:
        portal.start(timeout_s=180)
        flooding, *tokens = new_tokens(portal, 4)
        before = peak_mib(portal)
        answers = flood(portal, flooding)
        grown = peak_mib(portal) - before
        # Few batches a second: what counts is what happens around the kills, and other tests run beside this one.
        found = trial(portal, tokens, seconds=60, items=20, per_s=4)
        told = portal.output
    finally:
        portal.close()
    taken = [receipt for status, _, receipt in answers if status == 202]
    refused = [pause for status, pause, _ in answers if status == 503]
    assert len(taken) + len(refused) == FLOOD and taken and refused
    assert all(pause is not None and int(pause) >= 1 for pause in refused)
    # All sent the same runs.
    assert sum(receipt["accepted"] for receipt in taken) == FLOOD_ITEMS
    # 60 bodies are 240 MiB, and ten times that when they are worked on.
    assert grown < 400, f"{grown:.0f} MiB more"

    assert found.wrong == []
    assert len(found.killed) == 3 and not any(killed.startswith("0 ") for killed in found.killed)
    # The harnesses noticed: otherwise nothing was tried.
    assert found.answers["no answer"] > 0 and found.answers["503"] > 0
    assert found.repeated > 0 and found.completed > 0 and found.events > 0 and found.spans > 0
    for name in ("web process", "worker process", "PostgreSQL"):
        assert f"{name} ended" in told


def flood(portal: Portal, token: str) -> list[tuple[int, str | None, dict[str, int]]]:
    """Status, Retry-After and body of each answer to as many requests at once."""
    runs = [{"run_id": f"flood-{number}", "started_at": MOMENT, "output": "a word " * (TEXT // 7)} for number in range(FLOOD_ITEMS)]
    body = json.dumps({"runs": runs}).encode()
    answers: list[tuple[int, str | None, dict[str, int]]] = []

    def send() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", portal.port, timeout=120)
        connection.request("POST", "/api/v1/telemetry/runs", body, {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
        response = connection.getresponse()
        answers.append((response.status, response.getheader("Retry-After"), json.loads(response.read())))
        connection.close()

    senders = [threading.Thread(target=send) for _ in range(FLOOD)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    return answers


def peak_mib(portal: Portal) -> float:
    """The most that the web processes have ever held in memory."""
    lines = [line for pid in portal.processes("granian") for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
