"""What runs and events can be asked for, by name: the filters of the API's lists, as an export keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

from apps.core.domain.canonical import pointer
from apps.core.errors import FieldError, problem

Kind = Literal["runs", "events"]
MAX_VALUE = 200

_COMMON: Final = {
    **dict.fromkeys(
        ("agent", "status", "provider", "model_id", "persona", "skill", "run_id", "root_task_id", "flag", "mcp_server"), "text"
    ),
    "tier": "tier",
    "since": "moment",
    "until": "moment",
}
FIELDS: Final[Mapping[Kind, Mapping[str, str]]] = {
    "runs": {
        **_COMMON,
        **dict.fromkeys(("pack", "arm", "task_type", "user_ref"), "text"),
        "pack_version": "number",
        "success": "truth",
        "final": "truth",
    },
    "events": {**_COMMON, "action": "text", "mcp_tool": "text"},
}
TRUTHS: Final = {"true": True, "false": False}


def parse(kind: Kind, given: Mapping[str, Any]) -> dict[str, Any]:
    """The filters with values of their types (text, int, bool, datetime). Raises Problem `invalid`, with every finding at `/filters/<name>`."""
    found: dict[str, Any] = {}
    wrong = []
    for name, value in given.items():
        try:
            found[name] = _value(FIELDS[kind][name], value)
        except KeyError:
            wrong.append(FieldError(pointer("filters", name), "unknown_key", f"{kind} have no filter of this name."))
        except ValueError as error:
            wrong.append(FieldError(pointer("filters", name), "invalid", str(error)))
    if wrong:
        raise problem("invalid", "These filters cannot be applied.", errors=wrong)
    return found


def _value(form: str, value: Any) -> Any:
    text = str(value) if not isinstance(value, bool) else str(value).lower()
    if not 0 < len(text) <= MAX_VALUE or "\x00" in text:
        raise ValueError(f"A value of 1 to {MAX_VALUE} characters is needed.")
    if form == "number":
        if not (text.isascii() and text.isdigit()) or int(text) >= 2**31:
            raise ValueError("A whole number is needed.")
        return int(text)
    if form == "truth":
        if text not in TRUTHS:
            raise ValueError("true or false is needed.")
        return TRUTHS[text]
    if form == "tier":
        if text not in ("T1", "T2", "T3"):
            raise ValueError("T1, T2 or T3 is needed.")
        return text
    if form == "moment":
        return _moment(text)
    return text


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("A time such as 2026-01-31T12:00:00Z is needed.") from None
    if found.tzinfo is None:
        raise ValueError("A time with its offset from UTC is needed, such as 2026-01-31T12:00:00Z.")
    return found


def written(filters: Mapping[str, Any]) -> dict[str, str]:
    """The filters as texts, which `parse` reads again."""
    return {name: _written(value) for name, value in sorted(filters.items())}


def _written(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value)
