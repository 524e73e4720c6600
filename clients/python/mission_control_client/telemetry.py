"""Runs and events on their way to the control plane: recorded at once, sent in batches by a thread of its own."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from .errors import RefusedError, UnavailableError
from .journal import KINDS, MAX_ITEM_BYTES, MAX_ITEMS, Batch, Journal, Kind
from .transport import Answer, Backoff, Transport

log = logging.getLogger("mission_control_client")

# Called with the kind, the item and the control plane's reason: {index, code, pointer, detail}.
OnRejected = Callable[[Kind, dict[str, Any], Mapping[str, Any]], None]
_SYNC_S = 1.0
# After these the envelope or the token is at fault, not an item: everything waits until somebody mends it.
_HELD = frozenset({401, 403, 404, 405, 409, 415})
_ENVELOPE = ("/producer", "/seq")


@dataclass(frozen=True, slots=True)
class Stats:
    """Items, since the client was made but for `waiting`, `spool_bytes` and `dropped`, which are the spool's own."""

    recorded: int
    accepted: int
    duplicates: int
    rejected: int
    dropped: int
    waiting: int
    spool_bytes: int
    last_error: str


class Telemetry:
    """Records and sends. A batch goes out when it is full or `batch_s` old, one at a time."""

    def __init__(
        self,
        journal: Journal,
        transport: Transport,
        *,
        batch_items: int,
        batch_s: float,
        longest_wait_s: float,
        on_rejected: OnRejected | None,
        on_commands: Callable[[list[dict[str, Any]]], None],
    ) -> None:
        self.journal = journal
        self._transport = transport
        self._batch_items = max(1, min(batch_items, MAX_ITEMS))
        self._batch_s = batch_s
        self._on_rejected = on_rejected
        self._on_commands = on_commands
        self._wake = threading.Condition()
        self._oldest = {kind: (time.monotonic() if journal.waiting[kind] else None) for kind in KINDS}
        self._flushing = 0
        self._stopping = False
        self._counts = dict.fromkeys(("recorded", "accepted", "duplicates", "rejected"), 0)
        self._error = ""
        self._backoff = Backoff(longest_s=longest_wait_s)
        self._limit = MAX_ITEMS
        self._synced = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="mission-control-telemetry", daemon=True)
        self._thread.start()

    # Record.

    def record(self, kind: Kind, item: Mapping[str, Any]) -> str | None:
        """The item's id, made where it has none; None where the spool is full. Raises ValueError for what is not JSON, or over 2 MiB."""
        key = "run_id" if kind == "runs" else "event_id"
        now = datetime.now(UTC)
        # Dated here: it may wait for hours, and the control plane would date it at its receipt.
        whole = {key: item.get(key) or uuid.uuid4().hex, **item, "created_at": item.get("created_at") or now}
        if kind == "runs":
            whole.setdefault("started_at", now)
        try:
            encoded = json.dumps(whole, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()
        except (TypeError, RecursionError) as error:
            raise ValueError(f"This is not JSON: {error}") from None
        if len(encoded) > MAX_ITEM_BYTES:
            raise ValueError(f"One item has {len(encoded)} bytes; at most {MAX_ITEM_BYTES} are taken.")
        with self._wake:
            if self._stopping:
                raise ValueError("The client is closed.")
            if not self.journal.append(kind, encoded):
                return None
            self._counts["recorded"] += 1
            if self._oldest[kind] is None:
                self._oldest[kind] = time.monotonic()
                self._wake.notify_all()
            elif self.journal.waiting[kind] >= self._batch_items:
                self._wake.notify_all()
        return str(whole[key])

    def flush(self, timeout_s: float) -> bool:
        """Sends all there is now; whether it was answered for in time."""
        deadline = time.monotonic() + timeout_s
        with self._wake:
            self._flushing += 1
            self._wake.notify_all()
            try:
                while any(self.journal.waiting.values()):
                    left = deadline - time.monotonic()
                    if left <= 0 or not self._thread.is_alive():
                        return False
                    self._wake.wait(min(left, 0.2))
                return True
            finally:
                self._flushing -= 1

    def stats(self) -> Stats:
        journal = self.journal
        return Stats(
            **self._counts,
            dropped=journal.dropped,
            waiting=sum(journal.waiting.values()),
            spool_bytes=journal.bytes,
            last_error=self._error,
        )

    def close(self, timeout_s: float) -> bool:
        done = self.flush(timeout_s)
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        self._thread.join(2.0)
        return done

    def release(self) -> None:
        """Ends with the folder, once nothing is on its way any more."""
        self._thread.join(15.0)
        if not self._thread.is_alive():
            self.journal.close()

    # Send.

    def _run(self) -> None:
        while True:
            with self._wake:
                kind = self._due()
                while kind is None and not self._stopping:
                    self._wake.wait(self._rest())
                    kind = self._due()
                    self._sync()
                if self._stopping:
                    return
            assert kind is not None
            try:
                wait = self._send(kind)
            except Exception as error:
                log.exception("Sending telemetry failed.")
                wait = self._failed(repr(error), None)
            if wait:
                self._pause(wait)

    def _due(self) -> Kind | None:
        """The kind whose turn it is: full, or old enough, or flushed; the one that waits longest first."""
        now = time.monotonic()
        found: list[tuple[float, Kind]] = []
        for kind in KINDS:
            oldest = self._oldest[kind]
            if oldest is not None and (self._flushing or self.journal.waiting[kind] >= self._batch_items or now - oldest >= self._batch_s):
                found.append((oldest, kind))
        return min(found)[1] if found else None

    def _rest(self) -> float:
        oldest = [at for at in self._oldest.values() if at is not None]
        until = min(oldest) + self._batch_s - time.monotonic() if oldest else _SYNC_S
        return min(max(until, 0.01), _SYNC_S)

    def _sync(self) -> None:
        if time.monotonic() - self._synced >= _SYNC_S:
            self._synced = time.monotonic()
            self.journal.sync()

    def _pause(self, seconds: float) -> None:
        """Waits, unless the client is closed meanwhile. Whoever flushes waits too: hammering would not make it faster."""
        deadline = time.monotonic() + seconds
        with self._wake:
            while not self._stopping and (left := deadline - time.monotonic()) > 0:
                self._wake.wait(left)

    def _send(self, kind: Kind) -> float:
        """One batch; how long to wait before the next."""
        batch = self.journal.next(kind, limit_items=min(self._batch_items, self._limit))
        if batch is None:
            self._settled(kind)
            return 0.0
        if not batch.items:
            self._acknowledge(batch)
            return 0.0
        envelope = json.dumps({"producer": self.journal.producer, "seq": self.journal.number(batch)})[1:-1].encode()
        body = b'{%s,"%s":[%s]}' % (envelope, kind.encode(), b",".join(batch.items))
        try:
            answer = self._transport.post(f"telemetry/{kind}", body)
        except UnavailableError as error:
            return self._failed(str(error), error.retry_after)
        except RefusedError as error:
            return self._refused(batch, error)
        self._take(batch, answer)
        self._limit = MAX_ITEMS
        return 0.0

    def _take(self, batch: Batch, answer: Answer) -> None:
        receipt = answer.body if isinstance(answer.body, dict) else {}
        rejected = [entry for entry in receipt.get("rejected") or () if isinstance(entry, dict)]
        self._counts["accepted"] += int(receipt.get("accepted") or 0)
        self._counts["duplicates"] += int(receipt.get("duplicates") or 0)
        self._acknowledge(batch)
        for entry in rejected:
            index = entry.get("index")
            if isinstance(index, int) and 0 <= index < len(batch.items):
                self._reject(batch.kind, batch.items[index], entry)
        if commands := receipt.get("commands"):
            self._on_commands(commands)

    def _refused(self, batch: Batch, error: RefusedError) -> float:
        """The batch as a whole is not taken. Where an item may be the cause, it is found by sending less, and left out alone."""
        pointers = {str(found.get("pointer", "")) for found in error.problem.get("errors") or () if isinstance(found, dict)}
        if error.status in _HELD or pointers & set(_ENVELOPE):
            if self._error != str(error):
                log.error("Telemetry is held back, %d items wait: %s", sum(self.journal.waiting.values()), error)
            return self._failed(str(error), None)
        if len(batch.items) > 1:
            self._limit = max(1, len(batch.items) // 2)
            return 0.0
        entry = {"index": 0, "code": error.code, "pointer": "", "detail": error.detail}
        # Its number was never taken; the next batch has it.
        self.journal.acknowledge(batch, sent=False)
        self._settle(batch.kind)
        self._reject(batch.kind, batch.items[0], entry)
        self._limit = MAX_ITEMS
        return 0.0

    def _reject(self, kind: Kind, item: bytes, entry: Mapping[str, Any]) -> None:
        self._counts["rejected"] += 1
        log.error("One of the %s was rejected: %s %s: %s", kind, entry.get("code"), entry.get("pointer"), entry.get("detail"))
        if self._on_rejected is not None:
            try:
                self._on_rejected(kind, json.loads(item), entry)
            except Exception:
                log.exception("on_rejected failed.")

    def _acknowledge(self, batch: Batch) -> None:
        self.journal.acknowledge(batch)
        self._error = ""
        self._backoff.reset()
        self._settle(batch.kind)

    def _settle(self, kind: Kind) -> None:
        with self._wake:
            self._oldest[kind] = time.monotonic() if self.journal.waiting[kind] > 0 else None
            self._wake.notify_all()

    def _settled(self, kind: Kind) -> None:
        """Nothing can be read any more: what was counted as waiting is damaged."""
        with self._wake:
            self.journal.waiting[kind] = 0
            self._oldest[kind] = None
            self._wake.notify_all()

    def _failed(self, error: str, retry_after: float | None) -> float:
        self._error = error[:500]
        wait = self._backoff.wait_s(retry_after)
        log.info("Telemetry is sent again in %.1f s: %s", wait, self._error)
        return wait


def _plain(value: object) -> str:
    """What JSON has no word for, as the contract writes it."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise TypeError("a time without a time zone")
        return value.isoformat()
    if isinstance(value, Decimal | uuid.UUID | date):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be sent")
