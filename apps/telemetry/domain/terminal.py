"""What a terminal would have left on its screen, as plain text: the pieces of an agent's output are made for one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

# ECMA-48: control sequences (colours, cursor), strings such as titles and links, and the two-character escapes. Each is one pass.
_ESCAPES: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]?"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def as_text(pieces: Iterable[str]) -> str:
    """The pieces one after the other, without escapes and other controls. A carriage return begins its line anew, a backspace takes one
    character back; a cursor that goes elsewhere is not followed."""
    text = _ESCAPES.sub("", "".join(pieces)).replace("\r\n", "\n")
    return "\n".join(_line(line) for line in text.split("\n"))


def _line(line: str) -> str:
    if "\r" in line:
        line = next((part for part in reversed(line.split("\r")) if part), "")
    if "\b" in line:
        kept: list[str] = []
        for character in line:
            if character != "\b":
                kept.append(character)
            elif kept:
                kept.pop()
        line = "".join(kept)
    return _CONTROLS.sub("", line)
