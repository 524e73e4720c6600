"""Completing a run that came with `final: false` (`domain.md` 4): null fields only; a final row never changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Ours or the first delivery's; a later item does not complete them.
_FIXED = frozenset(
    {"id", "day", "tenant_id", "team_id", "agent_id", "run_id", "event_id", "created_at", "received_at", "producer", "producer_seq"}
)
_UNITED = ("flags", "redactions")


def complete(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the stored row `old` that the later row `new` changes, with their values; both by column name.

    A null is filled, `final` may become true, `flags` and `redactions` are united (sorted); everything else stays as first stored. A final
    `old` gives {}.
    """
    if old["final"]:
        return {}
    changed = {
        column: value
        for column, value in new.items()
        if value is not None and column not in _FIXED and column not in _UNITED and column != "final" and old.get(column) is None
    }
    if new.get("final"):
        changed["final"] = True
    for column in _UNITED:
        united = sorted({*(old.get(column) or ()), *(new.get(column) or ())})
        if united != sorted(old.get(column) or ()):
            changed[column] = united
    return changed
