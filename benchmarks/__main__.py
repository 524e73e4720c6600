"""`python -m benchmarks [part …]` (PARTS and LONG): measures, prints, and writes docs/performance.md when all of PARTS were run.

Those that take long (LONG) are run by their names only.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

from benchmarks.stage import machine
from benchmarks.wrk import available
from mission_control.embedded.environment import ROOT

PARTS = {
    "resolve": "Resolve",
    "ingest": "Ingest",
    "otlp": "OTLP",
    "promotion": "Promotion and rollback",
    "startup": "Start",
    "archive": "Archive cycle",
    "stream": "Push stream",
    "lists": "Lists of 300,000 objects with 100,000 grants",
}
LONG = {
    "reading": "Lists and figures of millions of runs",
    "burst": "A burst of runs, scored",
    "flat": "Ingest with millions of stored runs",
    "mixed": "Mixed load with kills",
}
INTRODUCTION = """# Performance

Written by `make bench` (every figure below is from one run of it). The web process is one, as `make up` starts it, held to one core; the
load generator (`wrk`, one thread, 32 connections) runs on the other; the database on both. The database is durable (fsync on). What takes long
to measure stands in [performance-long.md](performance-long.md).
"""


def main(wanted: list[str]) -> int:
    titles = PARTS | LONG
    unknown = set(wanted) - set(titles)
    if unknown:
        print(f"Not known: {', '.join(sorted(unknown))}. Parts: {', '.join(titles)}.", file=sys.stderr)
        return 2
    if set(wanted or PARTS) - {"lists", "stream", "archive", *LONG} and not available():
        print("The load generator wrk is missing: install it (Debian: apt-get install wrk).", file=sys.stderr)
        return 2
    sections = []
    for name in wanted or PARTS:
        # Each part in a process and on services of its own: Django's settings are read once.
        printed = subprocess.run([sys.executable, "-m", "benchmarks.part", name], stdout=subprocess.PIPE, text=True, check=True).stdout
        print(f"{titles[name]}\n{printed}", flush=True)
        sections.append(f"## {titles[name]}\n\n| what | measured |\n| --- | --- |\n{printed}")
    if not wanted:
        when = datetime.now(UTC).strftime("%Y-%m-%d")
        text = f"{INTRODUCTION}\nMachine: {machine()}. Date: {when}.\n\n" + "\n".join(sections)
        (ROOT / "docs" / "performance.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
