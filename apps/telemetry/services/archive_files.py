"""The bytes of an archive: rows of the database into a compressed object, and an object read again.

Nothing here parses a row: PostgreSQL writes the JSON, COPY carries it, zstd packs it. COPY's text format escapes nothing of a line of JSON
but its backslashes, each by another one: JSON has no raw control characters.
"""

# ruff: noqa: S608 -- every name in the SQL is a constant of this module

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import psycopg
import zstandard
from psycopg import sql

from apps.core.storage import Storage, StorageError
from apps.telemetry.domain.archives import Kind

TABLES = {Kind.RUN: "telemetry_run", Kind.EVENT: "telemetry_event", Kind.SCORE: "telemetry_runscore"}
# Rows of a part, and the most that its object may take in memory; a part that would take more is cut.
PART_ROWS = 50_000
MAX_PART_BYTES = 64 * 2**20
LEVEL = 1
BLOCK_ROWS = 256
READ_BYTES = 1 << 20
FIRST, LAST = UUID(int=0), UUID(int=(1 << 128) - 1)


class PartTooLargeError(Exception):
    """The rows do not fit into one object."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A part as it is to lie in the storage, and what the database said of its rows in the same snapshot."""

    data: bytes
    sha256: str
    rows: int
    mark: int
    first_at: datetime | None
    last_at: datetime | None


def boundaries(cur: psycopg.Cursor[Any], kind: Kind, tenant_id: UUID, day: date) -> list[UUID]:
    """The ids at which the day's rows are cut: the last of each part but the last part, whose end is open."""
    cur.execute(
        f"SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM {TABLES[kind]} WHERE tenant_id = %b AND day = %b) numbered"
        " WHERE n %% %b = 0 ORDER BY id",
        [tenant_id, day, PART_ROWS],
    )
    return [found for (found,) in cur.fetchall()]


def pack(cur: psycopg.Cursor[Any], kind: Kind, tenant_id: UUID, day: date, after: UUID, upto: UUID) -> Packed:
    """The rows between two ids as JSON lines. The transaction's isolation must be REPEATABLE READ: figures and lines are of one snapshot.
    Raises PartTooLargeError; RuntimeError where the two disagree."""
    where = "tenant_id = {} AND day = {} AND id > {} AND id <= {}"
    values = [sql.Literal(value) for value in (tenant_id, day, after, upto)]
    cur.execute(
        sql.SQL(
            f"SELECT count(*), coalesce(sum(xmin::text::bigint), 0), min(created_at), max(created_at) FROM {TABLES[kind]} WHERE {where}"
        ).format(*values)
    )
    figures = cur.fetchone()
    assert figures is not None
    packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
    digest, packed, size, rows = hashlib.sha256(), [], 0, 0
    for block, count in _blocks(
        cur, sql.SQL(f"COPY (SELECT row_to_json(r) FROM {TABLES[kind]} r WHERE {where}) TO STDOUT").format(*values)
    ):
        rows += count
        piece = packer.compress(block)
        if piece:
            digest.update(piece)
            packed.append(piece)
            size += len(piece)
            if size > MAX_PART_BYTES:
                raise PartTooLargeError
    last = packer.flush()
    digest.update(last)
    packed.append(last)
    if rows != figures[0]:
        raise RuntimeError(f"{rows} lines of {figures[0]} rows were read")
    return Packed(b"".join(packed), digest.hexdigest(), rows, int(figures[1]), figures[2], figures[3])


def _blocks(cur: psycopg.Cursor[Any], statement: sql.Composed) -> Iterator[tuple[bytes, int]]:
    block: list[Any] = []
    with cur.copy(statement) as copy:
        for line in copy:
            block.append(line)
            if len(block) == BLOCK_ROWS:
                yield b"".join(block).replace(b"\\\\", b"\\"), len(block)
                block = []
    if block:
        yield b"".join(block).replace(b"\\\\", b"\\"), len(block)


def check(storage: Storage, path: str, *, sha256: str, size: int, rows: int) -> None:
    """Reads the object again, whole. Raises StorageError where its size, digest or number of lines is another than was said."""
    data = storage.get(path, sha256=bytes.fromhex(sha256))
    if len(data) != size:
        raise StorageError(f"{storage.address}: {path} has {len(data)} bytes, not {size}")
    found = sum(piece.count(b"\n") for piece in unpack(data, path))
    if found != rows:
        raise StorageError(f"{storage.address}: {path} has {found} lines, not {rows}")


def unpack(data: bytes, path: str) -> Iterator[bytes]:
    """The object's content, a piece at a time. Raises StorageError for what is no whole Zstandard frame."""
    reader = zstandard.ZstdDecompressor().decompressobj()
    try:
        for at in range(0, len(data), READ_BYTES):
            yield reader.decompress(data[at : at + READ_BYTES])
    except zstandard.ZstdError as error:
        raise StorageError(f"{path} is no Zstandard file: {error}") from error
    if not reader.eof:
        raise StorageError(f"{path} ends too early")


def lines(data: bytes, path: str) -> Iterator[bytes]:
    """The object's rows, without their line ends."""
    rest = b""
    for piece in unpack(data, path):
        found = (rest + piece).split(b"\n")
        rest = found.pop()
        yield from found
    if rest:
        yield rest


def repack(kept: Iterator[bytes]) -> tuple[bytes, str, int]:
    """These rows as an object: its bytes, their digest, and how many rows it holds."""
    packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
    packed, rows = [], 0
    for line in kept:
        packed.append(packer.compress(line + b"\n"))
        rows += 1
    packed.append(packer.flush())
    data = b"".join(packed)
    return data, hashlib.sha256(data).hexdigest(), rows


def put(storage: Storage, path: str, data: bytes, sha256: str) -> None:
    """Writes the object. What a process that was killed here has left under this name, and no manifest names, gives way."""
    if storage.put_new(path, data):
        return
    try:
        storage.get(path, sha256=bytes.fromhex(sha256))
    except StorageError:
        storage.delete(path)
        if not storage.put_new(path, data):
            raise StorageError(f"{storage.address}: {path} is written by somebody else") from None
