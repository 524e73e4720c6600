"""The one redaction choke point (`domain.md` 4): secrets leave texts and JSON before anything is stored, logged, exported or diffed.

Only the span of a secret is replaced, by `[redacted:<rule>]`; the rest stays readable. All patterns are RE2: time is linear in the text, whatever it
holds. Nearly every text holds no secret, so one pass over a set of short *triggers* decides "nothing here"; a trigger that fires names the one rule
to run exactly. A trigger must fire on everything its rule finds, in plain text and in text escaped inside JSON: then one look at the JSON of a whole
item (`clean_json`) spares the look at each of its fields.

A `Redactor` is these rules and what a tenant adds: e-mail addresses and telephone numbers, which are content and follow its policy, and patterns of
its own (`redaction_patterns.py`). `redact_text`, `redact_json` and `clean_json` are those of the rules alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec
import re2

from apps.core.domain.redaction_contacts import EMAIL, PHONE
from apps.core.domain.redaction_patterns import Pattern
from apps.core.domain.redaction_rules import RULES, SENSITIVE_KEY_TRIGGER, is_sensitive_key
from apps.core.domain.redaction_shapes import VERDICTS, Rule

KEY_RULE = "sensitive_key"
RULE_NAMES = frozenset(rule.name for rule in (*RULES, *EMAIL, *PHONE))
# Numbers with as many digits as a payment card.
_CARD_DIGITS = range(10**12, 10**19)
# Numbers under a key named after a secret that are counts, scores or verdicts, and too small to be one.
_COUNTS = range(-1, 101)
_ROUNDS = 8
_MARK = re2.compile(r"\[redacted:[a-z_]+\]")
# Texts that are looked at together: a call costs as much as half a kilobyte.
_TOGETHER = 50


@lru_cache(maxsize=4)
def _sets(email: bool, phone: bool) -> tuple[tuple[Rule, ...], Any, Any]:
    """The rules with those of the policy, the set of their triggers, and that set for JSON."""
    rules = (*RULES, *(EMAIL if email else ()), *(PHONE if phone else ()))
    plain, in_json = re2.Set.SearchSet(), re2.Set.SearchSet()
    for rule in rules:
        plain.Add(rule.trigger)
        in_json.Add(rule.trigger)
    in_json.Add(SENSITIVE_KEY_TRIGGER)
    plain.Compile()
    in_json.Compile()
    return rules, plain, in_json


class Redactor:
    """What is redacted for one tenant. `patterns` are its own; `salt` keys the marks of references (`reference`)."""

    __slots__ = ("_in_json", "_patterns", "_plain", "_rules", "_salt", "stores_texts")

    def __init__(
        self, *, email: bool = False, phone: bool = False, patterns: Sequence[Pattern] = (), stores_texts: bool = True, salt: bytes = b""
    ) -> None:
        self._rules, self._plain, self._in_json = _sets(email, phone)
        self._patterns, self._salt = tuple(patterns), salt
        self.stores_texts = stores_texts

    @property
    def adds(self) -> bool:
        """Whether it replaces more than everybody's rules do."""
        return bool(self._patterns) or len(self._rules) > len(RULES)

    def redact_text(self, text: str) -> tuple[str, list[str]]:
        """The text without its secrets, and the sorted names of the rules that fired. Redacting again changes nothing.

        A lone surrogate (which no secret holds) is looked at as a question mark and kept as it is.
        """
        cleaned, names = self._once(text)
        if not names or not self._patterns:
            return cleaned, names
        # A mark is a boundary that was not there before: a tenant's pattern may find more beside it.
        for _ in range(_ROUNDS):
            cleaned, more = self._once(cleaned)
            if not more:
                break
            names = sorted({*names, *more})
        return cleaned, names

    def _once(self, text: str) -> tuple[str, list[str]]:
        encoded = text.encode("utf-8", "replace")
        fired = self._plain.Match(encoded)
        if not fired and not self._patterns:
            return text, []
        searched = encoded.decode("utf-8")
        # Rules in the order of their table, then the tenant's patterns.
        found = [(start, end, index) for index in fired or () for start, end in self._rules[index].spans(searched)]
        if self._patterns:
            found += self._own(searched)
        if not found:
            return text, []
        pieces: list[str] = []
        names: set[str] = set()
        position = 0
        for start, end, index in _merged(found):
            name = self._rules[index].name if index < len(self._rules) else self._patterns[index - len(self._rules)].name
            pieces += text[position:start], f"[redacted:{name}]"
            names.add(name)
            position = end
        pieces.append(text[position:])
        return "".join(pieces), sorted(names)

    def redact_json(self, value: Any) -> tuple[Any, list[str]]:
        """A JSON value without its secrets, and the sorted names of the rules that fired. The value given is not changed.

        Strings and keys are redacted as texts. Whatever stands under a key such as `password` or `authorization` is replaced whole
        (`sensitive_key`), except null, booleans, empty values, small counts and verdicts ("passed"), which give nothing away. An integer that
        is a card number, or that a pattern of the tenant finds, becomes text.
        """
        names: set[str] = set()
        cleaned = self._clean(value, names)
        return (cleaned, sorted(names)) if names else (value, [])

    def clean_json(self, encoded: bytes) -> bool:
        """True when JSON text (compact or not, UTF-8) certainly holds nothing that `redact_text` or `redact_json` would replace in it.

        False says only that it must be looked at exactly. It speaks for each string inside, as it is after decoding; text that came
        with needless escapes (`\\u0073k-…`) must be re-encoded first.
        """
        if self._in_json.Match(encoded):
            return False
        if not self._patterns:
            return True
        # A tenant's pattern may look at what JSON escapes: it sees the strings themselves, one a line.
        joined = "\n".join(_leaves(msgspec.json.decode(encoded)))
        return not any(pattern.trigger.search(joined) for pattern in self._patterns)

    def clean_jsons(self, encoded: Sequence[bytes]) -> list[bool]:
        """`clean_json` of each text; together, as nearly all hold nothing."""
        # A tenant's patterns look at one text at a time.
        together = 1 if self._patterns else _TOGETHER
        found: list[bool] = []
        for start in range(0, len(encoded), together):
            block = encoded[start : start + together]
            found += [True] * len(block) if self.clean_json(b"\n".join(block)) else map(self.clean_json, block)
        return found

    def reference(self, value: str) -> tuple[str, list[str]]:
        """As `redact_text`, for what refers to something (a user, a task): different references stay different, by a keyed hash of 48 bits
        after the mark. Without a salt they do not."""
        cleaned, names = self.redact_text(value)
        if not names or not self._salt:
            return cleaned, names
        return f"{cleaned[:180]}~{blake2b(value.encode('utf-8', 'replace'), key=self._salt[:64], digest_size=6).hexdigest()}", names

    def _own(self, text: str) -> Iterator[tuple[int, int, int]]:
        """What the tenant's patterns find, except inside of marks that stand there already."""
        marks = [match.span() for match in _MARK.finditer(text)] if "[redacted:" in text else []
        for start, end in marks:
            text = f"{text[:start]}{chr(10) * (end - start)}{text[end:]}"
        for index, pattern in enumerate(self._patterns, start=len(self._rules)):
            for start, end in pattern.spans(text):
                if not any(first <= start and end <= last for first, last in marks):
                    yield start, end, index

    def _clean(self, value: Any, names: set[str]) -> Any:
        if isinstance(value, str):
            text, fired = self.redact_text(value)
            names.update(fired)
            return text
        if isinstance(value, dict):
            return {self._clean(key, names): self._clean_member(key, member, names) for key, member in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(member, names) for member in value]
        if isinstance(value, int) and (value in _CARD_DIGITS or self._patterns) and not isinstance(value, bool):
            text, fired = self.redact_text(str(value))
            names.update(fired)
            return text if fired else value
        return value

    def _clean_member(self, key: object, member: Any, names: set[str]) -> Any:
        if not isinstance(key, str) or not is_sensitive_key(_storable(key)) or _gives_nothing_away(member):
            return self._clean(member, names)
        if isinstance(member, str) and _MARK.fullmatch(member):
            return member
        names.add(KEY_RULE)
        return f"[redacted:{KEY_RULE}]"


