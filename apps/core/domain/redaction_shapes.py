"""What a redaction rule is made of: the frame of its patterns, and the checks that tell a secret from a near miss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import re2

# Where a word may begin: at a word boundary, or after an escape when the text stands inside JSON (`\nsk-…` has no boundary before "s").
BEGIN = r"(?:\b|\\[bfnrt]|\\u[0-9a-f]{4})"
# White space and an assignment sign, also as JSON writes them.
SPACE = r"(?:\s|\\[fnrt])"
ASSIGN = rf"{SPACE}*[:=]"
# A quotation mark, plain or escaped once or more.
QUOTE = r"(?:\\*[\"'])"


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret; several rules may share a name.

    `trigger` is a cheap pattern that fires wherever `pattern` does. Of a match the one capturing group is replaced, or the whole when there is none.
    `check` sees that span and refuses near misses; `context` sees (text, start, end) and refuses what its surroundings explain.
    """

    name: str
    trigger: str
    pattern: str
    check: Callable[[str], bool] | None = None
    context: Callable[[str, int, int], bool] | None = None
    compiled: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compiled", re2.compile(_beginning(self.pattern)))

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where this rule's secrets are in the text, as (start, end) of characters."""
        group = self.compiled.groups
        for match in self.compiled.finditer(text):
            start, end = match.span(group)
            if (self.check is None or self.check(text[start:end])) and (self.context is None or self.context(text, start, end)):
                yield start, end


def _beginning(pattern: str) -> str:
    """A pattern that begins at a word (`\\b`) begins as well after an escape: a string may hold JSON of its own, in which it stands behind `\\t`."""
    flags = "(?i)" if pattern.startswith("(?i)") else ""
    bare = pattern.removeprefix(flags)
    if not bare.startswith(r"\b"):
        return pattern
    rest = bare.removeprefix(r"\b")
    return f"{flags}{BEGIN}(?:{rest})" if re2.compile(rest).groups else f"{flags}{BEGIN}({rest})"


def random_looking(value: str) -> bool:
    """Tells generated characters from words: both cases with a digit (or long), or one unbroken piece with letters and digits."""
    digit = has_digit(value)
    upper = any(c.isupper() for c in value)
    lower = any(c.islower() for c in value)
    if upper and lower and (digit or len(value) >= 40):
        return True
    return digit and (upper or lower) and "-" not in value and "_" not in value


def has_digit(value: str) -> bool:
    return any(c.isdigit() for c in value)


def bearer_like(value: str) -> bool:
    """A token of any issuer, UUIDs included; not the words after "bearer" in a sentence."""
    return (has_digit(value) or (len(value) >= 32 and random_looking(value))) and not _redacted(value)


def not_placeholder(value: str) -> bool:
    """False for `${DB_PASSWORD}`, `<password>`, `%s`, `****`, `xxxx`, `null` and what is redacted already."""
    bare = value.strip("\"'\\")
    return bool(bare) and bare.lower() not in _PLACEHOLDER_WORDS and not _PLACEHOLDER.fullmatch(bare)


def literal(value: str) -> bool:
    """Not a placeholder, and not code that fetches the secret from elsewhere: a call, an index, an attribute."""
    return not_placeholder(value) and not _CODE.match(value)


def key_like(value: str) -> bool:
    """A literal that was generated, not written by a person."""
    return literal(value) and random_looking(value)


def password_like(value: str) -> bool:
    """A literal of letters and digits: what follows "password:" in prose is mostly a word."""
    return has_digit(value) and any(c.isalpha() for c in value) and literal(value)


def luhn(value: str) -> bool:
    """ISO/IEC 7812-1 annex B: from the right every second digit doubled, the sum of all digits divisible by ten."""
    total = 0
    for index, digit in enumerate(int(c) for c in reversed(value) if c.isdigit()):
        total += digit if index % 2 == 0 else digit * 2 - 9 * (digit > 4)
    return total % 10 == 0


def not_a_fraction(text: str, start: int, end: int) -> bool:
    """False for the digits after a decimal point: 0.4111111111111111."""
    return not (text[start - 1 : start] == "." and text[start - 2 : start - 1].isdigit()) if start > 1 else True


def _redacted(value: str) -> bool:
    return "[redacted:" in value


# How a check that is named after a secret says what it found (`no_secrets: passed`): verdicts, and no secrets.
VERDICTS = frozenset(
    (
        *("passed", "failed", "pass", "fail", "ok", "okay", "yes", "no", "clean", "dirty", "skipped", "skip", "warning", "warn"),
        *("error", "unknown", "absent", "present", "found", "missing", "detected", "low", "medium", "high", "n/a", "true"),
        *("false", "none", "safe", "unsafe", "pending", "inconclusive"),
    )
)
_PLACEHOLDER_WORDS = VERDICTS | {"null", "nil", "undefined", "required", "optional", "string", "redacted"}
_PLACEHOLDER = re2.compile(
    r"\$\{?[A-Za-z_][A-Za-z0-9_.:-]*\}?|\$\(.*|\{+[A-Za-z0-9_. ]*\}+|<[^>]*>|%s|%\([A-Za-z_]+\)s|%[A-Z_]+%|[*xX.…_-]+|\[redacted:[a-z_]+\]"
)
_CODE = re2.compile(r"[A-Za-z_][A-Za-z0-9_.]*[(\[]|(?:os|process|self|settings|config|env)\.")
