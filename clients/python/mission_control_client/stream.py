"""The push stream: Server-Sent Events, read by a thread that comes back by itself to where it was."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from .errors import RefusedError, UnavailableError
from .transport import USER_AGENT, Backoff, Transport, read

log = logging.getLogger("mission_control_client")

# The control plane says something every 15 seconds: after three times nothing the connection is dead.
SILENCE_S = 45.0
# After a refusal (a revoked token, no such route) nothing changes soon.
REFUSED_S = 30.0
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event: `pack.changed`, `pack.rolled_back`, `control`, `resync`; `data` is its JSON."""

    id: str
    event: str
    data: Any


OnEvent = Callable[[StreamEvent], None]


def parse(lines: Iterable[str]) -> Iterator[tuple[str, str, str, int | None]]:
    """(id, event, data, retry in ms) of each block of a text/event-stream (WHATWG HTML, 9.2.6); a block without data has event ""."""
    identity, event = "", ""
    data: list[str] = []
    retry: int | None = None
    for line in lines:
        if not line:
            if data or retry is not None:
                yield identity, event or "message" if data else "", "\n".join(data), retry
            identity, event, data, retry = "", "", [], None
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            identity = value
        elif name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif name == "retry" and value.isdigit():
            retry = int(value)


class Listener:
    """Reads until it is closed. `on_event` gets every event but pings; `on_gap` is called when something may have been missed."""

    def __init__(self, transport: Transport, *, url: str, on_event: OnEvent, on_gap: Callable[[], None]) -> None:
        self._transport = transport
        self._url = url or f"{transport.base}/stream"
        self._fixed = bool(url)
        self._on_event = on_event
        self._on_gap = on_gap
        self._stopping = threading.Event()
        self._backoff = Backoff(first_s=0.5, longest_s=30.0)
        self._retry_s = 1.0
        self.last_id = ""
        self.connected = False
        # A client of its own: what it waits for must not hold up anybody else.
        self._http = httpx.Client(
            timeout=httpx.Timeout(10.0, read=SILENCE_S), verify=transport.verify, headers={"User-Agent": USER_AGENT}, follow_redirects=False
        )
        self._response: httpx.Response | None = None
        self._thread = threading.Thread(target=self._run, name="mission-control-stream", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Does not wait for a read that is under way: its thread ends with it."""
        self._stopping.set()
        self._thread.join(0.2)
        self._http.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            wait = self._retry_s
            begun = time.monotonic()
            try:
                self._listen(self._url, redirects=0 if self._fixed else 1)
            except RefusedError as error:
                log.error("The stream was refused: %s", error)
                wait = REFUSED_S
            except UnavailableError as error:
                if self._stopping.is_set():
                    return
                wait = max(self._backoff.wait_s(error.retry_after), self._retry_s if self.last_id else 0.0)
                log.info("The stream is away (%s); again in %.1f s.", error, wait)
            except Exception:
                if self._stopping.is_set():
                    return  # closed under its hands
                log.exception("Reading the stream failed.")
                wait = self._backoff.wait_s(1.0)
            self.connected = False
            if time.monotonic() - begun > SILENCE_S:
                self._backoff.reset()
            self._stopping.wait(wait)

    def _listen(self, url: str, redirects: int) -> None:
        """Reads one connection to its end. Raises UnavailableError, RefusedError."""
        headers = {"Authorization": self._transport.authorization, "Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self.last_id:
            headers["Last-Event-ID"] = self.last_id
        try:
            with self._http.stream("GET", url, headers=headers) as response:
                if response.status_code in (307, 308):
                    if not redirects:
                        raise RefusedError(response.status_code, "redirect", "The stream was redirected once more than is followed.")
                    target = response.headers.get("Location", "")
                else:
                    if response.status_code != 200:
                        response.read()
                        read(response)
                    self._take(response)
                    return
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise UnavailableError(f"{error!r}") from None
        self._listen(_trusted(url, target), redirects - 1)

    def _take(self, response: httpx.Response) -> None:
        self.connected = True
        if not self.last_id:
            # Whatever was resolved before this moment may have changed unheard.
            self._on_gap()
        for identity, event, data, retry in parse(response.iter_lines()):
            if self._stopping.is_set():
                return
            if retry is not None:
                self._retry_s = min(retry / 1000, 60.0)
            if event and event != "ping":
                try:
                    self._hear(StreamEvent(identity, event, json.loads(data)))
                except ValueError:
                    log.error("The stream sent what is not JSON: %s", data[:200])
            if identity:
                self.last_id = identity
                self._backoff.reset()

    def _hear(self, event: StreamEvent) -> None:
        if event.event == "resync":
            self._on_gap()
        self._on_event(event)


def _trusted(asked: str, target: str) -> str:
    """Where a redirect leads. The token goes only to the host that was asked, and never from TLS to plain text; this machine's own names are
    one host. Raises RefusedError."""
    before = httpx.URL(asked)
    after = before.join(target)
    same = after.host == before.host or {after.host, before.host} <= LOOPBACK
    if not same or (before.scheme == "https" and after.scheme != "https"):
        detail = f"{before.host} sends the stream to {after.scheme}://{after.host}; name it with stream_url if that is meant."
        raise RefusedError(307, "redirect", detail)
    return str(after)
