"""Two texts side by side, for people to read."""

from __future__ import annotations

from difflib import unified_diff
from typing import Literal

Kind = Literal["add", "del", "same", "hunk"]
_KINDS: dict[str, Kind] = {"+": "add", "-": "del", "@": "hunk"}


def lines_of(before: str, after: str, *, context: int = 2) -> list[tuple[Kind, str]]:
    """The lines that went and came, with so many around them; a hunk says where a part begins. Nothing for equal texts."""
    found: list[tuple[Kind, str]] = []
    for line in list(unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=context))[2:]:
        kind = _KINDS.get(line[:1], "same")
        found.append((kind, line if kind == "hunk" else line[1:]))
    return found
