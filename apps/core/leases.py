"""Resolve's lease check is given by the evals room, which stands above packs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID


class Lease(Protocol):
    """A live evaluation lease: which pack, and which versions along the chain cut after the layer under evaluation."""

    def pack(self) -> Any: ...

    def entries(self) -> Any: ...


Check = Callable[[UUID, str], Lease | None]
_check: list[Check] = []


def register_lease_check(check: Check) -> Check:
    _check[:] = [check]
    return check


def lease_check(agent_id: UUID, version: str) -> Lease | None:
    """The agent's live lease on this version (or, for a baseline, on this evaluation run), or None."""
    return _check[0](agent_id, version) if _check else None
