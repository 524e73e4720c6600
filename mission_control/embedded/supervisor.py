"""`make up`: starts the services and the portal's processes, keeps them running, and takes all of them down with itself."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psycopg

from . import EmbeddedError, urls
from .environment import ROOT, data_folder, load_file
from .instance import Instance, fingerprint
from .postgres import APPLICATION, OWNER, Postgres
from .process import die_with_parent, last_line, spawn, stop
from .valkey import Valkey

DATABASE = "mission_control"
DEVELOPMENT = "mission_control.settings.dev"
_STEADY_S = 60  # a process that ran this long begins its back-off anew
_LONGEST_WAIT_S = 30.0
_PARTITION_DAYS = 7  # telemetry's tables, made ahead


class Stop(Exception):  # noqa: N818 -- not an error
    """A signal asked us to end."""


class Signals:
    """Notes that a signal asked us to end; `check` raises Stop. Raised from the handler itself, it could hit any line, or be lost in
    one that swallows exceptions."""

    def __init__(self) -> None:
        self.asked = False
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._note)

    def _note(self, signum: int, frame: object) -> None:
        self.asked = True

    def check(self) -> None:
        if self.asked:
            raise Stop


@dataclass(slots=True)
class Restarts:
    """When what has ended is due to be started again: later and later while it keeps ending. Moments are of `time.monotonic()`."""

    started: float = 0.0
    failures: int = 0
    due: float = 0.0

    def begun(self) -> None:
        self.started, self.due = time.monotonic(), 0.0

    def ended(self, now: float, *, first: float = 1.0) -> float:
        """Notes that it has; the seconds until it is due: `first`, unless it had been started again just before."""
        self.failures = 1 if now - self.started > _STEADY_S else self.failures + 1
        wait = first if self.failures == 1 else min(2.0 ** (self.failures - 1), _LONGEST_WAIT_S)
        self.due = now + wait
        return wait


@dataclass(slots=True)
class Child:
    """A process of the portal, started again when it ends."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    restarts: Restarts = field(default_factory=Restarts)


