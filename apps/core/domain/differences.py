"""Two texts side by side, for people to read."""

from __future__ import annotations

import re
from difflib import unified_diff
from typing import Literal

Kind = Literal["add", "del", "same", "hunk"]
_KINDS: dict[str, Kind] = {"+": "add", "-": "del", "@": "hunk"}
# Where a part begins in the text that came.
_BEGIN = re.compile(r"\+(\d+)")


def lines_of(before: str, after: str, *, context: int = 2) -> list[tuple[Kind, str]]:
    """The lines that went and came, with so many around them; a hunk says where a part begins that is not the text's beginning. Nothing
    for equal texts."""
    found: list[tuple[Kind, str]] = []
    for line in list(unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=context))[2:]:
        kind = _KINDS.get(line[:1], "same")
        if kind != "hunk":
            found.append((kind, line[1:]))
        elif (begin := int(_BEGIN.findall(line)[0])) > 1:
            found.append((kind, f"from line {begin}"))
    return found
