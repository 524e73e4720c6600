"""Commands to this harness: they come with heartbeats, telemetry answers and the stream, each possibly more than once."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

log = logging.getLogger("mission_control_client")

# Called with one command: {id, action, …}. Returning acknowledges it; raising leaves it for its next delivery.
OnCommand = Callable[[Mapping[str, Any]], None]
REMEMBERED = 10_000


class Commands:
    """Hands each command to the harness once, and remembers which are to be acknowledged."""

    def __init__(self, on_command: OnCommand | None, *, on_done: Callable[[], None]) -> None:
        self._on_command = on_command
        self._on_done = on_done
        self._handing = threading.Lock()
        self._lock = threading.Lock()
        self._done: OrderedDict[str, None] = OrderedDict()
        self._acks: OrderedDict[str, None] = OrderedDict()

    def take(self, commands: object) -> None:
        """What an answer or event brought. Without an `on_command` none is acknowledged."""
        if self._on_command is None or not isinstance(commands, list):
            return
        done = False
        # One at a time: two threads may bring the same command. Heartbeats go on meanwhile.
        with self._handing:
            for command in commands:
                identity = str(command.get("id") or "") if isinstance(command, dict) else ""
                if not identity:
                    continue
                if identity not in self._done:
                    try:
                        self._on_command(command)
                    except Exception:
                        log.exception("on_command failed for command %s; it is not acknowledged.", identity)
                        continue
                    self._done[identity] = None
                    if len(self._done) > REMEMBERED:
                        self._done.popitem(last=False)
                with self._lock:
                    self._acks[identity] = None
                done = True
        if done:
            self._on_done()

    def acks(self) -> list[str]:
        """Ids to acknowledge with the next heartbeat."""
        with self._lock:
            return list(self._acks)[:500]

    def acknowledged(self, acks: list[str]) -> None:
        with self._lock:
            for identity in acks:
                self._acks.pop(identity, None)