@dataclass(slots=True)
class Supervisor:
    """Everything one `make up` runs; `environ` is what the processes are given."""

    instance: Instance
    environ: dict[str, str]
    port: int
    stream_port: int
    demo: bool
    signals: Signals
    postgres: Postgres | None = None
    valkey: Valkey | None = None
    children: list[Child] = field(default_factory=list)
    services: dict[str, Restarts] = field(default_factory=lambda: defaultdict(Restarts))
    logs_due: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Starts all, says where the portal is, and watches until a signal comes."""
        try:
            self._claim_ports()
            self._start_services()
            self._prepare()
            self._start_portal()
            while True:
                time.sleep(0.2)
                self.signals.check()
                self._watch()
        finally:
            self._stop()

    # Start.

    def _claim_ports(self) -> None:
        """Raises EmbeddedError when a port of the portal is taken; waits for what a killed supervisor left on it."""
        self.instance.wait_for_leftovers()
        for name, port in (("PORT", self.port), ("STREAM_PORT", self.stream_port)):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    if error.errno == errno.EADDRINUSE:
                        another = port + 1 if name == "PORT" or port + 1 != self.port else port + 2
                        raise EmbeddedError(
                            f"Port {port} is taken by another program; stop it, or choose another one: make up {name}={another}."
                        ) from None
                    raise EmbeddedError(f"Port {port} cannot be used ({error.strerror}); choose another one with {name}.") from None

    def _start_services(self) -> None:
        self.signals.check()
        own = urls.given(self.environ)
        if own:
            _check_reachable(own)
            say("Using the PostgreSQL and Redis of DATABASE_URL and REDIS_URL.")
            return
        postgres, valkey = self.postgres, self.valkey = self.instance.services()
        if postgres.data.parent != self.instance.folder:
            say(
                f"Database in {postgres.data.parent}: the account {postgres.account.name if postgres.account else ''} cannot reach this folder."
            )
        if not postgres.exists():
            say("Making the database (first start) …")
        valkey.launch()
        postgres.create()
        postgres.launch()
        self._remember()
        postgres.wait()
        if not self.instance.done(self.instance.secrets["id"], "roles"):
            postgres.ensure_roles(DATABASE)
            self.instance.mark(self.instance.secrets["id"], "roles", "1")
        valkey.wait()
        found: dict[str, str] = {
            "DATABASE_URL": postgres.url(APPLICATION, DATABASE),
            "DATABASE_OWNER_URL": postgres.url(OWNER, DATABASE),
            "REDIS_URL": valkey.url(),
        }
        self.environ.update(found)
        for name in ("SECRET_KEY", "PORT"):
            if name in self.environ:
                found[name] = self.environ[name]
        self.instance.publish(found)

    def _prepare(self) -> None:
        """Migrates, makes the first admin and the demo: only what has not been done, since each start of Django takes seconds."""
        database = self.instance.secrets["id"] if self.postgres else urls.without_password(self.environ["DATABASE_URL"])
        schema = fingerprint()
        steps: dict[str, str] = {}
        if self.instance.done(database, "migrate") != schema:
            steps["migrate"] = schema
        elif self.postgres is None:
            # Someone else may have put another database behind the same address.
            steps["migrate-if-pending"] = schema
        if not self.instance.done(database, "admin"):
            steps["admin"] = "1"
        if self.demo and not self.instance.done(database, "demo"):
            steps["demo"] = "1"
        if steps:
            self._run_steps(database, steps)
        # Days may have passed since the last start, and with them the partitions made ahead.
        with psycopg.connect(self.environ["DATABASE_URL"], autocommit=True) as connection:
            connection.execute("SELECT telemetry_make_partitions(%s)", [_PARTITION_DAYS])

    def _run_steps(self, database: str, steps: dict[str, str]) -> None:
        if "migrate" in steps:
            say("Migrating …")
        process = spawn(
            [sys.executable, "-m", "mission_control.embedded.prepare", *steps],
            env=self.environ,
            cwd=ROOT,
            output=sys.stdout.fileno(),
        )
        try:
            while process.poll() is None:
                self.signals.check()
                time.sleep(0.02)
        finally:
            stop(process, grace_s=1)
        if process.returncode != 0:
            raise EmbeddedError(f"Preparing the database failed (exit code {process.returncode}); the reason stands above.")
        for step, value in steps.items():
            self.instance.mark(database, step, value)

    def _start_portal(self) -> None:
        wrapper = [sys.executable, "-m", "mission_control.embedded.child"]
        web = ["granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1", "--no-ws"]
        web += ["--blocking-threads", "16", "--respawn-failed-workers", "--workers-kill-timeout", "3", "mission_control.wsgi:application"]
        stream = ["granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(self.stream_port), "--workers", "1", "--no-ws"]
        # A stream's request lasts for as long as its reader stays: what is too many says the application.
        stream += ["--http", "1", "--backlog", "4096", "--backpressure", "1000000", "--respawn-failed-workers"]
        stream += ["--workers-kill-timeout", "2", "mission_control.stream:application"]
        celery = ["celery", "--app", "mission_control"]
        self.children = [
            Child("web", [*wrapper, *web]),
            Child("stream", [*wrapper, *stream]),
            Child(
                "worker", [*wrapper, *celery, "worker", "--concurrency", "2", "--without-gossip", "--without-mingle", "--loglevel", "INFO"]
            ),
            Child("scheduler", [*wrapper, *celery, "beat", "--pidfile=", "--loglevel", "INFO"]),
        ]
        if self.demo:
            self.children.append(Child("fleet", [sys.executable, "manage.py", "demo_fleet"]))
        web_child, *others = self.children
        # The web alone first: what a person waits for should not share the processor with what they do not see.
        self._start(web_child)
        self._wait_for_web(web_child)
        say(f"Mission Control is at {self._address} (started in {time.monotonic() - self.begun:.1f} s). Ctrl-C stops it.")
        for child in others:
            self.signals.check()
            self._start(child)

    @property
    def _address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _wait_for_web(self, child: Child) -> None:
        deadline = time.monotonic() + 60
        log = self.instance.log(child.name)
        while not _answers(f"{self._address}/healthz"):
            self.signals.check()
            if child.process is None or child.process.poll() is not None:
                raise EmbeddedError(f"The web server ended at once: {last_line(log)}")
            if time.monotonic() > deadline:
                raise EmbeddedError(f"The web server did not answer within 60 s: {last_line(log)}")
            time.sleep(0.05)

    def _start(self, child: Child) -> None:
        with self.instance.log(child.name).open("ab") as output:
            child.process = spawn(child.command, env=self.environ, cwd=ROOT, output=output)
        child.restarts.begun()
        self._remember()

    def _remember(self) -> None:
        servers = [server.process for server in (self.postgres, self.valkey) if server]
        self.instance.remember(process.pid for process in [*servers, *(child.process for child in self.children)] if process)

    # Watch.

    def _watch(self) -> None:
        now = time.monotonic()
        for name, server in (("PostgreSQL", self.postgres), ("Valkey", self.valkey)):
            if server and server.process and server.process.poll() is not None:
                self._revive(name, server, now)
        if now > self.logs_due:
            self.instance.trim_logs()
            self.logs_due = now + 60
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                code = child.process.returncode
                stop(child.process, grace_s=0)  # what it forked
                child.process = None
                wait = child.restarts.ended(now)
                reason = last_line(self.instance.log(child.name))
                say(f"The {child.name} process ended (exit code {code}): {reason}. Starting it again in {wait:.0f} s.")
            if child.process is None and child.restarts.due and now >= child.restarts.due:
                self._start(child)

    def _revive(self, name: str, server: Postgres | Valkey, now: float) -> None:
        """Starts a service that has ended, and does not wait for it: one that recovers, or fails once more, takes nothing else down."""
        restarts = self.services[name]
        if not restarts.due:
            assert server.process
            wait = restarts.ended(now, first=0.0)
            say(f"{name} ended (exit code {server.process.returncode}): {last_line(server.log)}. Starting it again in {wait:.0f} s.")
        elif now >= restarts.due:
            server.launch()
            restarts.begun()
            self._remember()

    # End.

    def _stop(self) -> None:
        """The portal's processes together, then the broker, then the database."""
        running = [child.process for child in self.children if child.process is not None]
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 6
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            stop(process, grace_s=0)
        if self.valkey:
            self.valkey.stop()
        if self.postgres:
            self.postgres.stop()
            with suppress(OSError):
                self.postgres.sockets.rmdir()
        self.instance.forget()


