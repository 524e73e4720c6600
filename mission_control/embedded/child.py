"""Runs granian or Celery so that the processes they fork die with them: `python -m mission_control.embedded.child celery …`."""

from __future__ import annotations

import multiprocessing
import os
import sys

from mission_control.embedded.process import die_with_parent

_parent = os.getpid()


def _before() -> None:
    global _parent
    _parent = os.getpid()


def main() -> None:
    # A fork does not inherit the kernel's setting, so each child makes its own.
    os.register_at_fork(before=_before, after_in_child=lambda: die_with_parent(_parent))
    program = sys.argv[1]
    sys.argv = sys.argv[1:]
    if program == "granian":
        from granian.cli import entrypoint

        entrypoint()  # type: ignore[no-untyped-call]
    elif program == "celery":
        from celery.__main__ import main as celery

        celery()
    else:
        sys.exit(f"Not known: {program}")


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__" and (_spawner := multiprocessing.parent_process()):
    # From Python 3.14 on granian starts its workers afresh ("spawn"), which imports this file under this name first.
    die_with_parent(_spawner.pid or 0)
