"""By what lists of runs and events are narrowed, and the terms under which the database finds their rows."""

from __future__ import annotations

from collections.abc import Mapping

# Filters of runs and of events, and the pairs of them that are as quick as one alone. Of the others a page takes the quickest one, and
# looks at what that finds.
DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "r": (
        *("tier", "status", "provider", "model_id", "persona", "skill", "mcp_server", "agent", "pack", "arm", "task_type", "success"),
        *("flag", "team", "user"),
    ),
    "e": ("tier", "status", "provider", "model_id", "persona", "skill", "mcp_server", "mcp_tool", "agent", "action", "flag", "team"),
}
PAIRS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "r": (
        *(("agent", "status"), ("agent", "model_id"), ("agent", "success"), ("pack", "pack_version"), ("pack", "arm")),
        *(("pack", "success"), ("pack", "model_id"), ("tier", "status"), ("provider", "model_id"), ("persona", "skill")),
        ("task_type", "success"),
    ),
    "e": (
        *(("agent", "status"), ("agent", "action"), ("action", "status"), ("tier", "status"), ("provider", "model_id")),
        ("mcp_server", "mcp_tool"),
    ),
}
# Those of which one row may have several values.
SEVERAL = {"r": ("mcp_server", "flag"), "e": ("flag",)}
# Not offered as values to choose from: one finds a team by its agents, and a user is nobody's to look up in a list.
UNCOUNTED = ("team", "user")
# The user of a run that names none.
NO_USER = ""
BETWEEN = "\x1f"


def term(kind: str, names: tuple[str, ...], values: Mapping[str, str]) -> str:
    """The term of one dimension or of a pair, as the roll-up writes it."""
    return f"{kind}:{','.join(names)}={BETWEEN.join(values[name] for name in names)}"


def terms(kind: str, wanted: Mapping[str, str]) -> list[str]:
    """Terms that a row with all of these values has, the likely rarest first: listed pairs, then what no pair covers."""
    pairs = [pair for pair in PAIRS[kind] if all(name in wanted for name in pair)]
    covered = {name for pair in pairs for name in pair}
    single = [name for name in DIMENSIONS[kind] if name in wanted and name not in covered]
    return [term(kind, names, wanted) for names in [*pairs, *((name,) for name in single)]]
