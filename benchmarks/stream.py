"""The push stream: memory of its one process with many connections, and how long a rollback takes to reach them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.seeding import shared_pack, tenants
from benchmarks.stage import OTHER_CORE, WEB_CORE, free_port, memory_mib, wait_for
from mission_control.embedded.environment import ROOT

CONNECTIONS = int(os.environ.get("STREAM_CONNECTIONS", "10000"))
TENANTS = 10
PUSHES = 5


def run() -> Iterator[tuple[str, str]]:
    """Rows of (what, figure). Ten tenants, an agent's token each; every push is for everyone's harnesses."""
    from apps.fleet.push import push

    tokens = tenants(shared_pack(body_bytes=100), TENANTS)
    port = free_port()
    command = ["granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port), "--no-ws", "--http", "1", "--backlog", "4096"]
    command += ["--backpressure", "1000000", "--log-level", "warning", "mission_control.stream:application"]
    environ = {**os.environ, "STREAM_MAX_PER_TOKEN": str(CONNECTIONS)}
    stream = subprocess.Popen(
        ["taskset", "-c", WEB_CORE, str(Path(sys.executable).parent / command[0]), *command[1:]], cwd=ROOT, env=environ
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/healthz")
        empty = memory_mib(stream.pid)
        listen = [sys.executable, "-m", "benchmarks.listen", str(port), str(CONNECTIONS), *tokens]
        with subprocess.Popen(["taskset", "-c", OTHER_CORE, *listen], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as readers:
            assert readers.stdin and readers.stdout
            opened = json.loads(readers.stdout.readline())
            time.sleep(2)
            yield "Connections in one process", f"{opened['open']:,} of {CONNECTIONS:,}, opened in {opened['seconds']:.1f} s"
            full = memory_mib(stream.pid)
            yield "Its memory (PSS)", f"{full:.0f} MiB ({empty:.0f} MiB without connections)"
            spent = _cpu_s(stream.pid)
            time.sleep(15)
            yield "Processor time while idle, pings only", f"{(_cpu_s(stream.pid) - spent) / 15:.1%} of a core"
            for number in range(PUSHES):
                readers.stdin.write(f"{number}\n")
                readers.stdin.flush()
                spent = _cpu_s(stream.pid)
                push(tenant_id=None, agent_ids=None, event="pack.rolled_back", data={"number": number, "at": time.time()})
                heard = json.loads(readers.stdout.readline())
                words = "p50 {p50:.0f} ms, p99 {p99:.0f} ms, last {last:.0f} ms".format(**heard)
                yield (
                    f"Rollback {number + 1} to everyone",
                    f"{words} ({heard['count']:,} readers; the process used {_cpu_s(stream.pid) - spent:.2f} s of its core)",
                )
            yield "Its memory afterwards", f"{memory_mib(stream.pid):.0f} MiB"
            readers.stdin.close()
    finally:
        stream.terminate()
        stream.wait(20)


def _cpu_s(pid: int) -> float:
    """Processor time of the process and its children, in seconds."""
    total = 0.0
    for child in [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total
