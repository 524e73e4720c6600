"""Processes that die: forked from one that has Django loaded and has touched neither the storage's threads nor a connection.

`python -m tests.telemetry.crashing` reads a line for each, `<call> <tenant> <day> <step>` with `-` for no step, and prints how it ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any
from uuid import UUID


class Crashes:
    """`killed("archive", tenant, day, "put")`: whether a process that did this was killed at that step, or came to its end before."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def killed(self, call: str, tenant_id: UUID, day: date, step: str = "-") -> bool:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{call} {tenant_id} {day} {step}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer in ("killed", "done"), answer
        return answer == "killed"


@contextmanager
def crashes(**settings: str) -> Iterator[Crashes]:
    """Names and values of `settings` replace those of the portal."""
    command = [sys.executable, "-m", "tests.telemetry.crashing", *[f"{name}={value}" for name, value in settings.items()]]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Crashes(process)
    finally:
        process.kill()
        process.wait()


def _calls() -> dict[str, Callable[[UUID, date, Callable[[str], None]], Any]]:
    from django.db import connection, transaction

    from apps.telemetry.services.archiving import BusyError, archive_day
    from apps.telemetry.services.releasing import drop_days

    def release(tenant_id: UUID, day: date, reached: Callable[[str], None]) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT * FROM telemetry_release(%s)", [day])
            reached("uncommitted")

    def archive(tenant_id: UUID, day: date, reached: Callable[[str], None]) -> None:
        while True:
            try:
                archive_day(tenant_id=tenant_id, day=day, reached=reached)
                return
            except BusyError:
                # The server has not noticed yet that the process before is dead.
                time.sleep(0.02)

    return {
        "archive": archive,
        "drop": lambda tenant_id, day, reached: drop_days(reached=reached),
        "release": release,
    }


def main() -> None:
    import django

    django.setup()
    from django.conf import settings

    from apps.telemetry.services import archive_files

    for each in sys.argv[1:]:
        name, _, value = each.partition("=")
        setattr(settings, name, value)
    # Several parts of each kind, so that a crash between parts is one.
    archive_files.PART_ROWS = 4
    calls = _calls()
    for line in sys.stdin:
        call, tenant_id, day, step = line.split()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                calls[call](UUID(tenant_id), date.fromisoformat(day), _killing(step))
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else "done" if status == 0 else "failed", flush=True)


def _killing(at: str) -> Callable[[str], None]:
    def reached(step: str) -> None:
        if step == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


if __name__ == "__main__":
    main()
