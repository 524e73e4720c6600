"""Throw-away services for one test run: started by whichever process first needs them, gone with the run's main process.

`python -m mission_control.embedded.ephemeral` holds the servers; what to start stands in the variable `MC_TEST_RUN`.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from . import EmbeddedError, kept, urls
from .account import service_account
from .binaries import reachable_by
from .postgres import APPLICATION, OWNER, Passwords, Postgres
from .process import last_line
from .valkey import Valkey, free_port

VARIABLE = "MC_TEST_RUN"
_DATABASE = "mission_control"
# Short, and lower case: it is the host of a URL, which parsers fold.
_PREFIX = "/tmp/mc-test-"  # noqa: S108 -- the folder is made with mode 0700 or owned by root


@dataclass(frozen=True, slots=True)
class Run:
    """One test run: `embedded` tells whether its services are ours to start; `parent` is the process the servers live for."""

    id: str
    parent: int
    embedded: bool
    admin_password: str
    owner_password: str
    application_password: str
    redis_password: str
    redis_port: int
    application_url: str
    owner_url: str
    redis_url: str

    @property
    def folder(self) -> Path:
        return Path(f"{_PREFIX}{self.id}")

    def postgres(self) -> Postgres:
        account = service_account()
        return Postgres(
            binaries=reachable_by(account).postgres,
            data=self.folder / "postgres",
            sockets=self.folder / "s",
            log=self.folder / "postgres.log",
            passwords=Passwords(self.admin_password, self.owner_password, self.application_password),
            account=account,
            ephemeral=True,
        )

    def valkey(self) -> Valkey:
        account = service_account()
        return Valkey(
            binary=reachable_by(account).valkey,
            data=self.folder / "valkey",
            log=self.folder / "valkey.log",
            password=self.redis_password,
            port=self.redis_port,
            account=account,
            ephemeral=True,
        )

    @contextmanager
    def locked(self, name: str = "lock") -> Iterator[None]:
        """Only one process of the run at a time."""
        self.folder.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, exist_ok=True)
        with (self.folder / name).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def start(self) -> None:
        """Has the services running, once in a run. Does nothing when they are someone else's."""
        if not self.embedded:
            return
        ready = self.folder / "ready"
        with self.locked():
            if ready.exists():
                return
            log = self.folder / "holder.log"
            with log.open("wb") as output:
                command = [sys.executable, "-m", "mission_control.embedded.ephemeral"]
                holder = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    cwd=Path(__file__).parents[2],
                    env={**os.environ, VARIABLE: json.dumps(asdict(self))},
                )
            while not ready.exists():
                if holder.poll() is not None:
                    raise EmbeddedError(f"The services for the tests did not start: {last_line(log)}")
                time.sleep(0.02)


def current(environ: Mapping[str, str]) -> Run:
    """The run this process belongs to, or a new one with this process as its parent. Raises ValueError for an incomplete set of URLs."""
    if text := environ.get(VARIABLE):
        return Run(**json.loads(text))
    own = urls.given(environ)
    name = secrets.token_hex(5)
    passwords = kept.passwords() or Passwords()
    run = Run(
        id=name,
        parent=os.getpid(),
        embedded=own is None,
        admin_password=passwords.admin,
        owner_password=passwords.owner,
        application_password=passwords.application,
        redis_password=secrets.token_urlsafe(24),
        redis_port=0 if own else free_port(),
        application_url="",
        owner_url="",
        redis_url="",
    )
    if own:
        found = {"application_url": own["DATABASE_URL"], "owner_url": own["DATABASE_OWNER_URL"], "redis_url": own["REDIS_URL"]}
    else:
        postgres, valkey = run.postgres(), run.valkey()
        found = {
            "application_url": postgres.url(APPLICATION, _DATABASE),
            "owner_url": postgres.url(OWNER, _DATABASE),
            "redis_url": valkey.url(),
        }
    return Run(**{**asdict(run), **found})


def hold(run: Run) -> None:
    """Starts the services, says so with the file `ready`, and stays until the run's parent is gone or a signal comes."""
    _sweep()
    held = (run.folder / "held").open("w")
    fcntl.flock(held, fcntl.LOCK_EX)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda *_: None)
    parent = os.pidfd_open(run.parent)
    postgres, valkey, place = run.postgres(), run.valkey(), kept.place()
    try:
        postgres.sockets.mkdir(mode=0o700)
        if postgres.account:
            postgres.account.owns(postgres.sockets)
        valkey.launch()
        kept.restore(postgres, place)
        postgres.create()
        postgres.launch()
        postgres.wait()
        postgres.ensure_roles(_DATABASE)
        valkey.wait()
        (run.folder / "ready").touch()
        select.select([parent, reader], [], [])
        kept.keep(postgres, place)
    finally:
        postgres.stop()
        valkey.stop()
        shutil.rmtree(run.folder, ignore_errors=True)


def _sweep() -> None:
    """Removes what runs that were killed outright left behind: folders of ours, old, that nobody holds."""
    prefix = Path(_PREFIX)
    for folder in prefix.parent.glob(f"{prefix.name}*"):
        try:
            if folder.stat().st_uid != os.geteuid() or time.time() - folder.stat().st_mtime < 3600:
                continue
            with (folder / "held").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue


if __name__ == "__main__":
    try:
        hold(current(os.environ))
    except EmbeddedError as error:
        sys.exit(str(error))
