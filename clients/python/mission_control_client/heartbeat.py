"""Says regularly that this harness lives and what it serves, and brings back commands and what has become stale."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from .commands import Commands
from .errors import RefusedError, UnavailableError
from .resolving import Resolver
from .transport import Backoff, Transport

log = logging.getLogger("mission_control_client")

# What was resolved within so many seconds counts as served.
SERVED_WITHIN_S = 3600.0
# What one heartbeat may hold.
MAX_SERVING = 100
MAX_NAME = 200
SHORTEST_TTL_S, LONGEST_TTL_S = 1, 3600


class Heartbeat:
    """A thread of its own; `soon` makes the next beat come at once."""

    def __init__(
        self,
        transport: Transport,
        resolver: Resolver,
        commands: Commands,
        *,
        instance: str,
        interval_s: float,
        status: Callable[[], str] | str,
    ) -> None:
        self._transport = transport
        self._resolver = resolver
        self._commands = commands
        self._instance = _name(instance)
        self._interval_s = interval_s
        # The control plane counts a harness as gone after three times this.
        self._ttl_s = min(max(math.ceil(interval_s), SHORTEST_TTL_S), LONGEST_TTL_S)
        self._status = status
        self._wake = threading.Event()
        self._stopping = False
        self._backoff = Backoff(first_s=1.0, longest_s=60.0)
        # Seconds by which the control plane's clock is ahead of ours, about.
        self.clock_ahead_s: float | None = None
        self.last_beat: float | None = None
        self._thread = threading.Thread(target=self._run, name="mission-control-heartbeat", daemon=True)
        self._thread.start()

    def soon(self) -> None:
        self._wake.set()

    def beat(self) -> None:
        """One heartbeat. Raises UnavailableError, RefusedError."""
        acks = self._commands.acks()
        said = {
            "serving": self._resolver.serving(SERVED_WITHIN_S)[:MAX_SERVING],
            "acks": acks,
            "status": _name(self._status() if callable(self._status) else self._status),
            "instance": self._instance,
            "ttl_s": self._ttl_s,
        }
        answer = self._transport.post("heartbeat", json.dumps(said).encode())
        self._commands.acknowledged(acks)
        self.last_beat = time.monotonic()
        body = answer.body if isinstance(answer.body, dict) else {}
        self.clock_ahead_s = _ahead(str(body.get("server_time") or ""))
        if body.get("stale"):
            self._resolver.invalidate()
        self._commands.take(body.get("commands"))

    def close(self) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        while not self._stopping:
            wait = self._interval_s
            try:
                self.beat()
                self._backoff.reset()
            except UnavailableError as error:
                wait = min(self._backoff.wait_s(error.retry_after), max(self._interval_s, error.retry_after or 0.0))
            except RefusedError as error:
                log.error("The heartbeat was refused: %s", error)
                wait = max(self._interval_s, self._backoff.wait_s())
            except Exception:
                log.exception("The heartbeat failed.")
            self._wake.wait(wait)
            self._wake.clear()


def _name(text: str) -> str:
    """At most 200 characters, none of them a control character."""
    return "".join(letter if letter >= " " and letter != "\x7f" else " " for letter in text)[:MAX_NAME]


def _ahead(server_time: str) -> float | None:
    try:
        return (datetime.fromisoformat(server_time) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
