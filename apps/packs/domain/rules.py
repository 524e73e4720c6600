"""What an effective pack as a whole must satisfy: constraints on its text, its prompt tokens and its models, and who broke them.

A result breaks a rule through the lowest pack layer that had a part in it: one that wrote the offending leaf, or the pack layer that set
the rule. Policies set rules and never break one, since leaving a policy out would loosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final

from apps.packs.domain.content import estimate_tokens
from apps.packs.domain.contracts import compiled
from apps.packs.domain.extend import Section
from apps.packs.domain.merge import Merge
from apps.packs.domain.steps import Breach, By, escape

_URL: Final = r"(?i)\b[a-z][a-z0-9+.-]*://(?:[^\s/@\"'<>]*@)?(?P<host>[^\s/:?#\"'<>()\[\]{},;]+)"


def result_breaches(merge: Merge) -> Iterator[Breach]:
    """Every rule that the fold of the whole chain breaks. Nothing without a pack layer: policies alone are no pack."""
    if not merge.packs:
        return
    yield from _tokens(merge)
    yield from _models(merge)
    for entry in merge.constraints.entries:
        rule, value = entry.value["rule"], entry.value["value"]
        match rule:
            case "forbid_text":
                yield from _forbidden(merge, entry, compiled(value).finditer, f"The text that matches {value!r} is forbidden")
            case "deny_egress":
                yield from _forbidden(merge, entry, lambda text, host=value: _urls(text, host), f"Links to {value} are denied")
            case "require_section" | "require_text":
                yield from _required(merge, entry)


def _breach(merge: Merge, layers: Iterable[int], by: int, pointer: str, detail: str) -> Breach:
    setter = [by] if merge.chain[by].kind == "domain" else []
    lowest = max([*layers, *setter], default=merge.packs[0])
    return Breach(lowest, by, pointer, "constraint_violation", f"{detail} (set by {merge.chain[by]}).", neutral=False)


def _tokens(merge: Merge) -> Iterator[Breach]:
    limit = merge.limits.least.get("max_prompt_tokens")
    if limit is None:
        return
    sections = merge.sections.by_name.values()
    tokens = sum(estimate_tokens(section.text) for section in sections)
    if tokens > limit.value:
        writers = {part.layer for section in sections for part in section.parts}
        detail = f"The sections take {tokens} tokens with those inherited, {limit.value} are allowed"
        yield _breach(merge, writers, limit.layer, "/sections", detail)


def _models(merge: Merge) -> Iterator[Breach]:
    allowed = merge.limits.models
    if allowed is None:
        return
    primary, fallbacks = merge.model.fields.get("primary"), merge.model.fields.get("fallbacks")
    named = [("/model/primary", primary.value, primary.layer)] if primary else []
    named += [(f"/model/fallbacks/{place}", model, fallbacks.layer) for place, model in enumerate(fallbacks.value)] if fallbacks else []
    for at, model, index in named:
        if model not in allowed.value:
            yield _breach(merge, [index], allowed.layer, at, f"The model {model} is not among the models allowed")


def _forbidden(merge: Merge, rule: By, find: Any, detail: str) -> Iterator[Breach]:
    for name, section in merge.sections.by_name.items():
        if section.parts and (writers := _writers(section, [match.span() for match in find(section.text)])):
            yield _breach(merge, writers, rule.layer, f"/sections/{escape(name)}/text", detail)
    says = merge.personality.says
    for at, text in _texts(says.value, "/personality") if says else ():
        if next(iter(find(text)), None) is not None:
            yield _breach(merge, [says.layer] if says else [], rule.layer, at, detail)


def _writers(section: Section, matches: list[tuple[int, int]]) -> set[int]:
    """The versions that wrote at least one character of a match."""
    if not matches:
        return set()
    ends = [0]
    for part in section.parts:
        ends.append(ends[-1] + len(part.value))
    found = {
        part.layer
        for part, (start, end) in zip(section.parts, pairwise(ends), strict=True)
        if any(first < end and start < stop for first, stop in matches)
    }
    # A match of no characters (a word boundary) lies between parts: then all of them make it.
    return found or {part.layer for part in section.parts}


def _urls(text: str, denied: str) -> Iterator[Any]:
    for match in compiled(_URL).finditer(text):
        host = match["host"].lower().rstrip(".")
        if denied in ("*", host) or (denied.startswith("*.") and host.endswith(denied[1:])):
            yield match


def _texts(value: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{at}/{escape(key)}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _texts(item, f"{at}/{place}")


def _required(merge: Merge, rule: By) -> Iterator[Breach]:
    if _has(merge, rule):
        return
    # The lowest layer that took away what the chain had before it; the pack's weakest where nobody ever had it.
    lost = [index for index in merge.packs if _has(Merge(merge.chain[:index]), rule) and not _has(Merge(merge.chain[: index + 1]), rule)]
    value = rule.value["value"]
    if rule.value["rule"] == "require_section":
        yield _breach(merge, lost[-1:], rule.layer, f"/sections/{escape(value)}", f"The section {value} is required and has no text")
    else:
        yield _breach(merge, lost[-1:], rule.layer, "/sections", f"A text that matches {value!r} is required, and no section has it")


def _has(merge: Merge, rule: By) -> bool:
    value = rule.value["value"]
    if rule.value["rule"] == "require_section":
        section = merge.sections.by_name.get(value)
        return section is not None and section.text.strip() != ""
    return any(compiled(value).search(section.text) is not None for section in merge.sections.by_name.values())
