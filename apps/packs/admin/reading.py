"""Content for people to read: sections as text, tools and rubric as tables, differences as rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from apps.core.admin import cells
from apps.packs.domain.diff import structural, unified
from apps.packs.domain.names import closest, covers

_SHOWN_APART = ("sections", "tools", "rubric")
MAX_VALUE = 240
_ROWS = {"+": "add", "-": "del", "@": "hunk"}


def readable_content(content: Mapping[str, Any]) -> dict[str, Any]:
    """What `packs/content.html` shows."""
    return {
        "sections": sections_of(content),
        "tools": tools_of(content),
        "rubric": rubric_of(content),
        "rest": [(name, cells.tree(value)) for name, value in content.items() if name not in _SHOWN_APART and value not in (None, {}, [])],
    }


def sections_of(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = content.get("sections") or {}
    placed = sorted(found.items(), key=lambda item: (item[1].get("order") or 0, item[0]))
    return [
        {
            "name": name,
            "text": section["text"],
            "file": section.get("file") or "AGENTS",
            "order": section.get("order") or 0,
            "mode": section.get("mode"),
            "locked": bool(section.get("locked")),
        }
        for name, section in placed
    ]


def tools_of(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """Every tool that the content names, and what it says of it. None where it says nothing of tools."""
    tools = content.get("tools") or {}
    allow, ask, deny, risk = tools.get("allow"), tools.get("ask") or [], tools.get("deny") or [], tools.get("risk") or {}
    names = sorted({*(allow or ()), *ask, *deny, *risk})
    if not names and allow is None:
        return None
    rows = [
        {
            "name": name,
            "permitted": _permitted(name, allow, deny),
            "asks": cells.badge("asks first", "warn") if covers(ask, name) else cells.EMPTY,
            "risk": cells.badge(found) if (found := closest(risk, name)) else cells.EMPTY,
        }
        for name in names
    ]
    note = (
        "Any other tool is not limited here." if allow is None else "Any other tool is not permitted." if allow else "No tool is permitted."
    )
    return {"rows": rows, "note": note}


def _permitted(name: str, allow: list[str] | None, deny: list[str]) -> Any:
    if covers(deny, name):
        return cells.badge("denied", "bad")
    if allow is None:
        return cells.badge("not limited", "plain")
    return cells.badge("permitted", "good") if covers(allow, name) else cells.badge("not permitted", "bad")


def rubric_of(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": check["id"],
            "check": check["check"],
            "dimension": check["dimension"],
            "weight": cells.number(check["weight"]),
            "hard": cells.badge("hard", "warn") if check.get("hard") else cells.EMPTY,
            "params": cells.tree(check["params"]) if check.get("params") else cells.EMPTY,
        }
        for check in content.get("rubric") or ()
    ]


def difference(before: Mapping[str, Any] | None, after: Mapping[str, Any], *, old: str, new: str) -> dict[str, Any]:
    """What `packs/difference.html` shows: the unified difference row by row, with signs, and the operations."""
    rows: list[dict[str, str]] = []
    for line in unified(before or {}, after, before=old, after=new).splitlines():
        if line.startswith(("---", "+++")) and len(rows) < 2:
            rows.append({"kind": "hunk", "sign": "", "text": line})
            continue
        kind = _ROWS.get(line[:1], "same")
        rows.append({"kind": kind, "sign": line[:1] if kind in ("add", "del") else "", "text": line if kind == "hunk" else line[1:]})
    changes = [
        {
            "pointer": change.pointer or "/",
            "op": change.op,
            "before": _short(change.before) if change.op != "add" else cells.EMPTY,
            "after": _short(change.after) if change.op != "remove" else cells.EMPTY,
        }
        for change in structural(before or {}, after)
    ]
    return {"rows": rows, "changes": changes, "old": old, "new": new}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"
