"""Records on disk until they are acknowledged: files that only grow, each record with its length and checksum.

A record is written with one call to the operating system, so it outlives the process that wrote it, however that ends. What a torn write
left at the end is cut off at the next start; what is damaged in the middle is skipped and counted.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path

# Magic, kind, length, CRC-32 of kind and payload.
_HEAD = struct.Struct("<2sBII")
_MAGIC = b"\xa5M"
ITEM = 1
# Its payload is how many records could not be taken at this place.
DROPPED = 2
HEAD_BYTES = _HEAD.size


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place between two records: number of a segment, and bytes from its start."""

    segment: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One record, and the place after it; `damaged`: what stood before it could not be read."""

    kind: int
    payload: bytes
    end: Position
    damaged: bool = False


class Spool:
    """One folder of segments, written by any thread, read by one. `durable` writes through to the disk with every record."""

    def __init__(self, folder: Path, *, segment_bytes: int = 4 * 1024 * 1024, durable: bool = False) -> None:
        self.folder = folder
        self.segment_bytes = segment_bytes
        self.durable = durable
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._sizes = {int(path.stem): path.stat().st_size for path in sorted(folder.glob("*.seg"))}
        last = max(self._sizes, default=1)
        self._recover(last)
        self._file = self._open(last)
        self._unsynced = False

    # Write.

    def append(self, kind: int, payload: bytes) -> Position:
        """Adds a record; the place after it. Raises OSError where the disk refuses."""
        checksum = zlib.crc32(payload, kind)
        record = _HEAD.pack(_MAGIC, kind, len(payload), checksum) + payload
        with self._lock:
            last = max(self._sizes)
            if self._sizes[last] >= self.segment_bytes:
                self._sync()
                os.close(self._file)
                last += 1
                self._file = self._open(last)
            written = os.write(self._file, record)
            if written != len(record):
                # A full disk took a part of it: as if it had taken none.
                os.ftruncate(self._file, self._sizes[last])
                raise OSError(28, "the disk took only a part of the record")
            self._sizes[last] += written
            self._unsynced = True
            if self.durable:
                self._sync()
            return Position(last, self._sizes[last])

    def sync(self) -> None:
        """Has the disk write what was added."""
        with self._lock:
            self._sync()

    @property
    def bytes(self) -> int:
        with self._lock:
            return sum(self._sizes.values())

    @property
    def end(self) -> Position:
        with self._lock:
            last = max(self._sizes)
            return Position(last, self._sizes[last])

    # Read.

    def read(self, start: Position, *, limit_items: int, limit_bytes: int) -> list[Record]:
        """Records from `start` on, in order: as many as the limits allow, and at least one where there is one."""
        found: list[Record] = []
        total = 0
        damaged = False
        with self._lock:
            sizes = sorted(self._sizes.items())
        for number, size in sizes:
            if number < start.segment:
                continue
            offset = start.offset if number == start.segment else 0
            with self._path(number).open("rb") as file:
                file.seek(offset)
                data = file.read(min(max(size - offset, 0), limit_bytes + self.segment_bytes))
            at = 0
            while at < len(data):
                record, after = _parse(data, at, number, offset, damaged)
                if record is None:
                    damaged = True
                    break
                if found and (len(found) >= limit_items or total + len(record.payload) > limit_bytes):
                    return found
                found.append(record)
                total += len(record.payload)
                damaged, at = False, after
            if offset + len(data) < size:
                break
        return found

    def forget(self, before: Position) -> None:
        """Removes the segments that lie wholly before a place."""
        with self._lock:
            last = max(self._sizes)
            if before.segment == last and before.offset >= self._sizes[last] >= self.segment_bytes // 8:
                # All is read: begin a new segment, so that this one can go too.
                os.close(self._file)
                self._file = self._open(last + 1)
                before = Position(last + 1, 0)
            for number in [number for number in self._sizes if number < before.segment]:
                self._path(number).unlink(missing_ok=True)
                del self._sizes[number]

    def close(self) -> None:
        with self._lock:
            self._sync()
            os.close(self._file)

    # Inside.

    def _recover(self, last: int) -> None:
        """Cuts a torn record off the newest segment."""
        path = self._path(last)
        if not path.exists():
            return
        data = path.read_bytes()
        good = at = 0
        while at < len(data):
            record, at = _parse(data, at, last, 0, False)
            if record is not None:
                good = record.end.offset
        if good < len(data):
            os.truncate(path, good)
            self._sizes[last] = good

    def _open(self, number: int) -> int:
        file = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._sizes.setdefault(number, 0)
        return file

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:010d}.seg"

    def _sync(self) -> None:
        if self._unsynced:
            os.fsync(self._file)
            self._unsynced = False


def _parse(data: bytes, at: int, number: int, base: int, damaged: bool) -> tuple[Record | None, int]:
    """The record at `at` and the place after it. Damage is skipped up to the next whole record; None where there is none."""
    begin = at
    while at + HEAD_BYTES <= len(data):
        magic, kind, length, checksum = _HEAD.unpack_from(data, at)
        after = at + HEAD_BYTES + length
        if magic == _MAGIC and after <= len(data):
            payload = data[at + HEAD_BYTES : after]
            if zlib.crc32(payload, kind) == checksum:
                return Record(kind, payload, Position(number, base + after), damaged or at != begin), after
        at = data.find(_MAGIC, at + 1)
        if at < 0:
            break
    return None, len(data)
