"""The data folder of one embedded installation: who holds it, its secrets, what is already done in it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from . import EmbeddedError
from .account import Account, service_account
from .binaries import reachable_by, shared_folder
from .environment import PUBLISHED, ROOT
from .postgres import Passwords, Postgres
from .valkey import Valkey, free_port, port_is_free

_LOG_BYTES = 10 * 1024 * 1024


@dataclass(slots=True)
class Instance:
    """One data folder, held with a lock for as long as the supervisor lives."""

    folder: Path
    secrets: dict[str, Any]
    lock: IO[str]

    @classmethod
    def open(cls, folder: Path) -> Instance:
        """Makes or takes the folder. Raises EmbeddedError when it cannot be written or another supervisor holds it."""
        try:
            # As root the service account has to pass through; what is secret in here has a mode of its own.
            folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            (folder / "logs").mkdir(exist_ok=True)
            lock = (folder / "lock").open("a+")
        except OSError as error:
            raise EmbeddedError(
                f"The data folder {folder} cannot be used ({error.strerror}: {error.filename}); set DATA_DIR to a folder that you may write to."
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise EmbeddedError(
                f"Mission Control already runs on {folder} (process {holder}); stop it, or set DATA_DIR and PORT for a second one."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        instance = cls(folder, {}, lock)
        instance.secrets = instance._load_secrets()
        return instance

    def _load_secrets(self) -> dict[str, Any]:
        path = self.folder / "secrets.json"
        try:
            found: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            if (self.folder / "postgres").exists():
                raise EmbeddedError(
                    f"{path} is missing, and with it the passwords of the database beside it; restore it, or remove {self.folder} to begin anew."
                ) from None
            found = {
                "id": secrets.token_hex(5),
                "secret_key": secrets.token_urlsafe(48),
                "postgres": asdict(Passwords()),
                "redis_password": secrets.token_urlsafe(24),
                "redis_port": free_port(),
            }
            self._write("secrets.json", found)
        except (OSError, ValueError) as error:
            raise EmbeddedError(f"{path} cannot be read ({error}); restore it, or remove {self.folder} to begin anew.") from None
        return found

    def _write(self, name: str, value: object) -> None:
        """Writes a file of mode 0600 whole or not at all."""
        part = self.folder / f"{name}.part"
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(value, file, indent=1)
        part.replace(self.folder / name)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / name).read_text())
        except (OSError, ValueError):
            return {}
        return found

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self.folder / "logs" / f"{name}.log"

    def trim_logs(self) -> None:
        """A log past 10 MiB is begun anew, the one before is kept. Processes append, so they go on at the new end."""
        for path in (self.folder / "logs").glob("*.log"):
            if path.stat().st_size > _LOG_BYTES:
                shutil.copyfile(path, path.with_suffix(".log.1"))
                os.truncate(path, 0)

    def publish(self, environ: Mapping[str, str]) -> None:
        """Lets `manage.py` in another terminal find the running services."""
        self._write(PUBLISHED, dict(environ))

    # What was done: kept for each database, since a data folder may be used with several of one's own.

    def done(self, database: str, step: str) -> str:
        """The mark left by `mark`, or "" when the step was never done for this database."""
        return str(self._read("state.json").get(_key(database), {}).get(step, ""))

    def mark(self, database: str, step: str, value: str) -> None:
        state = self._read("state.json")
        state.setdefault(_key(database), {})[step] = value
        self._write("state.json", state)

    # Processes of a supervisor that was killed.

    def remember(self, processes: Iterable[int]) -> None:
        """Notes what is running, for the start after a crash."""
        self._write("processes.json", {str(pid): _started(pid) for pid in processes})

    def forget(self) -> None:
        (self.folder / "processes.json").unlink(missing_ok=True)

    def wait_for_leftovers(self) -> None:
        """After a crash: waits until what it left is gone (the kernel has told it), and after 10 s kills it."""
        deadline = time.monotonic() + 10
        for text, started in self._read("processes.json").items():
            pid = int(text)
            while started and _started(pid) == started:
                if time.monotonic() > deadline:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except OSError:
                        break
                time.sleep(0.05)
        self.forget()

    # Services.

    def services(self) -> tuple[Postgres, Valkey]:
        """The two servers of this installation, not yet started."""
        data = self._service_folder()
        account = service_account(data / "postgres")
        binaries = reachable_by(account)
        if not port_is_free(self.secrets["redis_port"]):
            self.secrets["redis_port"] = free_port()
            self._write("secrets.json", self.secrets)
        postgres = Postgres(
            binaries=binaries.postgres,
            data=data / "postgres",
            sockets=self._socket_folder(account),
            log=self.log("postgres"),
            passwords=Passwords(**self.secrets["postgres"]),
            account=account,
        )
        valkey = Valkey(
            binary=binaries.valkey,
            data=data / "valkey",
            log=self.log("valkey"),
            password=self.secrets["redis_password"],
            port=self.secrets["redis_port"],
            account=account,
        )
        return postgres, valkey

    def _service_folder(self) -> Path:
        """Where the servers keep their data: here, or where the service account can reach it."""
        account = service_account(self.folder / "postgres")
        if account is None or account.reaches(self.folder):
            return self.folder
        folder = shared_folder() / str(self.secrets["id"])
        folder.mkdir(mode=0o711, exist_ok=True)
        (folder / "origin").write_text(f"{self.folder}\n")
        return folder

    def _socket_folder(self, account: Account | None) -> Path:
        """A folder of ours with a short, lower-case path. Raises EmbeddedError when someone else made it first."""
        folder = Path(f"/tmp/mission-control-{self.secrets['id']}")  # noqa: S108 -- owner and mode are checked
        folder.mkdir(mode=0o700, exist_ok=True)
        owner = account.uid if account else os.geteuid()
        if account and folder.lstat().st_uid == os.geteuid():
            account.owns(folder)
        status = folder.lstat()
        if folder.is_symlink() or status.st_uid != owner or status.st_mode & 0o077:
            raise EmbeddedError(f"{folder} belongs to someone else or is open to others; remove it and start again.")
        return folder


def fingerprint() -> str:
    """Of everything that decides the database's schema and grants: when it has not changed, there is nothing to migrate."""
    digest = hashlib.sha256()
    files = [*ROOT.glob("apps/*/migrations/*.py"), *ROOT.glob("mission_control/settings/*.py")]
    files += [ROOT / "mission_control/grants.py", ROOT / "apps/core/grants.py", ROOT / "requirements.lock"]
    for path in sorted(files):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _key(database: str) -> str:
    return hashlib.sha256(database.encode()).hexdigest()[:16]


def _started(pid: int) -> str:
    """When process `pid` began, in clock ticks since boot, or "" when it is gone: tells a process from a later one with its number."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = status[status.rindex(")") + 2 :].split()
    return "" if fields[0] == "Z" else fields[19]
