"""The stream as a process on the test's services, and its readers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mission_control.embedded.environment import ROOT
from mission_control.embedded.valkey import free_port


class StreamProcess:
    """granian with the stream, as `make up` starts it, with tight limits."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.log = folder / "stream.log"
        self.port = free_port()
        self.environ = {**os.environ, "STREAM_MAX_PER_TOKEN": "3", "RATE_FAILURES_PER_S": "1000", **environ}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1/stream"

    def start(self) -> None:
        command = [sys.executable, "-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(self.port), "--no-ws"]
        command += ["--workers-kill-timeout", "2", "--backpressure", "20000", "--http", "1", "mission_control.stream:application"]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < deadline and self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)


@dataclass(frozen=True, slots=True)
class Event:
    id: str
    name: str
    data: Any


class Reader:
    """One connection. `status` and `body` are of a refusal; events are read one at a time."""

    def __init__(
        self, port: int, token: str = "", *, last: str = "", target: str = "/api/v1/stream", method: str = "GET", buffer: int = 0
    ) -> None:
        self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(6)
        self.socket.connect(("127.0.0.1", port))
        lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", "Accept: text/event-stream"]
        lines += [f"Authorization: Bearer {token}"] if token else []
        lines += [f"Last-Event-ID: {last}"] if last else []
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self.file = self.socket.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()
        self.body = json.loads(self.file.read(int(self.headers["content-length"])) or b"null") if self.status != 200 else None
        self.text = b""

    def next(self) -> Event | None:
        """The next event, pings too; None when the other side has ended the stream. Raises TimeoutError after six seconds of silence."""
        while b"\n\n" not in self.text:
            size = int(self.file.readline() or b"0", 16)
            if size == 0:
                return None
            self.text += self.file.read(size)
            self.file.readline()
        block, _, self.text = self.text.partition(b"\n\n")
        fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
        return Event(fields["id"], fields["event"], json.loads(fields["data"])) if "event" in fields else self.next()

    def event(self) -> Event:
        """The next one that is no ping."""
        while (found := self.next()) is not None and found.name == "ping":
            pass
        assert found is not None, "the stream ended"
        return found

    def ended(self) -> bool:
        """Reads on until the other side ends the stream; False after six seconds of silence."""
        try:
            while self.next() is not None:
                pass
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self.file.close()
        self.socket.close()
