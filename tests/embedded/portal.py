"""Drives `make up` from outside, as a person at a terminal would."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from mission_control.embedded import ephemeral
from mission_control.embedded.environment import ROOT
from mission_control.embedded.valkey import free_port

READY = re.compile(r"^Mission Control is at (\S+) \(started in ([\d.]+) s\)", re.MULTILINE)
_OF_THE_TESTS = {"DJANGO_SETTINGS_MODULE", "DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "SECRET_KEY", ephemeral.VARIABLE}


def clean_environment(**more: str) -> dict[str, str]:
    """What a terminal has: nothing of this test run."""
    found = {name: value for name, value in os.environ.items() if name not in _OF_THE_TESTS and not name.startswith("PYTEST")}
    return {**found, "MAKEFLAGS": "", "MAKELEVEL": "0", **more}


class Portal:
    """One data folder and the `make up` that runs on it."""

    def __init__(self, *, mode: int = 0o755, uid: int | None = None, command: Sequence[str] = ("make", "up"), **environ: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mc-e2e-", dir="/tmp"))
        self.folder.chmod(mode)
        self.uid = uid
        self.command = list(command)
        if uid is not None:
            os.chown(self.folder, uid, uid)
        self.data = self.folder / "data"
        self.port = free_port()
        self.environ = clean_environment(PORT=str(self.port), STREAM_PORT=str(free_port()), DATA_DIR=str(self.data), DEMO="0")
        self.environ.update(environ)
        self.make: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def output(self) -> str:
        """What the terminal shows since the last start."""
        return (self.folder / f"output-{self.starts}").read_text()

    @property
    def supervisor(self) -> int:
        return int((self.data / "lock").read_text())

    def start(self, *, timeout_s: float = 90) -> float:
        """Runs `make up` until it says where the portal is; the seconds it took."""
        begun = time.monotonic()
        self.launch()
        assert self.make is not None
        while not READY.search(self.output):
            assert self.make.poll() is None, self.output
            assert time.monotonic() - begun < timeout_s, f"not up after {timeout_s} s:\n{self.output}"
            time.sleep(0.05)
        return time.monotonic() - begun

    def launch(self) -> None:
        self.starts += 1
        with (self.folder / f"output-{self.starts}").open("wb") as output:
            self.make = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                user=self.uid,
                group=self.uid,
                extra_groups=None if self.uid is None else [],
            )

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def end(self, signum: int = signal.SIGINT) -> int:
        """Ctrl-C, and the exit code of make."""
        assert self.make is not None
        os.killpg(self.make.pid, signum)
        return self.make.wait(40)

    def processes(self, name: str = "") -> list[int]:
        """Living processes that belong to this data folder, by their command, folder or environment."""
        mark = str(self.folder).encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                if (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    continue
                command = (entry / "cmdline").read_bytes()
                own = mark in command or mark in os.fsencode(os.readlink(entry / "cwd")) or mark in (entry / "environ").read_bytes()
            except OSError:
                continue
            if own and name.encode() in command:
                found.append(int(entry.name))
        return found

    def close(self) -> None:
        """Leaves nothing behind, however the test ended."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.make is not None:
            self.make.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


def eventually(condition: Callable[[], bool], *, timeout_s: float = 15) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