def up() -> int:
    """Runs `make up` to its end; the exit code. What a person can mend is one sentence on standard error, and code 2."""
    parent = os.getppid()
    signals = Signals()
    try:
        # The recipe of the Makefile becomes this process, so this parent is make itself.
        die_with_parent(parent, signal.SIGTERM)
        load_file()
        folder = data_folder(os.environ)
        try:
            urls.given(os.environ)
        except ValueError as error:
            raise EmbeddedError(str(error)) from None
        port = _port("PORT", os.environ.get("PORT") or "8000")
        stream_port = _port("STREAM_PORT", os.environ.get("STREAM_PORT") or str(port + 1))
        if stream_port == port:
            raise EmbeddedError(f"PORT and STREAM_PORT are both {port}; the push stream needs one of its own.")
        instance = Instance.open(folder)
        environ = {**os.environ, "PORT": str(port), "DATA_DIR": str(folder.resolve()), "PYTHONUNBUFFERED": "1"}
        if environ.setdefault("DJANGO_SETTINGS_MODULE", DEVELOPMENT) == DEVELOPMENT:
            environ.setdefault("SECRET_KEY", instance.secrets["secret_key"])
        environ.setdefault("STREAM_URL", f"http://127.0.0.1:{stream_port}/api/v1/stream")
        environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [environ.get("PYTHONPATH")])])
        Supervisor(instance, environ, port, stream_port, demo=os.environ.get("DEMO", "1") != "0", signals=signals).run()
    except EmbeddedError as error:
        print(error, file=sys.stderr, flush=True)
        return 2
    except Stop:
        say("Stopped.")
    return 0


def say(text: str) -> None:
    """A line for the person at the terminal; a terminal that is gone stops nothing."""
    with suppress(OSError):
        print(text, flush=True)


def _port(name: str, text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise EmbeddedError(f"{name} is {text!r}; it must be a number from 1 to 65535.")
    return int(text)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 -- our own loopback address
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _check_reachable(own: dict[str, str]) -> None:
    """Raises EmbeddedError with the first service that does not answer, named by its variable and without its password."""
    import redis

    def ask_database(name: str) -> Callable[[], object]:
        return lambda: psycopg.connect(own[name], connect_timeout=5).close()

    checks: dict[str, Callable[[], object]] = {name: ask_database(name) for name in ("DATABASE_URL", "DATABASE_OWNER_URL")}
    checks["REDIS_URL"] = lambda: redis.Redis.from_url(own["REDIS_URL"], socket_connect_timeout=5).ping()
    for name, ask in checks.items():
        try:
            ask()
        except (psycopg.Error, redis.RedisError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())
            raise EmbeddedError(f"{name} ({urlsplit(own[name]).hostname or 'no host'}) does not answer: {reason}") from None
