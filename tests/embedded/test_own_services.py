"""With the three URLs set nothing embedded is started, and the same tests run on those services."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from mission_control.embedded.account import service_account
from mission_control.embedded.environment import ROOT
from mission_control.embedded.process import spawn, stop
from mission_control.embedded.valkey import free_port
from tests.embedded.portal import Portal, clean_environment, eventually

pytestmark = pytest.mark.e2e

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
REDIS = shutil.which("redis-server")
# What the README tells one to run, as it stands there.
SQL = re.findall(r"^```sql\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)[0]


@pytest.fixture(scope="module")
def own_services() -> Iterator[dict[str, str]]:
    """PostgreSQL and Redis as the system brings them, with the two roles of the README."""
    if not POSTGRES or not REDIS:
        if os.environ.get("CI"):
            pytest.fail("CI needs the system's postgresql and redis-server")
        pytest.skip("postgresql and redis-server of the system are not installed")
    account = service_account()
    folder = Path(tempfile.mkdtemp(prefix="mc-own-", dir="/tmp"))
    if account:
        account.owns(folder)
    data, port, redis_port = folder / "pg", free_port(), free_port()
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    running: list[subprocess.Popen[bytes]] = []
    try:
        with (folder / "log").open("wb") as log:
            initdb = [str(POSTGRES[0] / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"]
            assert spawn(initdb, env=environ, cwd=folder, output=log, account=account).wait() == 0, (folder / "log").read_text()
            server = [
                str(POSTGRES[0] / "postgres"),
                "-D",
                str(data),
                "-p",
                str(port),
                "-c",
                f"unix_socket_directories={folder}",
                "-c",
                "fsync=off",
            ]
            running.append(spawn(server, env=environ, cwd=folder, output=log, account=account))
            redis = [REDIS, "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
            running.append(spawn(redis, env=environ, cwd=folder, output=log, account=account))
        address = f"127.0.0.1:{port}"

        def ready() -> bool:
            try:
                psycopg.connect(f"postgresql://postgres@{address}/postgres").close()
            except psycopg.OperationalError:
                return False
            return True

        assert eventually(ready), (folder / "log").read_text()
        with psycopg.connect(f"postgresql://postgres@{address}/postgres", autocommit=True) as connection:
            for statement in SQL.split(";\n"):
                connection.execute(statement)
        yield {
            "DATABASE_URL": f"postgresql://mc_app:change-me-too@{address}/mission_control",
            "DATABASE_OWNER_URL": f"postgresql://mc_owner:change-me@{address}/mission_control",
            "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        }
    finally:
        for process in running:
            stop(process, signum=signal.SIGQUIT if process is running[0] else signal.SIGTERM)
        shutil.rmtree(folder, ignore_errors=True)


def test_the_portal_runs_on_them(own_services: dict[str, str]) -> None:
    portal = Portal(**own_services)
    try:
        portal.start()
        assert portal.answers()
        assert not portal.processes("postgres") and not portal.processes("valkey-server")
        assert not (portal.data / "postgres").exists()
        portal.end()
        portal.start()  # nothing to migrate the second time
        assert "Migrating" not in portal.output and "Sign in" not in portal.output
        portal.end()
        assert not portal.processes()
    finally:
        portal.close()


def test_the_tests_run_on_them(own_services: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/embedded/test_services.py", "tests/test_grants.py"],
        cwd=ROOT,
        env=clean_environment(**own_services),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ passed", done.stdout)
    with psycopg.connect(own_services["DATABASE_OWNER_URL"]) as connection:
        left = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'mc_test_%'").fetchall()
    assert left == []
