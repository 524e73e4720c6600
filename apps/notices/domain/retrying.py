"""What becomes of a delivery after an attempt, and when the next one is due."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

# Nine attempts: at once, then after 26 s, 78 s, 4 min, 12 min, 35 min, 1.8 h, 5.3 h and 16 h, which makes a day.
MAX_ATTEMPTS = 9
FIRST_DELAY_S = 26.0
FACTOR = 3.0
JITTER = 0.1

Result = Literal["sent", "retry", "refused", "gone", "unsent"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`refused`: repeating is of no use. `gone`: the receiver wants nothing any more (410). `unsent`: it was not tried. `status` is HTTP's or
    SMTP's; `error` is a sentence of ours, never what the other side sent."""

    result: Result
    status: int | None = None
    error: str = ""


def delay_s(delivery_id: UUID, attempts: int) -> float:
    """Seconds from the last of so many attempts (1 or more) to the next: exponential, and spread by up to a tenth to either side, so that what
    failed together does not come back together. The same for the same delivery and attempt."""
    digest = hashlib.sha256(delivery_id.bytes + attempts.to_bytes(4, "big")).digest()
    spread = int.from_bytes(digest[:8], "big") / 2**64 * 2 - 1
    return float(FIRST_DELAY_S * FACTOR ** (attempts - 1) * (1 + JITTER * spread))


def state_after(outcome: Outcome, attempts: int) -> Literal["pending", "sent", "failed", "dead"]:
    match outcome.result:
        case "sent":
            return "sent"
        case "unsent":
            return "pending" if attempts <= 1 else "failed"
        case "refused" | "gone":
            return "dead"
    return "dead" if attempts >= MAX_ATTEMPTS else "failed"
