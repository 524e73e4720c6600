"""What a producer has recorded and not yet had acknowledged: two spools (runs, events) and, in one small file, how far it has come."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import SpoolInUseError
from .spool import DROPPED, HEAD_BYTES, ITEM, Position, Record, Spool

log = logging.getLogger("mission_control_client")

Kind = Literal["runs", "events"]
KINDS: tuple[Kind, Kind] = ("runs", "events")
# What the control plane takes in one batch; some bytes are left for the envelope.
MAX_ITEMS = 1000
MAX_BATCH_BYTES = 5 * 1024 * 1024 - 4096
MAX_ITEM_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """Items of one kind, in the order in which they were recorded, and the place after them. `lost`: batches' worth of items that were
    dropped before these: as many numbers are left out, so that the control plane shows a gap."""

    kind: Kind
    items: list[bytes]
    end: Position
    lost: int


class Journal:
    """One folder, held by one process.

    Number and place are written together, after the answer: what was sent and not yet noted when the process died is sent again under the
    same number, and its items are duplicates by their ids.
    """

    def __init__(self, folder: Path, *, producer: str, max_bytes: int, durable: bool) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._held)
            raise SpoolInUseError(f"{folder} is in use by another process; give each process a spool_dir of its own.") from None
        self._lock = threading.Lock()
        segment = max(min(4 * 1024 * 1024, max_bytes // 8), 64 * 1024)
        self._spools = {kind: Spool(folder / kind, segment_bytes=segment, durable=durable) for kind in KINDS}
        state = self._load()
        known = str(state.get("producer", ""))
        self.producer = producer or known or f"py-{uuid.uuid4().hex[:12]}"
        # The number of the next batch; another name counts from one.
        self.seq = int(state.get("seq", 1)) if self.producer == known else 1
        self._places = {kind: Position(*state.get(kind, (0, 0))) for kind in KINDS}
        # Items that could not be taken: ever, and of each kind since the last that could.
        self.dropped = int(state.get("dropped", 0))
        self._dropping = dict.fromkeys(KINDS, 0)
        # Not yet acknowledged.
        self.waiting = {kind: self._count(kind) for kind in KINDS}
        self._save()

    def append(self, kind: Kind, item: bytes) -> bool:
        """Takes an item; False where there is no room or the disk refuses, which is counted and shows as a gap."""
        with self._lock:
            spool = self._spools[kind]
            room = self.max_bytes - sum(one.bytes for one in self._spools.values())
            try:
                if room < len(item) + HEAD_BYTES:
                    raise OSError("the spool is full")
                if self._dropping[kind] > 1:
                    spool.append(DROPPED, b"%d" % (self._dropping[kind] - 1))
                self._dropping[kind] = 0
                spool.append(ITEM, item)
            except OSError as error:
                self._drop(kind, error)
                return False
            self.waiting[kind] += 1
            return True

    def _drop(self, kind: Kind, error: OSError) -> None:
        self.dropped += 1
        self._dropping[kind] += 1
        if self._dropping[kind] == 1:
            log.error("Telemetry is being dropped: %s (%s).", error, self.folder)
            try:
                # Noted at once, beyond the bound: should the process die now, the gap still shows.
                self._spools[kind].append(DROPPED, b"1")
            except OSError:
                log.exception("The loss cannot be noted in %s.", self.folder)

    def next(self, kind: Kind, *, limit_items: int = MAX_ITEMS) -> Batch | None:
        """What comes next, at most `limit_items`; None where all is acknowledged."""
        records = self._spools[kind].read(self._places[kind], limit_items=limit_items + 1, limit_bytes=MAX_BATCH_BYTES - 2 * MAX_ITEMS)
        items: list[bytes] = []
        lost, end = 0, self._places[kind]
        for record in records:
            loss = _loss(record)
            if items and (loss or len(items) == limit_items):
                # What was lost stands before the batch that follows it.
                break
            lost += loss
            if record.kind == ITEM:
                items.append(record.payload)
            end = record.end
        return Batch(kind, items, end, lost) if items or lost else None

    def number(self, batch: Batch) -> int:
        return self.seq + batch.lost

    def acknowledge(self, batch: Batch, *, sent: bool = True) -> None:
        """Goes on after a batch, for good. One that was not `sent`, or has no items, only leaves out the numbers of what was lost."""
        with self._lock:
            self.seq += batch.lost + (1 if batch.items and sent else 0)
            self._places[batch.kind] = batch.end
            self.waiting[batch.kind] -= len(batch.items)
            try:
                self._save()
            except OSError as error:
                # What is noted is older than what is: after a restart these items are sent again, and are duplicates.
                log.warning("How far telemetry has come is not noted: %s", error)
                return
        self._spools[batch.kind].forget(batch.end)

    def sync(self) -> None:
        for spool in self._spools.values():
            spool.sync()

    @property
    def bytes(self) -> int:
        return sum(spool.bytes for spool in self._spools.values())

    def close(self) -> None:
        with self._lock:
            self._save()
            for spool in self._spools.values():
                spool.close()
            os.close(self._held)

    def _count(self, kind: Kind) -> int:
        """Items that an earlier process left."""
        count, place = 0, self._places[kind]
        while records := self._spools[kind].read(place, limit_items=10_000, limit_bytes=16 * 1024 * 1024):
            count += sum(record.kind == ITEM for record in records)
            place = records[-1].end
        return count

    def _load(self) -> dict[str, Any]:
        try:
            state = json.loads((self.folder / "state.json").read_bytes())
        except (OSError, ValueError):
            # What is in the spools is sent again: duplicates, by their ids.
            return {}
        return state if isinstance(state, dict) else {}

    def _save(self) -> None:
        state = {"producer": self.producer, "seq": self.seq, "dropped": self.dropped}
        state |= {kind: [place.segment, place.offset] for kind, place in self._places.items()}
        fresh = self.folder / "state.json.new"
        fresh.write_text(json.dumps(state))
        fresh.replace(self.folder / "state.json")


def _loss(record: Record) -> int:
    """How many batches' numbers to leave out for what is missing before, or at, this record."""
    lost = 1 if record.damaged else 0
    if record.kind == DROPPED:
        lost += -(-int(record.payload or b"1") // MAX_ITEMS)
    return lost
