"""Server-Sent Events on the wire (WHATWG HTML, 9.2), and the ids that lost connections resume from: those of Redis streams, `<ms>-<n>`."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

_ID = re.compile(r"(\d{1,19})-(\d{1,19})")
_NAME = re.compile(r"[a-z][a-z_.]{0,39}")


class EventId(NamedTuple):
    """A place in the stream. Ids only grow; they compare as pairs."""

    ms: int
    n: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.n}"


START = EventId(0, 0)


def parse_id(text: str) -> EventId:
    """Raises ValueError for what is not `<ms>-<n>`."""
    match = _ID.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text[:40]}' is not the id of an event.")
    return EventId(int(match[1]), int(match[2]))


def frame(event_id: EventId, event: str, data: bytes) -> bytes:
    """One event. `data` is JSON without line breaks. Raises ValueError for a name that could not stand on its line."""
    if _NAME.fullmatch(event) is None:
        raise ValueError(f"{event!r} is no name of an event.")
    return b"id: %d-%d\nevent: %s\ndata: %s\n\n" % (event_id.ms, event_id.n, event.encode(), data)


def encode_data(data: object) -> bytes:
    """JSON on one line. Raises TypeError for what JSON has no words for."""
    return msgspec.json.encode(data)
