"""`make up` from an empty data folder and warm, until the portal answers that it is ready."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator

from benchmarks.stage import free_port, wait_for
from mission_control.embedded.environment import ROOT

OWN_SERVICES = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE", "SECRET_KEY")


def run() -> Iterator[tuple[str, str]]:
    data = tempfile.mkdtemp(prefix="mc-bench-up-", dir="/tmp")
    os.chmod(data, 0o755)
    try:
        for what in ("cold: empty data folder, packages installed, demo seeded", "warm"):
            port = free_port()
            environ = {name: value for name, value in os.environ.items() if name not in OWN_SERVICES}
            begun = time.perf_counter()
            process = subprocess.Popen(
                ["make", "up"],
                cwd=ROOT,
                env={**environ, "PORT": str(port), "DATA_DIR": f"{data}/data"},
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            wait_for(f"http://127.0.0.1:{port}/readyz", timeout_s=180)
            yield f"`make up`, {what}, until ready", f"{time.perf_counter() - begun:.1f} s"
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)
    finally:
        shutil.rmtree(data, ignore_errors=True)
