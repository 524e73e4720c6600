"""A durable database, a broker and web processes of their own for a benchmark, on fixed cores."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from mission_control.embedded.environment import ROOT
from mission_control.embedded.instance import Instance
from mission_control.embedded.postgres import APPLICATION, OWNER

DATABASE = "mission_control"
WEB_CORE, OTHER_CORE = "0", "1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def services() -> Iterator[None]:
    """Starts PostgreSQL (fsync on, as `make up` runs it) and Valkey, migrates, and points this process at them."""
    folder = Path(tempfile.mkdtemp(prefix="mc-bench-", dir="/tmp"))
    folder.chmod(0o755)
    instance = Instance.open(folder / "data")
    postgres, valkey = instance.services()
    try:
        valkey.launch()
        postgres.create()
        postgres.launch()
        postgres.wait()
        postgres.ensure_roles(DATABASE)
        valkey.wait()
        os.environ |= {
            "DATABASE_URL": postgres.url(APPLICATION, DATABASE),
            "DATABASE_OWNER_URL": postgres.url(OWNER, DATABASE),
            "DATABASE_ADMIN_URL": postgres.admin_url,
            "REDIS_URL": valkey.url(),
            "SECRET_KEY": "benchmarks",
            "DJANGO_SETTINGS_MODULE": "mission_control.settings.dev",
            "DEBUG": "",
            # What is measured is the portal, not its limits; each request is counted all the same.
            **dict.fromkeys(("RATE_TOKEN_PER_S", "RATE_TENANT_PER_S", "RATE_PEOPLE_PER_S", "RATE_FAILURES_PER_S"), "1000000"),
        }
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", database="owner", verbosity=0, interactive=False)
        yield
    finally:
        postgres.stop()
        valkey.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def web(*, core: str | None = WEB_CORE, threads: int = 16) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """One web process, as `make up` starts it, held to one core; gives its port."""
    port = free_port()
    command = ["granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--no-ws"]
    command += ["--blocking-threads", str(threads), "--log-level", "warning", "mission_control.wsgi:application"]
    pinned = ["taskset", "-c", core] if core else []
    program = [*pinned, str(Path(sys.executable).parent / command[0]), *command[1:]]
    # What it logs is not of the table that goes to standard output.
    process = subprocess.Popen(program, cwd=ROOT, env=dict(os.environ), stdout=sys.stderr)
    try:
        wait_for(f"http://127.0.0.1:{port}/healthz")
        yield port, process
    finally:
        process.terminate()
        process.wait(20)


def wait_for(url: str, *, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                if response.status == 200:
                    return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def settle() -> None:
    """Has the database and the machine write what waits to be written: a load that nobody has in a few minutes would be written beside what is
    measured after it."""
    with psycopg.connect(os.environ["DATABASE_ADMIN_URL"], autocommit=True) as admin:
        admin.execute("CHECKPOINT")
    os.sync()


def warm_memory(gib: int = 4) -> None:
    """Takes memory and gives it back at once. The host of a virtual machine takes back what lies idle, and to get it again, page by page,
    costs a database that grows more than what is measured."""
    blocks = [b"\1" * 2**30 for _ in range(gib)]
    del blocks


def memory_mib(pid: int) -> float:
    """Resident memory of a process and its children, shared pages counted once (PSS), in MiB."""
    total = 0
    for child in [pid, *_children(pid)]:
        try:
            for line in Path(f"/proc/{child}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total / 1024


def _children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            found += [int(child), *_children(int(child))]
    return found


def machine() -> str:
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    return f"{os.cpu_count()} cores ({model}), {memory} GiB, {platform.system()}, Python {platform.python_version()}"
