"""Five minutes of runs as fast as they are taken, with scoring on: how long after the end the last one has its score.

BURST_SECONDS sets how long (300). Nothing is held to a core: the web process, the worker and the database share the machine as under `make up`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from benchmarks.ingest import resolved_digest, send, template
from benchmarks.seeding import shared_pack, tenants
from benchmarks.stage import web
from mission_control.embedded.environment import ROOT


@contextmanager
def scoring() -> Iterator[None]:
    """Worker and scheduler, as `make up` starts them."""
    celery = [sys.executable, "-m", "celery", "--app", "mission_control"]
    worker = [*celery, "worker", "--concurrency", "2", "--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
    scheduler = [*celery, "beat", "--pidfile=", "--loglevel", "WARNING"]
    # What they print is not of the table.
    running = [subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=sys.stderr) for command in (worker, scheduler)]
    try:
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)


def run() -> Iterator[tuple[str, str]]:
    """Rows of (what, figure)."""
    seconds = float(os.environ.get("BURST_SECONDS", "300"))
    token = tenants(shared_pack(body_bytes=4000), 1)[0]
    with tempfile.TemporaryDirectory() as folder, web(core=None) as (port, _), scoring():
        path, words = template(folder, resolved_digest(port, token))
        yield "Payload", words
        found = send(port, token, path, seconds=seconds, core=None)
        yield f"Taken in {found.seconds:.0f} s, with scoring on", str(found)
        begun = time.monotonic()
        with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
            waiting = _waiting(owner)
            while _waiting(owner) and time.monotonic() - begun < 600:
                time.sleep(0.2)
            lag = time.monotonic() - begun
            scores = owner.execute("SELECT count(*) FROM telemetry_runscore").fetchall()[0][0]
    yield "Scored after the end of the burst", f"{lag:.0f} s ({waiting:,} runs were waiting; {scores:,} scores of {found.accepted:,} runs)"


def _waiting(owner: psycopg.Connection[tuple[int]]) -> int:
    return owner.execute("SELECT coalesce(sum(cardinality(row_ids)), 0)::bigint FROM telemetry_unscoredbatch").fetchall()[0][0]
