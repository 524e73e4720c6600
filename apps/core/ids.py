"""Keys are made in Python: a table without SELECT refuses INSERT … RETURNING, and a caller knows its key before the write."""

from __future__ import annotations

import os
import time
from uuid import UUID


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562, 5.7): 48 bits of Unix milliseconds, then random bits, so that index inserts stay local."""
    millis = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (millis & ((1 << 48) - 1)) << 80 | 0x7 << 76 | (random >> 64 & 0xFFF) << 64 | 0b10 << 62 | random & ((1 << 62) - 1)
    return UUID(int=value)
