"""An embedded PostgreSQL: made once, started with its parent, with the two roles of the house."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from . import EmbeddedError
from .account import Account
from .process import last_line, spawn, stop, wait_until

OWNER = "mc_owner"
APPLICATION = "mc_app"
_ADMIN = "mc_admin"

# Telemetry comes in bursts: with little WAL between checkpoints most of it would be whole pages, written again after each of them.
_DURABLE = {"max_connections": "100", "max_wal_size": "4GB", "checkpoint_timeout": "15min"}
# A test cluster is thrown away, so nothing needs to reach the disk.
_EPHEMERAL = {
    "shared_buffers": "128MB",
    "max_connections": "200",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "io_method": "sync",
}


@dataclass(frozen=True, slots=True)
class Passwords:
    """Of the three roles of an embedded cluster; all log in with SCRAM."""

    admin: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    owner: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    application: str = field(default_factory=lambda: secrets.token_urlsafe(24))


@dataclass(slots=True)
class Postgres:
    """One cluster. `data` is its folder, `sockets` a folder with a short path (a socket's path holds 107 bytes), `log` a file.

    `port` None means no TCP at all: the socket only.
    """

    binaries: Path
    data: Path
    sockets: Path
    log: Path
    passwords: Passwords
    account: Account | None = None
    port: int | None = None
    ephemeral: bool = False
    process: subprocess.Popen[bytes] | None = None

    def url(self, role: str, database: str) -> str:
        """The URL of a database for `mc_owner`, `mc_app` or the cluster's own administrator, over the socket."""
        password = {OWNER: self.passwords.owner, APPLICATION: self.passwords.application, _ADMIN: self.passwords.admin}[role]
        return f"postgresql://{role}:{password}@{quote(str(self.sockets), safe='')}:{self._port}/{database}"

    @property
    def admin_url(self) -> str:
        """The cluster's own administrator's, of the database that every cluster has."""
        return self.url(_ADMIN, "postgres")

    @property
    def _port(self) -> int:
        return self.port or 5432

    @property
    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "PGTZ": "UTC"}

    def create(self) -> None:
        """Makes the cluster if there is none, beside its place, so that an interrupted `initdb` never looks like a cluster."""
        if self.exists():
            return
        part = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        secret = part.with_suffix(".password")
        secret.touch(mode=0o600)
        secret.write_text(self.passwords.admin)
        if self.account:
            self.account.owns(part)
            self.account.owns(secret)
        command = [str(self.binaries / "initdb"), f"--pgdata={part}", f"--username={_ADMIN}", f"--pwfile={secret}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command += ["--data-checksums", *(["--no-sync"] if self.ephemeral else [])]
        with self.log.open("ab") as output:
            process = spawn(command, env=self._environment, cwd=part, output=output, account=self.account)
            code = process.wait()
        secret.unlink()
        if code != 0:
            raise EmbeddedError(f"initdb failed (exit code {code}): {last_line(self.log)}")
        part.rename(self.data)

    def exists(self) -> bool:
        return (self.data / "PG_VERSION").exists()

    def launch(self) -> None:
        """Starts the server without waiting for it; `wait` follows. What a killed supervisor left is ended first."""
        self._end_leftover()
        settings = {
            **(_EPHEMERAL if self.ephemeral else {"shared_buffers": f"{_buffers_mib()}MB", **_DURABLE}),
            "port": str(self._port),
            "listen_addresses": "127.0.0.1" if self.port else "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0777",  # the folder is 0700, and passwords are asked for
            "jit": "off",
            "log_min_duration_statement": "5s",
        }
        command = [str(self.binaries / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as output:
            self.process = spawn(
                command,
                env=self._environment,
                cwd=self.data,
                output=output,
                account=self.account,
                # "Fast" shutdown: sessions end, the cluster is clean, the next start is warm.
                death_signal=signal.SIGQUIT if self.ephemeral else signal.SIGINT,
            )

    def wait(self) -> None:
        """Returns once the server takes connections. Raises EmbeddedError with the reason when it does not."""
        assert self.process is not None
        pid = str(self.process.pid)
        wait_until(lambda: self._status() == (pid, "ready"), self.process, what="PostgreSQL", timeout_s=300, log=self.log)

    def ensure_roles(self, database: str) -> None:
        """Creates the two roles and the owner's database where they are missing."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            known = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
            for role, rights, password in (
                (OWNER, "CREATEDB NOSUPERUSER NOCREATEROLE NOBYPASSRLS", self.passwords.owner),
                (APPLICATION, "NOCREATEDB NOSUPERUSER NOCREATEROLE NOBYPASSRLS", self.passwords.application),
            ):
                if role not in known:
                    statement = sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}")
                    connection.execute(statement.format(sql.Identifier(role), sql.SQL(rights), sql.Literal(password)))
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(OWNER)))

    def stop(self) -> None:
        """Ends all sessions, writes a checkpoint and ends the server."""
        if self.process is not None:
            stop(self.process, signum=signal.SIGQUIT if self.ephemeral else signal.SIGINT, grace_s=15)
            self.process = None

    def _status(self) -> tuple[str, str]:
        """Process id and state (line 8) of postmaster.pid."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return "", ""
        return (lines[0].strip(), lines[7].strip()) if len(lines) > 7 else ("", "")

    def _end_leftover(self) -> None:
        """Waits for a server of this cluster that is still shutting down; removes a pid file whose number another program has now."""
        path = self.data / "postmaster.pid"
        deadline = time.monotonic() + 10
        while (pid := _pid_in(path)) is not None:
            if not _serves(pid, self.data):
                path.unlink(missing_ok=True)
                return
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGQUIT)
                deadline += 10
            time.sleep(0.05)


def _buffers_mib() -> int:
    """An eighth of the memory that this machine, or the group of processes that this one is confined to, may use: 256 MiB to 4 GiB. Only what
    is used of it is ever taken."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return max(256, min(memory // 8 // 2**20, 4096))


def _pid_in(path: Path) -> int | None:
    try:
        match = re.match(r"\d+", path.read_text())
    except OSError:
        return None
    return int(match.group()) if match else None


def _serves(pid: int, data: Path) -> bool:
    """Whether process `pid` is a server of this cluster: a postmaster's working folder is its data folder."""
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")) == data.resolve()
    except OSError:
        return False
