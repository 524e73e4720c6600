"""A span as both encodings give it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# More than exporters send at once (the SDKs 512, the Collector 8,192): a bound on what one request costs.
MAX_SPANS = 10_000
# An attribute's value nests no deeper; what is deeper is left out.
MAX_NESTING = 12


@dataclass(slots=True)
class Span:
    """One span. Ids are lower-case hex, `parent` is "" for none; times are nanoseconds since 1970. `index` is its place in the request."""

    index: int
    trace: str
    id: str
    parent: str
    name: str
    start_ns: int
    end_ns: int
    failed: bool
    problem: str
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    scope: str
    # Name and attributes of each event of the span.
    events: Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(slots=True)
class Decoded:
    """The spans that have ids and times, and why each of the others is refused (by its place in the request)."""

    spans: list[Span] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    total: int = 0


def defect(trace: str, id_: str, parent: str, start_ns: int, end_ns: int) -> str | None:
    """What a span lacks to be stored; the ids are hex already. All zeros is no id (W3C Trace Context)."""
    if len(trace) != 32 or not trace.strip("0"):
        return "no valid trace id (16 bytes, not all zero)"
    if len(id_) != 16 or not id_.strip("0"):
        return "no valid span id (8 bytes, not all zero)"
    if parent and len(parent) != 16:
        return "no valid parent span id (8 bytes)"
    if start_ns <= 0 or end_ns <= 0:
        return "no start or end time"
    return None
