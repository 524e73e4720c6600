"""The one redaction choke point (`domain.md` 4): secrets leave texts and JSON before anything is stored, logged, exported or diffed.

Only the span of a secret is replaced, by `[redacted:<rule>]`; the rest stays readable. All patterns are RE2: time is linear in the text, whatever it
holds. Nearly every text holds no secret, so one pass over a set of short *triggers* decides "nothing here"; a trigger that fires names the one rule
to run exactly. A trigger must fire on everything its rule finds, in plain text and in text escaped inside JSON: then one look at the JSON of a whole
item (`clean_json`) spares the look at each of its fields.

E-mail addresses and telephone numbers are content, not secrets: they follow a tenant's policy, not these rules.
"""

from __future__ import annotations

from typing import Any

import re2

from apps.core.domain.redaction_rules import RULES, SENSITIVE_KEY_TRIGGER, is_sensitive_key

KEY_RULE = "sensitive_key"

_TRIGGERS = re2.Set.SearchSet()
for _rule in RULES:
    _TRIGGERS.Add(_rule.trigger)
_TRIGGERS.Compile()

_JSON_TRIGGERS = re2.Set.SearchSet()
for _rule in RULES:
    _JSON_TRIGGERS.Add(_rule.trigger)
_JSON_TRIGGERS.Add(SENSITIVE_KEY_TRIGGER)
_JSON_TRIGGERS.Compile()

# Numbers with as many digits as a payment card.
_CARD_DIGITS = range(10**12, 10**19)


def redact_text(text: str) -> tuple[str, list[str]]:
    """The text without its secrets, and the sorted names of the rules that fired. Redacting again changes nothing.

    A lone surrogate (which no secret holds) is looked at as a question mark and kept as it is.
    """
    encoded = text.encode("utf-8", "replace")
    fired = _TRIGGERS.Match(encoded)
    if not fired:
        return text, []
    searched = encoded.decode("utf-8")
    found = [(start, end, index) for index in fired for start, end in RULES[index].spans(searched)]
    if not found:
        return text, []
    pieces: list[str] = []
    names: set[str] = set()
    position = 0
    for start, end, index in _merged(found):
        name = RULES[index].name
        pieces += text[position:start], f"[redacted:{name}]"
        names.add(name)
        position = end
    pieces.append(text[position:])
    return "".join(pieces), sorted(names)


def redact_json(value: Any) -> tuple[Any, list[str]]:
    """A JSON value without its secrets, and the sorted names of the rules that fired. The value given is not changed.

    Strings and keys are redacted as texts. Whatever stands under a key such as `password` or `authorization` is replaced whole
    (`sensitive_key`), except null, booleans and empty values, which give nothing away. An integer that is a card number becomes text.
    """
    names: set[str] = set()
    cleaned = _clean(value, names)
    return (cleaned, sorted(names)) if names else (value, [])


def clean_json(encoded: bytes) -> bool:
    """True when JSON text (compact or not, UTF-8) certainly holds nothing that `redact_text` or `redact_json` would replace in it.

    False says only that it must be looked at exactly. It speaks for each string inside, as it is after decoding; text that came
    with needless escapes (`\\u0073k-…`) must be re-encoded first.
    """
    return not _JSON_TRIGGERS.Match(encoded)


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


def _clean(value: Any, names: set[str]) -> Any:
    if isinstance(value, str):
        text, fired = redact_text(value)
        names.update(fired)
        return text
    if isinstance(value, dict):
        return {_clean(key, names): _clean_member(key, member, names) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(member, names) for member in value]
    if isinstance(value, int) and value in _CARD_DIGITS:
        text, fired = redact_text(str(value))
        names.update(fired)
        return text if fired else value
    return value


def _storable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _clean_member(key: object, member: Any, names: set[str]) -> Any:
    if not isinstance(key, str) or not is_sensitive_key(_storable(key)) or member in (None, "", [], {}) or isinstance(member, bool):
        return _clean(member, names)
    if isinstance(member, str) and member.startswith("[redacted:") and member.endswith("]"):
        return member
    names.add(KEY_RULE)
    return f"[redacted:{KEY_RULE}]"
