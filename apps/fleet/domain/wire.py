"""How an event lies in Redis, between those who push and the process that sends it out."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from apps.fleet.domain.frames import START, encode_data, frame

STREAM = "mc:stream"
# Events that are kept for connections which resume; Redis trims by whole blocks, so a little more.
KEPT = 100_000


def fields_of(tenant_id: UUID | None, agent_ids: Collection[UUID] | None, event: str, data: dict[str, Any]) -> dict[Any, Any]:
    """The fields of an entry. Raises ValueError or TypeError for what could not go out as an event."""
    encoded = encode_data(data)
    frame(START, event, encoded)
    return {
        "tenant": str(tenant_id or ""),
        "agents": b"" if agent_ids is None else b"".join(agent.bytes for agent in agent_ids),
        "event": event,
        "data": encoded,
    }


def agents_of(field: bytes) -> frozenset[UUID] | None:
    """The agents that an entry is for; None for all. Raises ValueError for what `fields_of` did not write."""
    return frozenset(UUID(bytes=field[at : at + 16]) for at in range(0, len(field), 16)) if field else None


def resync(reason: str) -> dict[Any, Any]:
    """The fields of an entry that tells everybody to ask again."""
    return fields_of(None, None, "resync", {"reason": reason})
