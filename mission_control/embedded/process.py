"""Child processes that cannot outlive their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from . import EmbeddedError
from .account import Account

_PR_SET_PDEATHSIG = 1

if not sys.platform.startswith("linux"):
    raise EmbeddedError("The embedded services need Linux; elsewhere set DATABASE_URL, DATABASE_OWNER_URL and REDIS_URL.")

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, signum: int = signal.SIGKILL) -> None:
    """Has the kernel send `signum` to this process when its parent `parent` dies; leaves at once when that has already happened.

    To be called after a change of user (which clears the setting) and from the process itself (a fork does not inherit it).
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)


def spawn(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    output: IO[bytes] | int,
    account: Account | None = None,
    death_signal: int = signal.SIGKILL,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Starts a child that gets `death_signal` when this process dies, in its own session so that Ctrl-C reaches the supervisor only.

    Must be called from the main thread: the kernel ties the signal to the thread that forks.
    """
    parent = os.getpid()

    def in_child() -> None:  # runs after the change of user
        die_with_parent(parent, death_signal)

    return subprocess.Popen(
        list(command),
        env=dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=in_child,  # noqa: PLW1509 -- called by processes with one thread, or before others do anything
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def stop(process: subprocess.Popen[bytes], *, signum: int = signal.SIGTERM, grace_s: float = 5.0) -> None:
    """Asks the process to end, waits `grace_s` seconds, then kills it with its group. Returns once it is gone."""
    if process.poll() is None:
        process.send_signal(signum)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    # The group also holds what it started: nothing of it may stay.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], *, what: str, timeout_s: float, log: Path) -> None:
    """Waits for `ready`. Raises EmbeddedError when the process ends first or the time is up, with the last line of its log."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if process.poll() is not None:
            raise EmbeddedError(f"{what} did not start (exit code {process.returncode}): {last_line(log)}")
        if time.monotonic() > deadline:
            raise EmbeddedError(f"{what} did not answer within {timeout_s:.0f} s: {last_line(log)}")
        time.sleep(0.01)


def last_line(log: Path) -> str:
    """The last line of a log file that says something, for a message about a process that failed."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()[-20:] if line.strip()]
    except OSError:
        return f"see {log}"
    return f"{lines[-1]} (see {log})" if lines else f"it wrote nothing to {log}"
