"""The portal as processes on the test's own database and broker: what a demo process meets in earnest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import redis

from apps.demo.places import ROOT
from mission_control.embedded.valkey import free_port

PYTHON = sys.executable
SETTINGS = "mission_control.settings.dev"


class Portal:
    """Web and worker, with the settings of `make up` (caches on), and whatever a test starts beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": SETTINGS,
            "DATA_DIR": str(folder),
            "PORT": str(self.port),
            "PYTHONUNBUFFERED": "1",
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        # What other tests have enqueued is about databases that are gone.
        redis.Redis.from_url(os.environ["REDIS_URL"]).flushdb()
        celery = ["-m", "celery", "--app", "mission_control", "worker", "--beat", "--pool", "solo", "--without-gossip", "--without-mingle"]
        self.run("worker", *celery, "--schedule", str(self.folder / "beat"), "--pidfile", "")
        self.start_web()

    def start_web(self) -> None:
        granian = [
            "--interface",
            "wsgi",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--workers",
            "1",
            "--no-ws",
            "--blocking-threads",
            "4",
        ]
        self.run("web", "-m", "granian", *granian, "mission_control.wsgi:application")
        assert eventually(self.answers, timeout_s=30), self.output("web")

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def run(self, name: str, *arguments: str, environ: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Starts a Python process in a session of its own; its output is kept."""
        with (self.folder / f"{name}.log").open("ab") as output:
            process = subprocess.Popen(
                [PYTHON, *arguments],
                cwd=ROOT,
                env={**self.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [PYTHON, "manage.py", *arguments]
        return subprocess.run(command, cwd=ROOT, env=self.environ, capture_output=True, text=True, check=False, timeout=150)

    def output(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def kill(self, *names: str, signum: int = signal.SIGKILL) -> None:
        for name in names:
            process = self.processes.pop(name)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signum)
            process.wait(20)

    def close(self) -> None:
        self.kill(*self.processes)


def eventually(condition: Callable[[], bool], *, timeout_s: float, every_s: float = 0.1) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True
