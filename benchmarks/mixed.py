"""Mixed load on a whole `make up`, in which web, worker and database are killed (SIGKILL): what was acknowledged is stored, exactly.

Runs and events in JSON, traces over OTLP, batches sent twice, runs that are completed by a later batch. MIXED_SECONDS sets how long (1,800),
MIXED_PER_S how many batches of 50 each of the four senders sends a second (10).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg

from benchmarks.load import TOKENS_A_CALL, TRACE, Sender
from mission_control.embedded.environment import ROOT
from tests.embedded.portal import Portal, eventually

# When in the course of the load (share of its time) which processes die.
KILLS = ((0.2, "web", "granian"), (0.45, "worker", "celery"), (0.7, "database", "postgres"))


@dataclass
class Outcome:
    """What was sent and acknowledged, and what is wrong with what is stored (nothing, if all is well)."""

    runs: int = 0
    events: int = 0
    completed: int = 0
    spans: int = 0
    repeated: int = 0
    seconds: float = 0.0
    scored_after_s: float = 0.0
    answers: dict[str, int] = field(default_factory=dict)
    killed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def trial(portal: Portal, tokens: list[str], *, seconds: float, items: int, per_s: float) -> Outcome:
    """Drives a portal that was started, with a harness for each token; `items` a batch, `per_s` batches a second and harness."""
    stopping = threading.Event()
    harnesses = [Sender(portal.port, token, f"harness-{number}", items, per_s, stopping) for number, token in enumerate(tokens)]
    outcome, begun = Outcome(), time.monotonic()
    for harness in harnesses:
        harness.start()
    for share, what, name in KILLS:
        time.sleep(max(0.0, begun + share * seconds - time.monotonic()))
        outcome.killed.append(f"{_kill(portal, what, name)} of {what}")
    time.sleep(max(0.0, begun + seconds - time.monotonic()))
    stopping.set()
    for harness in harnesses:
        harness.join(180)
    outcome.seconds = time.monotonic() - begun
    for harness in harnesses:
        outcome.wrong += harness.faults
        outcome.wrong += [f"{harness.label}: still waits for an answer"] * harness.is_alive()
        outcome.wrong += [f"{harness.label}: {harness.without_retry_after} refusals without Retry-After"] * (
            harness.without_retry_after > 0
        )
        outcome.runs += len(harness.runs)
        outcome.events += harness.events
        outcome.spans += TRACE * harness.traces
        outcome.completed += harness.taken - len(harness.runs) - harness.events
        outcome.repeated += harness.repeated
        for answer, count in harness.answers.items():
            outcome.answers[answer] = outcome.answers.get(answer, 0) + count
    with psycopg.connect(_published(portal)["DATABASE_OWNER_URL"], autocommit=True) as owner:
        _wait_for_scores(owner, outcome)
        for harness in harnesses:
            outcome.wrong += _differences(owner, harness)
    return outcome


def new_tokens(portal: Portal, count: int) -> list[str]:
    """Of agents of as many new tenants. Once for a portal."""
    environ = {"DJANGO_SETTINGS_MODULE": "mission_control.settings.dev", **portal.environ, **_published(portal)}
    command = [sys.executable, "-m", "benchmarks.tokens", str(count)]
    printed = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: list[str] = json.loads(printed.splitlines()[-1])
    return found


def _published(portal: Portal) -> dict[str, str]:
    found: dict[str, str] = json.loads((portal.data / "environment.json").read_text())
    return found


def _kill(portal: Portal, what: str, name: str) -> int:
    """Kills all processes of one kind at once; how many that were."""
    found = [pid for pid in portal.processes(name) if what != "worker" or b"beat" not in _command(pid)]
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return len(found)


def _command(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _wait_for_scores(owner: psycopg.Connection[Any], outcome: Outcome) -> None:
    begun = time.monotonic()

    def scored() -> bool:
        waiting = "SELECT EXISTS (SELECT FROM telemetry_opentraces) OR EXISTS (SELECT FROM telemetry_unscoredbatch)"
        return not owner.execute(waiting).fetchall()[0][0]

    # A trace is settled, and its run final, 15 s after its last span.
    if not eventually(scored, timeout_s=90):
        outcome.wrong.append("not all runs have a score 90 s after the end")
    outcome.scored_after_s = time.monotonic() - begun


def _differences(owner: psycopg.Connection[Any], harness: Sender) -> list[str]:
    """What the database holds of a harness against what the harness was told."""

    def ask(statement: str) -> list[tuple[Any, ...]]:
        return owner.execute(statement.encode(), {"of": f"{harness.label}-%", "label": harness.label}).fetchall()

    def ask_traces(statement: str) -> list[tuple[Any, ...]]:
        return owner.execute(statement.encode(), {"of": f"{harness.trace_prefix}%"}).fetchall()

    traces = harness.traces
    sums = "SELECT final, tokens_in, count(*) FROM telemetry_run WHERE run_id LIKE %(of)s GROUP BY 1, 2"
    steps = "SELECT count(*) FROM telemetry_event WHERE event_id LIKE %(of)s"
    scored = "SELECT count(*) FROM telemetry_runscore WHERE run_id LIKE %(of)s"
    kinds = "SELECT kind, count(*) FROM telemetry_ledger WHERE key LIKE %(of)s GROUP BY kind"
    final = {f"{harness.label}-r{number}": done for number, done in enumerate(harness.runs)}
    stored = ask("SELECT run_id, final, output IS NOT NULL FROM telemetry_run WHERE run_id LIKE %(of)s")
    scores = ask("SELECT run_id FROM telemetry_runscore WHERE run_id LIKE %(of)s")
    events = ask("SELECT event_id FROM telemetry_event WHERE event_id LIKE %(of)s")
    keys = ask("SELECT kind, count(*) FROM telemetry_ledger WHERE key LIKE %(of)s GROUP BY kind")
    producers = ask("SELECT ranges, given_up, accepted, rejected FROM telemetry_producer WHERE name = %(label)s")
    found = {
        "runs, each once, final as acknowledged": (
            sorted(stored),
            sorted((run_id, done, done) for run_id, done in final.items()),
        ),
        "scores, one of each final run": (sorted(run_id for (run_id,) in scores), sorted(run_id for run_id, done in final.items() if done)),
        "events, each once": (sorted(key for (key,) in events), sorted(f"{harness.label}-e{number}" for number in range(harness.events))),
        "keys in the ledger": (dict(keys), {kind: n for kind, n in (("r", len(final)), ("e", harness.events)) if n}),
        "runs of traces, each once, final, with the tokens of their calls": (
            ask_traces(sums),
            [(True, (TRACE - 1) * TOKENS_A_CALL, traces)] if traces else [],
        ),
        "spans and scores of traces, each once": (ask_traces(f"{steps} UNION ALL {scored}"), [(TRACE * traces,), (traces,)]),
        "keys of spans in the ledger": (dict(ask_traces(kinds)), {"r": traces, "e": TRACE * traces} if traces else {}),
        "numbers of batches, without a gap, and items accepted": (producers, [([[1, harness.batches]], 0, harness.taken, 0)]),
    }
    return [f"{harness.label}: {what}: {_short(got)} instead of {_short(want)}" for what, (got, want) in found.items() if got != want]


def _short(value: Any) -> str:
    return f"{len(value)} of {str(value)[:200]}" if len(value) > 5 else str(value)


def run() -> Iterator[tuple[str, str]]:
    """Rows of (what, figure)."""
    seconds, per_s = float(os.environ.get("MIXED_SECONDS", "1800")), float(os.environ.get("MIXED_PER_S", "10"))
    portal = Portal()
    try:
        portal.start(timeout_s=300)
        found = trial(portal, new_tokens(portal, 4), seconds=seconds, items=50, per_s=per_s)
    except Exception:
        # What became of the portal stands on its terminal.
        print(portal.output, file=sys.stderr)
        raise
    finally:
        portal.close()
    items = found.runs + found.events + found.completed + found.spans
    yield (
        "Mixed load",
        f"{found.seconds / 60:.1f} minutes, 4 senders, batches of 50; killed with SIGKILL: {', '.join(found.killed)} processes",
    )
    yield (
        "Acknowledged",
        f"{found.runs:,} runs, {found.completed:,} completions, {found.events:,} events, {found.spans:,} spans "
        f"({items / found.seconds:,.0f} items/s); {found.repeated:,} items sent again on purpose; answers {found.answers}",
    )
    yield (
        "Acknowledged = stored, exactly; scored; no gaps",
        f"yes, all scored {found.scored_after_s:.0f} s after the end" if not found.wrong else f"NO: {found.wrong}",
    )
