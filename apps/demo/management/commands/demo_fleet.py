from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.demo.fleet.crew import Crew
from apps.demo.fleet.portal import Portal
from apps.demo.places import ROOT, Tokens, read_tokens, tokens_file

# New tokens are asked for at most so often, in seconds: it takes a process of its own.
RENEW_EVERY_S = 300.0


class Command(BaseCommand):
    help = (
        "The simulated fleet of the demo: agents that resolve, run, report and answer evaluations, and the people of its story. It knows "
        "the HTTP API and the tokens of demo-tokens.json, and never touches the database. Runs until it is stopped."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", default="", help="the portal; http://127.0.0.1:$PORT when left out")
        parser.add_argument("--pace", type=float, default=1.0, help="how long the story pauses: 0.5 is half as long as usual")
        parser.add_argument("--no-story", action="store_true", help="the agents only: nobody asks for promotions")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: stop.set())
        url = options["url"] or f"http://127.0.0.1:{os.environ.get('PORT') or 8000}"
        portal = Portal(url)
        try:
            Crew(portal, _Renewal(), self._say, None if options["no_story"] else options["pace"]).run(stop)
        finally:
            portal.close()

    def _say(self, sentence: str) -> None:
        self.stdout.write(f"{time.strftime('%H:%M:%S')} {sentence}")
        self.stdout.flush()


class _Renewal:
    """The tokens of the file; new ones are issued by another process, which may use the database."""

    def __init__(self) -> None:
        self._last = float("-inf")

    def __call__(self, force: bool) -> Tokens:
        if force and time.monotonic() - self._last > RENEW_EVERY_S:
            self._last = time.monotonic()
            # A demo that was removed stays so: only tokens of what is there.
            subprocess.run([sys.executable, "manage.py", "seed_demo", "--tokens-only"], cwd=ROOT, check=False, capture_output=True)
        return read_tokens(tokens_file())
