"""Differences between two contents: as operations, as text for people, and of two edits of the same version."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final, Literal

from apps.core.domain.canonical import copy_json, pointer

_ABSENT: Any = object()
# Pairs of lines, or of a list's entries, that are compared; more of them take seconds.
MAX_COMPARED: Final = 1_000_000
# Texts that would read as something else: empty, blank at an end, or like a number, a word of JSON, a bracket or a mark.
_AMBIGUOUS = re.compile(r"^$|^\s|\s$|^(?:null|true|false|-?\d+)$|^[\[{\"|-]")
Op = Literal["add", "remove", "replace"]


@dataclass(frozen=True, slots=True)
class Change:
    """One operation of RFC 6902. `before` is None for an add, `after` for a remove (null itself is a value that `op` tells apart)."""

    pointer: str
    op: Op
    before: Any
    after: Any

    def as_json(self) -> dict[str, Any]:
        """`{pointer, op, before?, after?}`."""
        found: dict[str, Any] = {"pointer": self.pointer, "op": self.op}
        if self.op != "add":
            found["before"] = self.before
        if self.op != "remove":
            found["after"] = self.after
        return found


def structural(a: Any, b: Any) -> list[Change]:
    """The operations that turn `a` into `b`, applied one after the other (`apply_changes`). Inside a list they run from its end."""
    return list(_compare(a, b, ()))


def apply_changes(value: Any, changes: Sequence[Change]) -> Any:
    """A copy of `value` with the changes made. Raises KeyError or IndexError where one doesn't fit."""
    root = [copy_json(value)]
    for change in changes:
        tokens = [token.replace("~1", "/").replace("~0", "~") for token in change.pointer.split("/")[1:]]
        parent: Any = root
        key: Any = 0
        for token in tokens:
            parent = parent[key]
            key = int(token) if isinstance(parent, list) else token
        after = copy_json(change.after)
        if change.op == "remove":
            del parent[key]
        elif change.op == "add" and isinstance(parent, list):
            parent.insert(key, after)
        else:
            parent[key] = after
    return root[0]


def readable(content: Any) -> str:
    """A content as text for people: keys in order, one thing a line, texts of several lines as they are, indented."""
    return "\n".join(_lines(content, 0)) + "\n" if content else ""


def unified(a: Any, b: Any, *, before: str = "before", after: str = "after") -> str:
    """The unified difference of both readable texts; "" when they are equal."""
    left, right = readable(a).splitlines(), readable(b).splitlines()
    matcher = SequenceMatcher[str](None, [], [])
    # Its grouping of what is changed, with three lines around, of operations that we bound.
    matcher.opcodes = _operations(left, right)  # type: ignore[attr-defined]
    groups = list(matcher.get_grouped_opcodes(3)) if left != right else []
    lines = [f"--- {before}", f"+++ {after}"] if groups else []
    for group in groups:
        lines.append(f"@@ -{_range(group[0][1], group[-1][2])} +{_range(group[0][3], group[-1][4])} @@")
        for op, start, stop, first, last in group:
            if op == "equal":
                lines += [f" {line}" for line in left[start:stop]]
            else:
                lines += [*(f"-{line}" for line in left[start:stop]), *(f"+{line}" for line in right[first:last])]
    return "".join(f"{line}\n" for line in lines)


def _range(start: int, stop: int) -> str:
    """Lines as a unified difference numbers them: from 1, and the line before where there are none."""
    count = stop - start
    return str(start + 1) if count == 1 else f"{start if count == 0 else start + 1},{count}"


