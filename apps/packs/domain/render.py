"""The workspace files of an effective pack, as OpenClaw reads them (`openclaw.md`, Workspace)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

RENDERER: Final = "renderer@1"  # the origin of headings; raise it when the same content would render otherwise
FILES: Final = ("AGENTS", "SOUL", "IDENTITY", "USER", "TOOLS", "HEARTBEAT", "MEMORY", "SYSTEM")
# Today's runtime doesn't inject these two, so that their text stands in AGENTS.md as well.
_ALSO_IN_AGENTS: Final = (("TOOLS", "Tools"), ("HEARTBEAT", "Heartbeat"))


def render(content: Mapping[str, Any]) -> dict[str, str]:
    """File name -> Markdown, of the files that have text. Each section is a heading of its name, in the order (order, name)."""
    placed: dict[str, list[tuple[str, str]]] = {file: [] for file in FILES}
    for name, section in sorted(content["sections"].items(), key=_place):
        if section["text"].strip():
            placed[section["file"]].append((name, section["text"]))
    parts = {file: [_part("##", name, text) for name, text in sections] for file, sections in placed.items()}
    for file, heading in _ALSO_IN_AGENTS:
        if placed[file]:
            parts["AGENTS"] += [f"## {heading}\n", *(_part("###", name, text) for name, text in placed[file])]
    return {f"{file}.md": "\n".join(found) for file, found in parts.items() if found}


def _place(item: tuple[str, Mapping[str, Any]]) -> tuple[int, str]:
    return item[1]["order"], item[0]


def _part(level: str, name: str, text: str) -> str:
    return f"{level} {name}\n\n{text}\n" if not text.endswith("\n") else f"{level} {name}\n\n{text}"
