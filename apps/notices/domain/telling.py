"""What a notice may say. Ids, names, levels, times and a link; never a text that somebody wrote into a pack, a comment or a reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from apps.core.domain.redaction import redact_text


class Kind(StrEnum):
    """What is told. Names are those of the events, and of `type` in a webhook's payload."""

    APPROVAL_REQUESTED = "promotions.approval_requested"
    APPROVAL_REMINDER = "promotions.approval_reminder"
    DECIDED = "promotions.decided"
    ACTION_REQUESTED = "fleet.action_requested"
    TEST = "notices.test"


# A test goes to the one webhook that it is asked for.
SUBSCRIBED = tuple(kind for kind in Kind if kind is not Kind.TEST)
LABELS: dict[str, str] = {
    Kind.APPROVAL_REQUESTED: "An approval is wanted",
    Kind.APPROVAL_REMINDER: "An approval is still wanted",
    Kind.DECIDED: "A promotion was decided",
    Kind.ACTION_REQUESTED: "An agent asks to use a tool",
    Kind.TEST: "A test",
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@:/#+'→-]{0,99}")
_WORD = re.compile(r"[a-z][a-z_]{0,39}")
_COUNT = re.compile(r"[0-9]{1,6}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]{5,15}(Z|[+-][0-9:]{5}| UTC)?)?")
_LEVEL = re.compile(r"low|medium|high")
_PERSON = re.compile(r"[^\x00-\x1f\x7f<>\"]{1,200}")
# The facts that a notice may hold, each with the shape of its value. What is not here, or has another shape, is left out.
FACTS: dict[str, re.Pattern[str]] = {
    **dict.fromkeys(("tenant", "pack", "layer", "scope", "version", "challenger", "champion", "agent", "tool"), _NAME),
    **dict.fromkeys(("state", "decision", "outcome", "aim", "reminder"), _WORD),
    **dict.fromkeys(("required", "given", "missing"), _COUNT),
    **dict.fromkeys(("due", "expires", "expires_at", "requested_at", "decided_at"), _TIME),
    **dict.fromkeys(("requested_by", "decided_by", "on_behalf_of"), _PERSON),
    "risk": _LEVEL,
}
MAX_TITLE = 200
_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]{0,499}")


def told_facts(facts: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Those that may be told, and the keys of those that may not."""
    told = {}
    for key, value in facts.items():
        shape = FACTS.get(key)
        if shape is not None and isinstance(value, str) and shape.fullmatch(value) and not redact_text(value)[1]:
            told[key] = value
    return told, sorted(set(facts) - set(told))


def one_line(text: str, limit: int = MAX_TITLE) -> str:
    """A name on one line without secrets: blanks and control characters become a space each."""
    plain = "".join(each if each.isprintable() else " " for each in redact_text(text)[0])
    line = " ".join(plain.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def inner_path(path: str) -> str:
    """A path of the portal's own; its first page for anything that would lead elsewhere."""
    return path if _PATH.fullmatch(path) else "/"