def _operations(a: Sequence[str], b: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
    """What turns `a` into `b`, as `SequenceMatcher.get_opcodes` says it. Between their equal beginning and end its cost grows with the product
    of the lengths, so two that are large and different throughout are told as one replaced by the other."""
    shorter = min(len(a), len(b))
    head = next((place for place in range(shorter) if a[place] != b[place]), shorter)
    tail = next((place for place in range(shorter - head) if a[-1 - place] != b[-1 - place]), shorter - head)
    left, right = a[head : len(a) - tail], b[head : len(b) - tail]
    found = [("equal", 0, head, 0, head)] if head else []
    if len(left) * len(right) > MAX_COMPARED:
        found.append(("replace", head, head + len(left), head, head + len(right)))
    else:
        # Past 200 entries its heuristic leaves out those that are everywhere; without it repetition alone costs seconds.
        opcodes = SequenceMatcher(None, left, right).get_opcodes()
        found += [(op, start + head, stop + head, first + head, last + head) for op, start, stop, first, last in opcodes]
    if tail:
        found.append(("equal", len(a) - tail, len(a), len(b) - tail, len(b)))
    return found


def three_way(base: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """What two edits of `base` did, for the answer `stale_parent`.

    `clean`: changes that only one side made or both made alike, `{pointer, side: mine|theirs|both, op, before?, after?}`. `conflicts`:
    places that both changed differently, `{pointer, base?, mine?, theirs?}`, a key being left out where the place doesn't exist. `merged`:
    `theirs` with the clean changes of `mine`. Lists, and texts, are compared as a whole.
    """
    clean: list[dict[str, Any]] = []
    conflicts: list[dict[str, Any]] = []
    merged = _merge(base, mine, theirs, (), clean, conflicts)
    return {"clean": clean, "conflicts": conflicts, "merged": merged}


def same(a: Any, b: Any) -> bool:
    """Equality of JSON: unlike Python's, true is not 1."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(item, b[key]) for key, item in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


def _compare(a: Any, b: Any, at: tuple[str | int, ...]) -> Iterator[Change]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted({*a, *b}):
            if key not in b:
                yield Change(pointer(*at, key), "remove", a[key], None)
            elif key not in a:
                yield Change(pointer(*at, key), "add", None, b[key])
            else:
                yield from _compare(a[key], b[key], (*at, key))
    elif isinstance(a, list) and isinstance(b, list):
        yield from _compare_lists(a, b, at)
    elif not same(a, b):
        yield Change(pointer(*at), "replace", a, b)


def _compare_lists(a: list[Any], b: list[Any], at: tuple[str | int, ...]) -> Iterator[Change]:
    left, right = ([json.dumps(item, sort_keys=True) for item in items] for items in (a, b))
    # From the end, so that the places of what is still to come stay as they are in `a`.
    for op, start, stop, first, last in reversed(_operations(left, right)):
        if op == "equal":
            continue
        both = min(stop - start, last - first)
        for place in range(stop - 1, start + both - 1, -1):
            yield Change(pointer(*at, place), "remove", a[place], None)
        for offset in range(both, last - first):
            yield Change(pointer(*at, start + offset), "add", None, b[first + offset])
        for offset in range(both):
            yield from _compare(a[start + offset], b[first + offset], (*at, start + offset))


def _merge(base: Any, mine: Any, theirs: Any, at: tuple[str, ...], clean: list[dict[str, Any]], conflicts: list[dict[str, Any]]) -> Any:
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping) and (isinstance(base, Mapping) or base is _ABSENT):
        if base is _ABSENT and same(mine, theirs):
            return _agreed(base, mine, theirs, at, "both", clean)
        merged = {}
        for key in sorted({*(base if base is not _ABSENT else ()), *mine, *theirs}):
            before = base.get(key, _ABSENT) if base is not _ABSENT else _ABSENT
            found = _merge(before, mine.get(key, _ABSENT), theirs.get(key, _ABSENT), (*at, key), clean, conflicts)
            if found is not _ABSENT:
                merged[key] = found
        return merged
    if _equal(mine, theirs):
        return theirs if _equal(base, theirs) else _agreed(base, mine, theirs, at, "both", clean)
    if _equal(mine, base):
        return _agreed(base, theirs, theirs, at, "theirs", clean)
    if _equal(theirs, base):
        return _agreed(base, mine, mine, at, "mine", clean)
    sides = {"base": base, "mine": mine, "theirs": theirs}
    conflicts.append({"pointer": pointer(*at), **{name: value for name, value in sides.items() if value is not _ABSENT}})
    return theirs


def _agreed(base: Any, after: Any, result: Any, at: tuple[str, ...], side: str, clean: list[dict[str, Any]]) -> Any:
    op: Op = "add" if base is _ABSENT else "remove" if after is _ABSENT else "replace"
    change = Change(pointer(*at), op, None if base is _ABSENT else base, None if after is _ABSENT else after)
    clean.append({"side": side, **change.as_json()})
    return result


def _equal(a: Any, b: Any) -> bool:
    return a is b or (a is not _ABSENT and b is not _ABSENT and same(a, b))


def _lines(value: Any, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from _entry(f"{indent}{key}:", value[key], depth)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, Mapping) and item:
                first, *rest = _lines(item, depth + 1)
                yield f"{indent}- {first.strip()}"
                yield from rest
            else:
                yield from _entry(f"{indent}-", item, depth)
    else:
        yield indent + _scalar(value)


def _entry(head: str, value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, (Mapping, list)) and value:
        yield head
        yield from _lines(value, depth + 1)
    elif isinstance(value, str) and "\n" in value:
        yield head
        yield from (f"{'  ' * (depth + 1)}| {line}" for line in value.split("\n"))
    else:
        yield f"{head} {_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and not _AMBIGUOUS.search(value):
        return value
    return json.dumps(value, ensure_ascii=False)
