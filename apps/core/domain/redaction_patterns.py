"""Patterns that a tenant writes for what only it knows to be secret: RE2, so that time is linear, and small, so that the factor is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import re2

from apps.core.errors import Problem, problem

MAX_PATTERNS = 50
MAX_LENGTH = 500
# Instructions of the compiled program, which bound the time for a character: of one pattern, and of all that a tenant has switched on.
MAX_PROGRAM = 200
MAX_PROGRAMS = 600
_MAX_MEMORY = 1 << 20
_NAME = re2.compile(r"[a-z][a-z_]{1,39}")
# What would make a pattern mean something else among the lines of a whole item, or between the bytes of a character.
_ANCHORS = re2.compile(r"\\[AzCQ]")
_FLAGS = re2.compile(r"\(\?([^:is)][^:)]*|[is]+[^:is)][^:)]*)[:)]")
# What people and programs write all day; a pattern that finds something in most of it is a mistake.
_ORDINARY = (
    "May I take Friday off?",
    "The run finished after three retries, and nothing was changed.",
    "tool_call: search_documents",
    "Your request was approved by the team lead on Monday.",
    "2026-11-30T09:26:53Z",
    "Status 200 in 1250 ms",
    "https://docs.example.com/guide/first-steps",
    "src/app/main.py line 42",
    "Could you summarise the attached report in five sentences",
    '{"ok": true, "items": [1, 2, 3]}',
    "ERROR timeout while connecting to host",
    "Viele Grüße aus der Abteilung",
)


def _options() -> Any:
    options = re2.Options()
    options.max_mem, options.log_errors = _MAX_MEMORY, False
    return options


@dataclass(frozen=True, slots=True)
class Pattern:
    """A tenant's rule. Of a match the one capturing group is replaced, or the whole when there is none. `trigger` finds it in lines of texts."""

    name: str
    text: str
    compiled: Any = field(init=False, repr=False, compare=False)
    trigger: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compiled", re2.compile(self.text, _options()))
        object.__setattr__(self, "trigger", re2.compile(f"(?m:{self.text})", _options()))

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where this pattern's secrets are in the text, as (start, end) of characters."""
        for match in self.compiled.finditer(text):
            start, end = match.span(self.compiled.groups)
            if start < 0:
                start, end = match.span()
            if start < end:
                yield start, end


def checked(name: str, text: str, *, taken: frozenset[str] = frozenset()) -> Pattern:
    """The pattern, if it may be used. `taken` are the names of other rules. Raises Problem `invalid` with what is wrong, at `/name` or `/pattern`."""
    if not _NAME.fullmatch(name):
        raise problem("invalid", "A name is 2 to 40 characters: small letters and underscores, a letter first.", pointer="/name")
    if name in taken:
        raise problem("invalid", f"'{name}' is the name of a rule that everybody has; choose another.", pointer="/name")
    if not text or len(text) > MAX_LENGTH:
        raise _refused(f"A pattern has 1 to {MAX_LENGTH} characters.")
    if _ANCHORS.search(text):
        raise _refused(r"\A, \z, \C and \Q cannot be used; ^ and $ stand for the ends of a text.")
    if _FLAGS.search(text):
        raise _refused("Look-around, named groups and flags other than (?i) and (?s) cannot be used.")
    try:
        pattern = Pattern(name, text)
    except re2.error as error:
        said = error.args[0].decode("utf-8", "replace") if error.args and isinstance(error.args[0], bytes) else str(error)
        raise _refused(f"RE2 does not take it: {said}. Look-around and back-references do not exist there.") from None
    if pattern.compiled.groups > 1:
        raise _refused("It has more than one capturing group; write (?:…) for those that only hold together.")
    if pattern.compiled.programsize > MAX_PROGRAM:
        raise _refused(f"It compiles to {pattern.compiled.programsize} steps, at most {MAX_PROGRAM}: count fewer repetitions.")
    if pattern.compiled.fullmatch("") or any(
        match.start() == match.end() for each in _ORDINARY for match in pattern.compiled.finditer(each)
    ):
        raise _refused("It matches the empty text, and so everywhere.")
    if 2 * sum(any(pattern.spans(each)) for each in _ORDINARY) > len(_ORDINARY):
        raise _refused("It matches most ordinary text, of which nothing would be left.")
    return pattern


def check_together(patterns: Sequence[Pattern]) -> None:
    """Holds what a tenant has switched on to the bounds for all. Raises Problem `invalid`."""
    if len(patterns) > MAX_PATTERNS:
        raise _refused(f"There are {MAX_PATTERNS} patterns switched on already; switch one off first.")
    steps = sum(pattern.compiled.programsize for pattern in patterns)
    if steps > MAX_PROGRAMS:
        raise _refused(
            f"All patterns together compile to {steps} steps, at most {MAX_PROGRAMS}: switch one off or count fewer repetitions."
        )


def _refused(detail: str) -> Problem:
    return problem("invalid", detail, pointer="/pattern")
