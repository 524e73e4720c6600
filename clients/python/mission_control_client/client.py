"""What a harness holds: one client for one agent's token."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from .commands import Commands, OnCommand
from .heartbeat import Heartbeat
from .journal import MAX_ITEMS, Journal
from .resolving import Resolved, Resolver
from .stream import Listener, OnEvent, StreamEvent
from .telemetry import OnRejected, Stats, Telemetry
from .transport import Transport

log = logging.getLogger("mission_control_client")


class Client:
    """Resolves packs, records telemetry, beats, and listens. Safe to share among threads; make it after a fork, one in each process.

    - `spool_dir`: folder of this process alone: telemetry that is not yet acknowledged, and the last answers of resolve. It holds content.
    - `producer`: name under which batches are numbered; made once and kept in `spool_dir` when left out.
    - `spool_bytes`: what the spool may hold; what is recorded beyond it is dropped, counted, and shows as a gap.
    - `durable`: each record is on the disk when `record_…` returns (fsync), not a second later: for a machine that may lose power.
    - `batch_items`, `batch_s`: a batch goes out when it has so many items or is so old.
    - `longest_wait_s`: seconds between two tries while the control plane is away, at the most; it may ask for more (Retry-After).
    - `heartbeat_s`: seconds between heartbeats, 0 for none; `status`: what they say, a text or a function that gives one; `instance`: the
      name that tells this process from others of the same agent, `producer` when left out.
    - `listen`: opens the push stream, so that a rollback is effective in milliseconds; `stream_url`: where it is, if the control plane is
      not to say; `on_event`: hears of everything but pings.
    - `on_command`: called once with each command ({id, action, …}) of whatever thread brings it; returning acknowledges it.
    - `on_rejected`: called with kind, item and reason of each item that the control plane will never take.
    - `max_stale_s`: how old an answer may be that is served while the control plane is away; None: any age.
    - `timeout_s`, `verify`: of requests; `verify` is httpx's: False, or an SSL context of your own.

    Raises SpoolInUseError where another process holds `spool_dir`, ValueError for a malformed argument.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        spool_dir: str | Path,
        producer: str = "",
        spool_bytes: int = 256 * 1024 * 1024,
        durable: bool = False,
        batch_items: int = 500,
        batch_s: float = 1.0,
        longest_wait_s: float = 30.0,
        heartbeat_s: float = 30.0,
        status: Callable[[], str] | str = "ok",
        instance: str = "",
        listen: bool = True,
        stream_url: str = "",
        on_event: OnEvent | None = None,
        on_command: OnCommand | None = None,
        on_rejected: OnRejected | None = None,
        max_stale_s: float | None = None,
        timeout_s: float = 10.0,
        verify: Any = True,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url is {base_url!r}; it begins with https:// or http://.")
        if not token or not token.isascii() or any(letter.isspace() for letter in token):
            raise ValueError("token is not one; it looks like mc_<prefix>_<secret>.")
        if not 1 <= batch_items <= MAX_ITEMS:
            raise ValueError(f"batch_items is {batch_items}; a batch has 1 to {MAX_ITEMS}.")
        folder = Path(spool_dir)
        journal = Journal(folder, producer=producer, max_bytes=spool_bytes, durable=durable)
        self._transport = Transport(base_url, token, timeout_s=timeout_s, verify=verify)
        self._on_event = on_event
        self._heartbeat: Heartbeat | None = None
        self._listener: Listener | None = None
        self._closed = False
        self._commands = Commands(on_command, on_done=self._beat_soon)
        # Of a token, the prefix is no secret: another agent's answers are not this one's.
        identity = f"{self._transport.base} {token.split('_')[1] if token.count('_') >= 2 else ''}"
        self._resolver = Resolver(self._transport, folder / "resolved", identity=identity, max_stale_s=max_stale_s)
        self._telemetry = Telemetry(
            journal,
            self._transport,
            batch_items=batch_items,
            batch_s=batch_s,
            longest_wait_s=longest_wait_s,
            on_rejected=on_rejected,
            on_commands=self._commands.take,
        )
        if heartbeat_s > 0:
            self._heartbeat = Heartbeat(
                self._transport,
                self._resolver,
                self._commands,
                instance=instance or journal.producer,
                interval_s=heartbeat_s,
                status=status,
            )
        if listen:
            self._listener = Listener(self._transport, url=stream_url, on_event=self._hear, on_gap=self._gap)

    # What a harness calls.

    def resolve(
        self,
        pack: str | None = None,
        *,
        user: str | None = None,
        unit: str | None = None,
        task_type: str | None = None,
        origins: bool = False,
        rendered: bool = True,
    ) -> Resolved:
        """What to run on now: the agent's default pack when none is named. From memory while it is fresh; the last good answer, marked
        `stale`, while the control plane cannot be reached or fails.

        Raises RefusedError (a revoked token, an unknown pack, nothing live: the last good answer must not stand in for these), and UnavailableError
        where there is no last good answer.
        """
        named = {"pack": pack, "user": user, "unit": unit, "task_type": task_type}
        params = {name: value for name, value in named.items() if value is not None}
        if not origins:
            params["origins"] = "0"
        if not rendered:
            params["rendered"] = "0"
        return self._resolver.resolve(params)

    def record_run(self, run: Mapping[str, Any] | None = None, /, **fields: Any) -> str | None:
        """Records a run: fields of the contract, as a mapping or by name. `run_id` and `started_at` are made where missing. Its id; None
        where the spool is full. Returns at once; raises ValueError for what is not JSON."""
        return self._telemetry.record("runs", {**(run or {}), **fields})

    def record_event(self, event: Mapping[str, Any] | None = None, /, **fields: Any) -> str | None:
        """Records an event, as `record_run`; `event_id` is made where missing."""
        return self._telemetry.record("events", {**(event or {}), **fields})

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Sends what is recorded; whether all of it was answered for in time."""
        return self._telemetry.flush(timeout_s)

    def invalidate(self) -> None:
        """Has every pack asked for again before it is used."""
        self._resolver.invalidate()

    @property
    def stats(self) -> Stats:
        """Counts of telemetry."""
        return self._telemetry.stats()

    @property
    def producer(self) -> str:
        """The name under which this client numbers its batches."""
        return self._telemetry.journal.producer

    @property
    def listening(self) -> bool:
        """Whether the push stream is open just now."""
        return self._listener is not None and self._listener.connected

    @property
    def clock_ahead_s(self) -> float | None:
        """By how many seconds the control plane's clock is ahead of ours, about; None before the first heartbeat."""
        return self._heartbeat.clock_ahead_s if self._heartbeat else None

    def close(self, timeout_s: float = 5.0) -> bool:
        """Sends what is recorded, for so long at the most, and ends; whether all was answered for. What was not is sent by the next client
        on the same `spool_dir`."""
        if self._closed:
            return True
        self._closed = True
        if self._listener is not None:
            self._listener.close()
        if self._heartbeat is not None:
            self._heartbeat.close()
        done = self._telemetry.close(timeout_s)
        self._transport.close()
        self._telemetry.release()
        return done

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # What the threads call.

    def _beat_soon(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.soon()

    def _gap(self) -> None:
        self._resolver.invalidate()
        self._beat_soon()

    def _hear(self, event: StreamEvent) -> None:
        if event.event in ("pack.changed", "pack.rolled_back"):
            # Which of what is remembered is folded from it, only the control plane knows.
            self._resolver.invalidate()
        elif event.event == "control":
            self._commands.take([event.data])
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                log.exception("on_event failed.")
