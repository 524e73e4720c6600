"""Canonical JSON: what is refused, where, and that the bytes are those of RFC 8785."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.core.domain.canonical import MAX_DEPTH, MAX_INTEGER, canonical_bytes, check_json, digest, etag, parse_json, pointer
from apps.core.errors import Problem

REFUSED = [
    (b'{"a": {"b": 1, "b": 1}}', "/a/b"),
    (b'{"a/b": {"~": 1.0}}', "/a~1b/~0"),
    (b"[0, 1e2]", "/1"),
    (b"[NaN]", "/0"),
    (b"[-Infinity]", "/0"),
    (f"[{MAX_INTEGER}, {MAX_INTEGER + 1}]".encode(), "/1"),
    (f"[{-MAX_INTEGER}, {-MAX_INTEGER - 1}]".encode(), "/1"),
    (b"9" * 100_000, ""),
    (b'{"a": "\\ud800"}', "/a"),
    (b'{"\\udfff": 1}', "/\ufffd"),
    (b'["\\u0000"]', "/0"),
    (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "/0" * MAX_DEPTH),
    (b"[" * 200_000, ""),
    (b'{"a": 1', ""),
    (b"\xff", ""),
    (b"\xef\xbb\xbf{}", ""),
    ('{"a": 1}'.encode("utf-16"), ""),
]


@pytest.mark.parametrize(("raw", "at"), REFUSED, ids=range(len(REFUSED)))
def test_refused_with_a_pointer(raw: bytes, at: str) -> None:
    with pytest.raises(Problem) as refused:
        parse_json(raw)
    assert refused.value.code == "invalid"
    assert [error.pointer for error in refused.value.errors] == [at]


def test_every_finding_is_named() -> None:
    with pytest.raises(Problem) as refused:
        parse_json(b'{"a": 1.0, "b": ["\\u0000", 2], "c": 1, "c": 2}')
    assert {error.pointer for error in refused.value.errors} == {"/a", "/b/0", "/c"}


@pytest.mark.parametrize("value", [{"a": 1.5}, {"a": {1: 2}}, {"a": "\ud800"}, {"a": 2**53}, {"a": (1,)}, {"a": b"x"}])
def test_parsed_values_are_held_to_the_same_rules(value: Any) -> None:
    with pytest.raises(Problem) as refused:
        check_json(value)
    assert [error.pointer for error in refused.value.errors] == ["/a"]


def test_the_deepest_that_is_taken() -> None:
    assert canonical_bytes(parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)) == b"[" * MAX_DEPTH + b"]" * MAX_DEPTH


def test_known_bytes() -> None:
    # Keys sort by UTF-16 unit: U+1F600 (D83D…) before U+FB33; escapes as RFC 8785 3.2.2.2.
    value = parse_json('{"\\ufb33": 1, "\U0001f600": [true, null, -0, 5], "a": "\\u000f\\n\\u2028/"}'.encode())
    raw = canonical_bytes(value)
    assert raw == '{"a":"\\u000f\\n\u2028/","\U0001f600":[true,null,0,5],"\ufb33":1}'.encode()
    assert digest(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert etag(b"") == '"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"'
    assert pointer("a/b", 0, "~") == "/a~1b/0/~0" and pointer() == ""


texts = st.text(st.characters(exclude_characters="\x00", codec="utf-8"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=1000, deadline=None)
@given(json_values)
def test_any_spelling_of_a_value_has_the_same_bytes(value: Any) -> None:
    raw = canonical_bytes(value)
    assert parse_json(raw) == value
    assert canonical_bytes(parse_json(raw)) == raw
    assert canonical_bytes(parse_json(json.dumps(value, indent=2).encode())) == raw
