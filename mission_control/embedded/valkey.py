"""An embedded Valkey: broker and cache. It keeps an append-only file, so that a restart loses no task."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import EmbeddedError
from .account import Account
from .process import spawn, stop, wait_until


@dataclass(slots=True)
class Valkey:
    """One server on a loopback port, in the folder `data`."""

    binary: Path
    data: Path
    log: Path
    password: str
    port: int
    account: Account | None = None
    ephemeral: bool = False
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: int = 0) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    def launch(self) -> None:
        """Starts the server without waiting for it; `wait` follows."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        if self.account:
            self.account.owns(self.data)
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self.password,
            "dir": f'"{self.data}"',
            "databases": "64",
            "appendonly": "no" if self.ephemeral else "yes",
            "appendfsync": "everysec",
            "save": '""',
            # What a broker holds must never be evicted; a full server refuses instead.
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        with self.log.open("ab") as output:
            # The configuration goes in by a pipe: a command line would show the password to every user of the machine.
            self.process = spawn(
                [str(self.binary), "-"],
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                cwd=self.data,
                output=output,
                account=self.account,
                death_signal=signal.SIGKILL if self.ephemeral else signal.SIGTERM,
                stdin=subprocess.PIPE,
            )
        assert self.process.stdin is not None
        try:
            with self.process.stdin as pipe:
                pipe.write("".join(f"{name} {value}\n" for name, value in settings.items()).encode())
        except BrokenPipeError:
            raise EmbeddedError(f"Valkey ended at once; see {self.log}.") from None

    def wait(self) -> None:
        """Returns once the server answers a PING. Raises EmbeddedError with the reason when it does not."""
        assert self.process is not None
        wait_until(self._answers, self.process, what="Valkey", timeout_s=60, log=self.log)

    def stop(self) -> None:
        """Writes the file out and ends the server."""
        if self.process is not None:
            stop(self.process, signum=signal.SIGTERM, grace_s=10)
            self.process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2 and (part := connection.recv(256)):
                    answer += part
        except OSError:
            return False
        # Another program that took the port would not know the password.
        return answer.startswith(b"+OK\r\n+PONG")


def free_port() -> int:
    """A loopback port that nobody listens on, outside the range the kernel hands to outgoing connections, so that it stays free."""
    for _ in range(200):
        port = random.SystemRandom().randrange(20000, 32000)
        if port_is_free(port):
            return port
    raise EmbeddedError("No free port between 20000 and 32000.")


def port_is_free(port: int) -> bool:
    """Whether a server could listen on the loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
