"""The archive's format: where its objects lie, and what its manifest says. Pure.

A day of a tenant is `archives/<tenant>/<day>/<kind>-<generation>-<part>.jsonl.zst`, one JSON object a row, and `manifest-<generation>.json`,
which is written last: a day without one is not archived. Nothing is written over; a day that is written anew has the next generation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from apps.core.domain.redaction_rules import RULES

SCHEMA = 1
DEFAULT_HOT_DAYS = 7
MAX_HOT_DAYS = 30
MAX_ARCHIVE_DAYS = 3650
# Items are taken this many days longer than rows are hot: what a harness kept on its disk still counts.
GRACE_DAYS = 2


class Kind(StrEnum):
    """What is archived, each in files of its own."""

    RUN = "run"
    EVENT = "event"
    SCORE = "score"


class File(msgspec.Struct, frozen=True):
    """One object of an archive: `rows` lines, `bytes` as they lie in the storage, `sha256` of those."""

    path: str
    kind: Kind
    rows: int
    bytes: int
    sha256: str
    first_at: datetime | None
    last_at: datetime | None


class Manifest(msgspec.Struct, frozen=True):
    """What an archive holds. `redaction` names the rules by which secrets were replaced when the rows came in."""

    schema: int
    tenant_id: UUID
    day: date
    generation: int
    rows: dict[str, int]
    first_at: datetime | None
    last_at: datetime | None
    redaction: str
    created_at: datetime
    files: list[File]


def folder(tenant_id: UUID | str, day: date | None = None) -> str:
    """Below which the objects of a tenant, or of one of its days, lie."""
    return f"archives/{tenant_id}/{day.isoformat()}" if day else f"archives/{tenant_id}"


def part_path(tenant_id: UUID, day: date, kind: str, generation: int, number: int) -> str:
    return f"{folder(tenant_id, day)}/{kind}-{generation:03d}-{number:04d}.jsonl.zst"


def manifest_path(tenant_id: UUID, day: date, generation: int) -> str:
    return f"{folder(tenant_id, day)}/manifest-{generation:03d}.json"


def manifest(*, tenant_id: UUID, day: date, generation: int, created_at: datetime, files: Sequence[File]) -> bytes:
    """The manifest's bytes: the same for the same files, so that writing it again after a crash finds it written."""
    found = Manifest(
        schema=SCHEMA,
        tenant_id=tenant_id,
        day=day,
        generation=generation,
        rows={kind.value: sum(file.rows for file in files if file.kind == kind) for kind in Kind},
        first_at=min((file.first_at for file in files if file.first_at is not None), default=None),
        last_at=max((file.last_at for file in files if file.last_at is not None), default=None),
        redaction=redaction_version(),
        created_at=created_at,
        files=sorted(files, key=lambda file: file.path),
    )
    return msgspec.json.format(msgspec.json.encode(found)) + b"\n"


def read_manifest(data: bytes) -> Manifest:
    """Raises ValueError for bytes that are none."""
    try:
        found = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ValueError(f"no manifest: {error}") from error
    if found.schema != SCHEMA:
        raise ValueError(f"a manifest of schema {found.schema}; this portal reads {SCHEMA}")
    return found


def redaction_version() -> str:
    """Names the rules as they are: a digest of their names and patterns."""
    text = "\n".join(f"{rule.name}\t{rule.pattern}" for rule in RULES)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def expired(day: date, today: date, archive_days: int | None) -> bool:
    """Whether an archive has been kept for as long as its tenant wants."""
    return archive_days is not None and day < today - timedelta(days=archive_days)


def subject_hash(salt: bytes, tenant_id: UUID, user_ref: str) -> bytes:
    """By which an erased user is known again; also computed in SQL (`telemetry_erase_day`)."""
    return hashlib.sha256(salt + tenant_id.bytes + user_ref.encode()).digest()


def totals(parts: Iterable[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Kind -> [rows, mark] over the parts of an archive."""
    found = {kind.value: [0, 0] for kind in Kind}
    for part in parts:
        found[part["kind"]][0] += int(part["rows"])
        found[part["kind"]][1] += int(part["mark"])
    return found
