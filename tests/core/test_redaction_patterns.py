"""A tenant's own patterns: refused where they would cost or take too much, else found wherever they stand."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.domain.redaction import RULE_NAMES, Redactor
from apps.core.domain.redaction_patterns import MAX_PROGRAM, MAX_PROGRAMS, Pattern, check_together, checked
from apps.core.errors import Problem

OWN = (
    ("staff_number", r"\bEMP-(\d{6})\b"),
    ("project", r"(?i)^project [a-z]+x$"),
    ("tail", r"END$"),
    ("path", r"\\srv\\[a-z]+"),
    ("any", r"Q\S+"),
)
TENANT = Redactor(email=True, patterns=[checked(*each, taken=RULE_NAMES) for each in OWN], salt=b"s")


@pytest.mark.parametrize(
    ("text", "cleaned", "names"),
    [
        ("of EMP-123456.", "of EMP-[redacted:staff_number].", ["staff_number"]),
        ("PROJECT phoenix", "[redacted:project]", ["project"]),
        ("the project phoenix", "the project phoenix", []),
        ("at \\srv\\files, END", "at [redacted:path], [redacted:tail]", ["path", "tail"]),
        ("a@b.example and EMP-000001", "[redacted:email] and EMP-[redacted:staff_number]", ["email", "staff_number"]),
        ("Q[redacted:jwt]", "Q[redacted:jwt]", []),
        ("Qx[redacted:jwt]", "[redacted:any][redacted:jwt]", ["any"]),
    ],
)
def test_a_tenant_s_patterns_are_applied_beside_the_rules(text: str, cleaned: str, names: list[str]) -> None:
    assert TENANT.redact_text(text) == (cleaned, names)


PIECES = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(["EMP-123456", "project phoenix", "END", "\\srv\\x", "Qxyz", "a@b.example", "\n", "\t", '"', "[redacted:jwt]", "\x1b"]),
)
TEXTS = st.lists(PIECES, max_size=4).map("".join)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), TEXTS),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(TEXTS, below, max_size=3)),
    max_leaves=8,
)


@given(VALUES)
def test_one_look_at_the_json_is_never_wrong_about_clean(value: Any) -> None:
    cleaned, names = TENANT.redact_json(value)
    if TENANT.clean_json(msgspec.json.encode(value)):
        assert (cleaned, names) == (value, [])
    assert TENANT.redact_json(cleaned) == (cleaned, [])


def test_an_integer_that_a_pattern_finds_becomes_text() -> None:
    numbers = Redactor(patterns=[checked("account", r"^77\d{6}$")])
    assert numbers.redact_json({"a": 77123456, "b": 1771234567}) == ({"a": "[redacted:account]", "b": 1771234567}, ["account"])
    assert not numbers.clean_json(b'{"a":77123456}')


@pytest.mark.parametrize(
    ("name", "pattern", "said"),
    [
        ("Staff", "EMP", "small letters"),
        ("jwt", "EMP", "everybody has"),
        ("a_b", "", "1 to 500"),
        ("a_b", "x" * 501, "1 to 500"),
        ("a_b", "(?<=x)y", "cannot be used"),
        ("a_b", "x(?!y)", "cannot be used"),
        ("a_b", "(x", "RE2 does not take it"),
        ("a_b", r"(x)\1", "RE2 does not take it"),
        ("a_b", "x*", "empty text"),
        ("a_b", r"\b", "empty text"),
        ("a_b", r"\w+", "most ordinary text"),
        ("a_b", ".", "most ordinary text"),
        ("a_b", "(a)(b)", "more than one"),
        ("a_b", "x{900}", "steps"),
        ("a_b", "((x{30}){30}){30}", "RE2 does not take it"),
        ("a_b", r"\Aabc", "cannot be used"),
        ("a_b", "(?m)^abc", "cannot be used"),
        ("a_b", "(?P<a>abc)", "cannot be used"),
        ("a_b", "(?-m:^abc)", "cannot be used"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused(name: str, pattern: str, said: str) -> None:
    with pytest.raises(Problem, match=said) as refused:
        checked(name, pattern, taken=RULE_NAMES)
    assert refused.value.code == "invalid"


def test_patterns_are_bounded_together() -> None:
    large = [Pattern("abc", f"[ab]{{{MAX_PROGRAM - 20}}}c")] * (1 + MAX_PROGRAMS // (MAX_PROGRAM - 20))
    with pytest.raises(Problem, match="All patterns together"):
        check_together(large)


def test_the_worst_pattern_takes_bounded_time() -> None:
    """Where the automaton has more states than its memory holds, RE2 goes on without one, linear in the text."""
    worst = Redactor(patterns=[checked("worst", f"[ab]*a[ab]{{{MAX_PROGRAM - 20}}}c")])
    began = time.process_time()
    worst.redact_text("ab" * 16 * 1024)
    assert time.process_time() - began < 1.0  # 0.08 s of CPU


def test_references_stay_apart_when_they_are_redacted() -> None:
    first, names = TENANT.reference("anna@acme.example")
    assert names == ["email"]
    assert first.startswith("[redacted:email]~")
    assert first != TENANT.reference("bob@acme.example")[0]
    assert first == TENANT.reference("anna@acme.example")[0]
    assert first != Redactor(email=True, salt=b"other").reference("anna@acme.example")[0]
    assert TENANT.reference("u-42") == ("u-42", [])
