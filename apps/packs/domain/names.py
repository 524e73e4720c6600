"""Tool names and what they cover: exact, or a family: `shell.*` covers `shell.exec` and `shell.git.push`, but not `shell`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, TypeVar

T = TypeVar("T")

TOOL_NAME: Final = re.compile(r"[^\s*.][^\s*]*(?:\.\*)?")
LEVELS: Final = ("A0", "A1", "A2", "A3")
RISKS: Final = ("low", "medium", "high")
DEFAULT_RISK: Final = "medium"


def covering(name: str) -> Iterator[str]:
    """Every name that covers `name`, the most specific first: itself, then its families from the narrowest."""
    yield name
    dot = name.rfind(".")
    while dot >= 0:
        family = name[: dot + 1] + "*"
        if family != name:
            yield family
        dot = name.rfind(".", 0, dot)


def covers(names: Collection[str], name: str) -> bool:
    """Whether one of `names` covers the tool (or the family) `name`."""
    return any(candidate in names for candidate in covering(name))


def closest(table: Mapping[str, T], name: str) -> T | None:
    """The entry of the most specific name that covers `name`."""
    return next((table[candidate] for candidate in covering(name) if candidate in table), None)


def minimal(names: Iterable[str]) -> list[str]:
    """The same tools in the fewest names, sorted."""
    every = set(names)
    return sorted(name for name in every if not any(family in every for family in covering(name) if family != name))


def intersection(left: Collection[str], right: Collection[str]) -> list[str]:
    """Names for exactly the tools that both cover, sorted. Two names either nest or have nothing in common, so the narrower ones do it."""
    return minimal([*(name for name in left if covers(right, name)), *(name for name in right if covers(left, name))])
