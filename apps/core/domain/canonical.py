"""Canonical JSON and digests: what may be in governed JSON, its RFC 8785 bytes, and their SHA-256.

Governed JSON holds null, booleans, integers with |n| <= 2^53 - 1, strings, lists and objects. Floats (`1.0` too), duplicate keys, lone
surrogates and U+0000 are refused, so that the same value has the same bytes on any machine and PostgreSQL's jsonb can hold it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import rfc8785

from apps.core.errors import FieldError, Problem, problem

MAX_INTEGER: Final = 2**53 - 1
MAX_DEPTH: Final = 64  # nested lists and objects; also keeps every recursive reader of accepted JSON far from Python's own limit
MAX_FINDINGS: Final = 100

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_MAX_DIGITS = len(str(MAX_INTEGER)) + 1


class _Refused:
    """Stands in parsed JSON for a token that JSON allows and we don't."""

    __slots__ = ("detail",)

    def __init__(self, detail: str) -> None:
        self.detail = detail


class _Object(dict[str, Any]):
    """An object that had the same key twice."""

    __slots__ = ("repeated",)
    repeated: tuple[str, ...]


def pointer(*tokens: str | int) -> str:
    """The RFC 6901 pointer of a path; no tokens is "", the whole."""
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens)


def parse_json(raw: bytes) -> Any:
    """Parses UTF-8 JSON strictly. Raises Problem `invalid` with one error for each finding (at most MAX_FINDINGS), each with its pointer."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise problem("invalid", f"The body is not UTF-8: byte {error.start} cannot be decoded.", pointer="") from None
    try:
        value = json.loads(text, object_pairs_hook=_pairs, parse_int=_integer, parse_float=_float, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise problem("invalid", f"Not JSON: {error.msg} at line {error.lineno}, column {error.colno}.", pointer="") from None
    except RecursionError:
        raise problem("invalid", f"Nested too deep: at most {MAX_DEPTH} levels are taken.", pointer="") from None
    check_json(value)
    return value


def check_json(value: Any) -> None:
    """Holds an already parsed value to the rules of `parse_json` (duplicate keys can't be seen any more). Raises Problem `invalid`."""
    findings: list[FieldError] = []
    _walk(value, "", 0, findings)
    if findings:
        raise _refusal(findings)


def canonical_bytes(value: Any) -> bytes:
    """The RFC 8785 (JCS) bytes. Raises Problem `invalid` for what canonical JSON can't hold; floats are the caller's to refuse (`check_json`)."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise problem("invalid", f"Cannot be written as canonical JSON: {error}.", pointer="") from None


def copy_json(value: Any) -> Any:
    """A deep copy of JSON in which nothing is shared: not with `value`, and (unlike `copy.deepcopy`) not between two places in it."""
    if isinstance(value, Mapping):
        return {key: copy_json(item) for key, item in value.items()}
    return [copy_json(item) for item in value] if isinstance(value, list) else value


def digest(raw: bytes) -> str:
    """`sha256:<64 hex digits>` of the bytes."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def etag(raw: bytes) -> str:
    """The strong entity tag of the bytes, quoted as in the HTTP header."""
    return f'"{hashlib.sha256(raw).hexdigest()}"'


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    seen: set[str] = set()
    marked = _Object(plain)
    marked.repeated = tuple(dict.fromkeys(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return marked


def _integer(text: str) -> int | _Refused:
    # The length is tested first: turning a very long literal into an int costs quadratic time.
    return int(text) if len(text) <= _MAX_DIGITS else _Refused("The integer is out of range: |n| is at most 2^53 - 1.")


def _float(text: str) -> _Refused:
    shown = text if len(text) <= 20 else text[:20] + "…"
    return _Refused(f"{shown} is not an integer. Write percent x 100, micro-dollars or milliseconds, without a decimal point or exponent.")


def _constant(text: str) -> _Refused:
    return _Refused(f"{text} is not JSON.")


def _refusal(findings: Iterable[FieldError]) -> Problem:
    errors = list(findings)
    first = errors[0]
    detail = first.detail if len(errors) == 1 else f"{len(errors)} values are not valid. The first: {first.detail}"
    return problem("invalid", detail, errors=errors)


def _walk(value: Any, at: str, depth: int, findings: list[FieldError]) -> None:
    if len(findings) >= MAX_FINDINGS:
        return
    if isinstance(value, str):
        _text(value, at, "The text", findings)
    elif value is None or isinstance(value, bool):
        return
    elif isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            findings.append(FieldError(at, "invalid", "The integer is out of range: |n| is at most 2^53 - 1."))
    elif isinstance(value, (dict, list)):
        if depth >= MAX_DEPTH:
            findings.append(FieldError(at, "invalid", f"Nested too deep: at most {MAX_DEPTH} levels are taken."))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                _walk(item, f"{at}/{index}", depth + 1, findings)
        else:
            _walk_object(value, at, depth, findings)
    elif isinstance(value, _Refused):
        findings.append(FieldError(at, "invalid", value.detail))
    elif isinstance(value, float):
        findings.append(FieldError(at, "invalid", _float(repr(value)).detail))
    else:
        findings.append(FieldError(at, "invalid", f"A {type(value).__name__} is not JSON."))


def _walk_object(value: dict[Any, Any], at: str, depth: int, findings: list[FieldError]) -> None:
    if isinstance(value, _Object):
        findings.extend(
            FieldError(at + pointer(_shown(key)), "invalid", f"The key {_shown(key)!r} appears twice.") for key in value.repeated
        )
    for key, item in value.items():
        if not isinstance(key, str):
            findings.append(FieldError(at, "invalid", f"The key {key!r} is not a text."))
            continue
        below = at + pointer(_shown(key))
        _text(key, below, "The key", findings)
        _walk(item, below, depth + 1, findings)


def _text(text: str, at: str, what: str, findings: list[FieldError]) -> None:
    if found := _UNSTORABLE.search(text):
        name = "U+0000" if found[0] == "\x00" else f"the lone surrogate U+{ord(found[0]):04X}"
        findings.append(FieldError(at, "invalid", f"{what} contains {name}, which can't be stored."))


def _shown(key: str) -> str:
    """The key as an answer can carry it: what can't be stored can't be sent either."""
    return _UNSTORABLE.sub("\ufffd", key)
