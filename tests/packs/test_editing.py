"""Content as text: what is shown for editing reads back as the same content, and YAML's surprises are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import Problem
from apps.packs.admin.editing import dump, load

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")) | st.sampled_from(
    [
        "yes",
        "null",
        "~",
        "true",
        "1",
        "-0",
        "08",
        "1e5",
        "1.0",
        ".5",
        "2024-01-01",
        "12:30",
        "<<",
        "=",
        "- a",
        "a: b",
        "#x",
        " x",
        "x ",
        "a\r\nb",
        "\n\n",
        "\tx\ny",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXTS, JSON, min_size=1, max_size=4))
def test_what_is_shown_reads_back_unchanged(content: dict[str, Any]) -> None:
    # A browser sends \r\n at line ends, whatever stood there.
    assert load(dump(content).replace("\n", "\r\n")) == content


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: 1\na: 2", "appears twice"),
        ("a: &x [1]\nb: *x", "anchors and aliases"),
        ("1: a", "not a text"),
        ("a: [1", "line"),
        ("a: !!python/object/apply:os.system ['true']", "line 1"),
        ("[" * 5000, "YAML"),
    ],
)
def test_what_json_cannot_say_is_refused(text: str, why: str) -> None:
    with pytest.raises(Problem, match="invalid") as refused:
        load(text)
    assert why in refused.value.detail


def test_json_is_yaml_and_nothing_is_guessed() -> None:
    assert load('{"a": [1, true, null, "x"]}') == {"a": [1, True, None, "x"]}
    assert load("a: yes\nb: 2024-01-01\nc: 012") == {"a": "yes", "b": "2024-01-01", "c": "012"}
    assert isinstance(load("a: 1.0")["a"], float)
