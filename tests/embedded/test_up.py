"""`make up` as the person at the terminal meets it: it serves, it stops whole, it recovers, and it says what is wrong."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from mission_control.embedded.account import Account, service_account
from mission_control.embedded.environment import ROOT
from mission_control.embedded.valkey import free_port
from tests.embedded.portal import Portal, clean_environment, eventually

pytestmark = pytest.mark.e2e
Opener = Callable[..., Portal]


@pytest.fixture
def open_portal() -> Iterator[Opener]:
    opened: list[Portal] = []

    def make(**arguments: object) -> Portal:
        portal = Portal(**arguments)  # type: ignore[arg-type]
        opened.append(portal)
        return portal

    yield make
    for portal in opened:
        portal.close()


def people(portal: Portal) -> list[tuple[object, ...]]:
    published = json.loads((portal.data / "environment.json").read_text())
    with psycopg.connect(published["DATABASE_OWNER_URL"]) as connection:
        return connection.execute("SELECT id, email FROM identity_user").fetchall()


def reaches(portal: Portal) -> bool:
    try:
        return bool(people(portal))
    except psycopg.OperationalError:
        return False


def check_other_terminal(portal: Portal) -> None:
    """`manage.py` elsewhere finds the running database; a second `make up` on the same folder is refused."""
    done = subprocess.run(
        [
            ".venv/bin/python",
            "manage.py",
            "shell",
            "-c",
            "from django.db import connection as c; c.ensure_connection(); print(c.settings_dict['USER'])",
        ],
        cwd=ROOT,
        env=clean_environment(DATA_DIR=str(portal.data)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip().endswith("mc_app"), done.stderr
    second = subprocess.run(["make", "up"], cwd=ROOT, env={**portal.environ, "PORT": "1"}, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert f"already runs on {portal.data} (process {portal.supervisor})" in second.stderr
    assert portal.answers()


def test_it_serves_dies_whole_and_comes_back_warm_with_its_data(open_portal: Opener, capsys: pytest.CaptureFixture[str]) -> None:
    portal = open_portal()
    cold = portal.start()
    assert portal.answers()
    assert re.search(r"Sign in as \S+ with the password \S+", portal.output)
    admin = people(portal)
    assert eventually(lambda: len(portal.processes("celery")) >= 4)  # worker, its two children, scheduler
    for name in ("secrets.json", "environment.json"):
        assert (portal.data / name).stat().st_mode & 0o077 == 0

    # A process that dies is started again, and the terminal says so.
    for pid in portal.processes("granian"):
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: "The web process ended" in portal.output)
    assert eventually(portal.answers)

    # So is a database that does not come back at once: whatever keeps it down, the rest goes on, and so does it when that is gone.
    settings = portal.data / "postgres" / "postgresql.conf"
    usual = settings.read_text()
    settings.write_text(usual + "nonsense = on\n")
    for pid in portal.processes("postgres"):
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: portal.output.count("PostgreSQL ended") >= 2)
    settings.write_text(usual)
    assert eventually(lambda: reaches(portal))
    assert portal.answers()

    os.kill(portal.supervisor, signal.SIGKILL)
    assert eventually(lambda: not portal.processes()), "kill -9 of the supervisor left processes"

    warm = portal.start()
    with capsys.disabled():
        print(f"\nmake up: cold {cold:.1f} s, warm after kill -9 {warm:.1f} s")
    assert warm < 10  # the figure is 5 s on an idle machine; this one runs other tests
    assert portal.answers()
    assert people(portal) == admin
    assert "password" not in portal.output

    check_other_terminal(portal)

    assert portal.make is not None
    os.kill(portal.make.pid, signal.SIGKILL)
    assert eventually(lambda: not portal.processes()), "kill -9 of make left processes"

    portal.start()
    portal.end(signal.SIGINT)
    assert "Stopped." in portal.output
    assert not portal.processes()
    assert "Traceback" not in portal.output


def test_an_ordinary_user_can_run_it(open_portal: Opener) -> None:
    if os.geteuid() != 0:
        pytest.skip("the other tests run as an ordinary user already")
    entry = pwd.getpwnam("nobody")
    nobody = Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    # root's own Python is often out of reach; the system's runs the same packages where it is the very version: the lock goes by that.
    python = next(
        (path for path in (ROOT / ".venv/bin/python", Path("/usr/bin/python3")) if nobody.reaches(path) and same_version(path)), None
    )
    packages = Path(psycopg.__file__).parents[1]
    if python is None or not nobody.reaches(packages):
        pytest.skip("neither this Python nor a like one of the system is within another user's reach")
    portal = open_portal(
        uid=nobody.uid, command=["sh", "-c", f"exec {python} -m mission_control.embedded up"], HOME="/nonexistent", PYTHONPATH=str(packages)
    )
    portal.start()
    assert portal.answers()
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in portal.processes("postgres")} == {nobody.uid}
    portal.end(signal.SIGTERM)
    assert eventually(lambda: not portal.processes())


def same_version(python: Path) -> bool:
    asked = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:3])"], capture_output=True, text=True, check=False)
    return asked.stdout.split() == [str(part) for part in sys.version_info[:3]]


def test_root_keeps_the_data_where_the_service_account_reaches_them(open_portal: Opener) -> None:
    account = service_account()
    if account is None:
        pytest.skip("only root has to run PostgreSQL as someone else")
    portal = open_portal(mode=0o700)
    portal.start()
    assert portal.answers()
    named = re.search(r"^Database in (\S+): the account", portal.output, re.MULTILINE)
    assert named
    elsewhere = Path(named.group(1))
    assert (elsewhere / "postgres").stat().st_uid == account.uid
    assert portal.folder.stat().st_mode & 0o777 == 0o700, "the modes of parents are not ours to change"
    portal.end()
    subprocess.run(["rm", "-r", str(elsewhere)], check=True)


def refused(**environ: str) -> str:
    done = subprocess.run(
        ["make", "up"], cwd=ROOT, env=clean_environment(**environ), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    sentence, *rest = done.stderr.strip().splitlines()
    assert all(line.startswith("make:") for line in rest)
    return sentence


def test_a_taken_port_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"Port {port} is taken" in refused(PORT=str(port), DATA_DIR=str(tmp_path / "data"))
        sentence = refused(PORT=str(free_port()), STREAM_PORT=str(port), DATA_DIR=str(tmp_path / "data"))
        assert f"Port {port} is taken" in sentence and "make up STREAM_PORT=" in sentence


def test_an_unusable_folder_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder in ("/proc/nowhere", str(file), str(file / "below")):
        assert f"The data folder {folder} cannot be used" in refused(DATA_DIR=folder)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"PORT": "http"}, "PORT is 'http'; it must be a number"),
        ({"PORT": "65535"}, "STREAM_PORT is '65536'; it must be a number"),
        ({"PORT": "8000", "STREAM_PORT": "8000"}, "PORT and STREAM_PORT are both 8000"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "REDIS_URL set without DATABASE_URL and DATABASE_OWNER_URL"),
        (
            {
                "DATABASE_URL": "postgresql://a:secret@127.0.0.1:1/x",
                "DATABASE_OWNER_URL": "postgresql://b:secret@127.0.0.1:1/x",
                "REDIS_URL": "redis://127.0.0.1:1/0",
            },
            "DATABASE_URL (127.0.0.1) does not answer",
        ),
    ],
)
def test_settings_that_cannot_work_are_a_sentence(environ: dict[str, str], says: str, tmp_path: Path) -> None:
    sentence = refused(**{"DATA_DIR": str(tmp_path / "data"), **environ})
    assert says in sentence
    assert "secret" not in sentence
