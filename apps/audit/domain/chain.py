"""The hash chain: each event's hash covers its content and the hash before it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from apps.core.domain.canonical import canonical_bytes

GENESIS = b"\x00" * 32


@dataclass(frozen=True, slots=True)
class Link:
    """What verification needs of a stored event."""

    seq: int
    content: Mapping[str, Any]
    previous: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Break:
    """The first event that does not hold, and why."""

    seq: int
    reason: str


def event_hash(content: Mapping[str, Any], previous: bytes) -> bytes:
    """SHA-256 over the previous hash and the RFC 8785 form of the content."""
    return hashlib.sha256(previous + canonical_bytes(dict(content))).digest()


def text_hash(salt: bytes, text: str) -> bytes:
    """The salted hash that the chain keeps of an erasable text."""
    return hashlib.sha256(salt + text.encode()).digest()


def verify(links: Iterable[Link], *, head_seq: int, head_hash: bytes, first: int = 1, previous: bytes = GENESIS) -> Break | None:
    """Walks a chain from its first event to its head; None when every link holds. For a part of a chain, `first` is the number that it
    begins with and `previous` the hash before it."""
    expected = first
    for link in links:
        if link.seq != expected:
            return Break(expected, f"event {expected} is missing")
        if link.previous != previous:
            return Break(link.seq, "its previous hash is not the hash of the event before it")
        if link.hash != event_hash(link.content, previous):
            return Break(link.seq, "its content does not match its hash")
        previous, expected = link.hash, expected + 1
    if expected - 1 != head_seq:
        return Break(expected, f"the head says {head_seq} events, {expected - 1} are there")
    if previous != head_hash:
        return Break(head_seq, "the head's hash is not that of the last event")
    return None