BUILT_IN = Redactor()
redact_text = BUILT_IN.redact_text
redact_json = BUILT_IN.redact_json
clean_json = BUILT_IN.clean_json
clean_jsons = BUILT_IN.clean_jsons


def _merged(found: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Spans without overlaps, in order; where several overlap, the first rule of the table names the whole."""
    found.sort()
    merged = [found[0]]
    for start, end, index in found[1:]:
        last_start, last_end, last_index = merged[-1]
        if start < last_end:
            merged[-1] = (last_start, max(end, last_end), min(index, last_index))
        else:
            merged.append((start, end, index))
    return merged


def _leaves(value: Any) -> Iterator[str]:
    """Every string and key in a JSON value, and its integers as they are written."""
    waiting = [value]
    while waiting:
        member = waiting.pop()
        if isinstance(member, str):
            yield member
        elif isinstance(member, dict):
            waiting += member
            waiting += member.values()
        elif isinstance(member, list):
            waiting += member
        elif isinstance(member, int) and not isinstance(member, bool):
            yield str(member)


def _gives_nothing_away(member: Any) -> bool:
    if isinstance(member, bool) or member in (None, "", [], {}):
        return True
    if isinstance(member, int):
        return member in _COUNTS
    if isinstance(member, float):
        return -1 <= member <= 100
    if isinstance(member, str):
        return member.lower() in VERDICTS
    if isinstance(member, dict | list):
        return all(_gives_nothing_away(each) for each in (member.values() if isinstance(member, dict) else member))
    return False


def _storable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
